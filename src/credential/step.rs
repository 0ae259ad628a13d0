//! Where one step ends and the next begins, in what many threads share.
//!
//! Between two steps other threads may do anything. A test that wants to see all of that lets a model say whose
//! step is next; elsewhere this costs nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
pub(super) mod model;

/// A step ends here: what is read or written next, others may have changed.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    model::step();
}

/// What a mutex guards, as a step. A thread that panicked while it had it left it whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(test)]
    model::wait_until(|| !matches!(mutex.try_lock(), Err(std::sync::TryLockError::WouldBlock)));
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
