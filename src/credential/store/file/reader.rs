//! The thread that reads, so that a slow disk holds nobody up but those who wait for it.

use std::ops::Bound;
use std::sync::{Arc, mpsc};

use redb::ReadableDatabase;
use tokio::sync::oneshot;

use crate::credential::store::file::index::owner_of;
use crate::credential::store::file::tables::{self, RECORDS, Unreadable};
use crate::credential::store::file::writer::{Order, Shared};
use crate::credential::store::{Record, StoreError};
use crate::credential::{CredentialName, Subject};

/// Whom a question is answered to.
type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the reader is asked.
pub(super) enum Question {
    /// The record under a name.
    Record { key: Vec<u8>, answer: Answer<Record> },
    /// Subjects of a credential in their order, behind one.
    Subjects {
        credential: CredentialName,
        after: Option<Subject>,
        limit: usize,
        answer: Answer<Vec<Subject>>,
    },
}

pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    /// Where it is told that the database wants to be opened anew.
    pub(super) orders: mpsc::Sender<Order>,
}

impl Reader {
    /// Answers until nobody is left to ask.
    pub(super) fn run(self, questions: &mpsc::Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            // Whoever asked may be gone.
            match question {
                Question::Record { key, answer } => _ = answer.send(self.told(self.record(&key))),
                Question::Subjects { credential, after, limit, answer } => {
                    _ = answer.send(self.told(self.subjects(&credential, after.as_ref(), limit)));
                }
            }
        }
    }

    fn told<T>(&self, found: Result<T, String>) -> Result<T, StoreError> {
        found.map_err(|reason| {
            // It is closed by then if nobody takes the order.
            let _ = self.orders.send(Order::Mend);
            self.shared.failed(reason)
        })
    }

    fn record(&self, key: &[u8]) -> Result<Record, String> {
        let value = self.shared.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            Ok(records.get(key)?.map(|value| value.value().to_vec()))
        })?;
        let Some(value) = value else { return Ok(Record::default()) };
        let kept = self.shared.sealer.open(key, &value).map_err(|error| match error {
            Unreadable::Format(_) => "the record is of a later format".to_owned(),
            Unreadable::Changed => "the record is not what was sealed there: the file was changed".to_owned(),
        })?;
        Ok(kept.record)
    }

    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<Subject>, String> {
        // No subject is empty: the first stands behind the empty one.
        let from = tables::key(credential.as_str(), Some(after.map_or("", Subject::as_str)));
        let mut to = credential.as_str().as_bytes().to_vec();
        to.push(1);
        self.shared.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let behind = (Bound::Excluded(from.as_slice()), Bound::Excluded(to.as_slice()));
            let mut found = Vec::new();
            for entry in records.range::<&[u8]>(behind)?.take(limit) {
                found.extend(owner_of(entry?.0.value()).and_then(|owner| owner.subject));
            }
            Ok(found)
        })
    }
}
