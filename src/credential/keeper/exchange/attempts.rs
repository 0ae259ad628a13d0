//! How often the issuer was asked, over restarts: what `max_renewals` counts.
//!
//! The schedule counts the exchanges of this process by the time since boot. A process that is started anew each
//! minute would still ask each minute: so each attempt is durable before it is made.

use jiff::SignedDuration;

use crate::credential::keeper::exchange::question::Question;
use crate::credential::keeper::exchange::{Exchange, Failure};
use crate::credential::schedule::counts_for;

/// A limit on more exchanges than this is counted by the schedule alone: no issuer blocks anybody for the first of
/// them after a restart, and a record stays small.
const MOST_ATTEMPTS: u32 = 100;

impl Exchange {
    /// Counts the attempt that is about to be made, or says when the next one may be.
    pub(super) fn count_attempt(&self, question: &mut Question) -> Result<(), Failure> {
        let limit = self.spec.times.max_renewals.filter(|limit| limit.count <= MOST_ATTEMPTS);
        let attempts = &mut question.record.attempts;
        let Some(limit) = limit.filter(|_| self.store.is_durable()) else {
            attempts.clear();
            return Ok(());
        };
        let now = self.clock.wall();
        let per = SignedDuration::try_from(counts_for(limit)).unwrap_or(SignedDuration::MAX);
        // One that lies in the future was noted by a clock that was wrong: nobody knows how long ago that was.
        attempts.retain(|at| *at <= now && now.duration_since(*at) < per);
        let room = usize::try_from(limit.count).unwrap_or(usize::MAX);
        // Those of its own the schedule has counted, by the better clock. With room for more, the first that matters
        // is not among them.
        let before = attempts.len().checked_sub(room).filter(|_| self.paced < room);
        if let Some(first) = before.and_then(|surplus| attempts.get(surplus)) {
            let left = per - now.duration_since(*first);
            let next = now.saturating_add(left).unwrap_or(now);
            return Err(Failure::Transient {
                message: format!(
                    "the issuer may be asked {limit} (`max_renewals`), and was, before this was started: it is asked \
                     again at {next:.0}"
                ),
                retry_after: Some(left.try_into().unwrap_or_default()),
            });
        }
        attempts.push(now);
        Ok(())
    }
}
