//! What waits to be delivered to one receiver.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::notification::Notice;
use crate::telemetry::Counter;

/// What became of the notices to one receiver.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Notices that arrived.
    pub sent: Counter,
    /// Notices that were given up.
    pub failed: Counter,
    /// Notices that had to make room for younger ones.
    pub dropped: Counter,
    /// Tries that failed and were followed by another.
    pub retries: Counter,
    /// Matters that waited because they were told too often.
    pub flapped: Counter,
    /// Matters that waited because the receiver was told too much.
    pub crowded: Counter,
}

/// Notices in their order. The youngest says best how things are: where there is no room, the oldest goes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<VecDeque<Notice>>,
    news: Notify,
}

impl Outbox {
    /// Puts a notice behind the others, of which there are at most `most` with it. Says whether an older one
    /// had to go.
    pub(super) fn put(&self, notice: Notice, most: usize) -> bool {
        let mut waiting = self.lock();
        let is_full = waiting.len() >= most;
        if is_full {
            waiting.pop_front();
        }
        waiting.push_back(notice);
        drop(waiting);
        self.news.notify_one();
        is_full
    }

    /// Waits for the next notice.
    pub(super) async fn next(&self) -> Notice {
        loop {
            if let Some(notice) = self.lock().pop_front() {
                return notice;
            }
            self.news.notified().await;
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
