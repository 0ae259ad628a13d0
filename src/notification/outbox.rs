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
    content: Mutex<Content>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Content {
    waiting: VecDeque<Notice>,
    /// The one that is being delivered.
    in_hand: Option<Notice>,
    /// Goes up with each that is done.
    done: u64,
}

impl Outbox {
    /// Puts a notice behind the others, of which there are at most `most` with it. Says whether an older one
    /// had to go.
    pub(super) fn put(&self, notice: Notice, most: usize) -> bool {
        let mut content = self.lock();
        let is_full = content.waiting.len() >= most;
        if is_full {
            content.waiting.pop_front();
        }
        content.waiting.push_back(notice);
        drop(content);
        self.news.notify_one();
        is_full
    }

    /// Waits for the next notice.
    pub(super) async fn next(&self) -> Notice {
        loop {
            if let Some(notice) = self.take() {
                return notice;
            }
            self.news.notified().await;
        }
    }

    fn take(&self) -> Option<Notice> {
        let mut content = self.lock();
        content.in_hand = content.waiting.pop_front();
        content.in_hand.clone()
    }

    /// The last one that was taken was delivered, or given up.
    pub(super) fn done(&self) {
        let mut content = self.lock();
        content.in_hand = None;
        content.done += 1;
    }

    /// How many are done.
    pub(super) fn number_done(&self) -> u64 {
        self.lock().done
    }

    /// All that are not done, the one that is being delivered first.
    pub(super) fn undone(&self) -> Vec<Notice> {
        let content = self.lock();
        content.in_hand.iter().chain(&content.waiting).cloned().collect()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
