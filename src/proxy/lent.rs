//! Memory for exchanges, lent by a free list of the thread.
//!
//! The allocator serves a handful of requests at once without searching; a proxy has hundreds.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::proxy::exchange::Exchange;

/// Places that a thread keeps for later.
const KEPT: usize = 512;

thread_local! {
    static FREE: RefCell<Vec<Vec<Exchange>>> = const { RefCell::new(Vec::new()) };
}

/// An exchange in lent memory: a list of one, since a list can part with what it holds and stay where it is.
pub struct Lent(Vec<Exchange>);

impl Lent {
    /// Keeps what `make` makes until this is dropped. It is made when there is a place for it: it is large, and
    /// would be moved twice.
    pub(super) fn new(make: impl FnOnce() -> Exchange) -> Self {
        let mut place = FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(1));
        place.push(make());
        Self(place)
    }
}

impl Deref for Lent {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.0[0]
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Exchange {
        &mut self.0[0]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut place = std::mem::take(&mut self.0);
        place.clear();
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(place);
            }
        });
    }
}
