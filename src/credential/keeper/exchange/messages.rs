//! Messages that the issuer was asked to send, over restarts.
//!
//! ```text
//! asked for before? ─▶ waited for as long as they would have been ─▶ here they are
//!        │ no                                  │ they have not come
//!        └─────────────────────────────────────┴─▶ counted ─▶ how full are the mailboxes? ─▶ noted ─▶ asked for
//! ```
//!
//! Each of them may have ended the token before it. So none is asked for while another one may still come, and none
//! that could not be read.

use crate::clock::Moment;
use crate::credential::flow::MintError;
use crate::credential::keeper::exchange::question::Question;
use crate::credential::keeper::exchange::{Answer, Exchange, Failure, Report};
use crate::credential::store::Awaited;
use crate::credential::{Lifetime, Minted};

impl Exchange {
    /// What messages have brought that were asked for before. If there is none, it is noted that an attempt is about to
    /// be made, and how far mailboxes are filled.
    pub(super) async fn look_for_messages(
        &self,
        question: &mut Question,
        report: &mut Report,
    ) -> Result<Option<Answer>, Failure> {
        let looked = match self.pick_up(question, report).await {
            Ok(None) => {
                self.count_attempt(question)?;
                self.mark(question, report).await.map(|()| None)
            }
            looked => looked,
        };
        let error = match looked {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // Nobody was asked: nothing counts but that an input may be wrong.
        question.record = question.stored.clone();
        let failure = self.failure(error, None);
        let record = self.failed(question, question.record.clone(), &failure, true);
        self.save_changes(&question.stored, record, report).await;
        Err(failure)
    }

    async fn pick_up(&self, question: &Question, report: &mut Report) -> Result<Option<Answer>, MintError> {
        let Some(awaited) = question.awaited().cloned() else { return Ok(None) };
        report.asked = true;
        tracing::info!(
            credential = %self.shared.owner(),
            since = %format_args!("{:.0}", awaited.since),
            "looks for the message that was asked for before"
        );
        let picked = self.mint.pick_up(self.spec.clone(), question.inputs.clone(), awaited);
        let picked = self.in_time(picked).await?;
        let at = self.clock.now();
        Ok(picked.filter(|minted| !has_ended(minted, at)).map(|minted| Answer { minted: Ok(minted), at }))
    }

    async fn mark(&self, question: &mut Question, report: &mut Report) -> Result<(), MintError> {
        if !self.spec.flow.is_mailed() {
            return Ok(());
        }
        report.asked = true;
        let marked = self.in_time(self.mint.mark(self.spec.clone(), question.inputs.clone())).await;
        let (of, since) = (question.own, self.clock.wall());
        question.record.awaited = marked?.map(|marks| Awaited { of, since, marks });
        Ok(())
    }
}

/// Whether a token that lay in a mailbox is of no use any more.
fn has_ended(minted: &Minted, at: Moment) -> bool {
    matches!(minted.lifetime, Some(Lifetime::Until(end)) if end <= at.wall)
}
