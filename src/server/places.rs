//! How many connections a listener may have at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for the connections of a listener. A reload may change how much there is.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// Places that were taken away while connections had them: they go when those end.
    owed: AtomicUsize,
}

/// One of the connections that a listener may have.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// There until it is given back.
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), owed: AtomicUsize::new(0) }
    }

    /// A place, if one is free.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Place { places: self.clone(), permit: Some(permit) })
    }

    /// Waits for a place.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        let permit = self.free.clone().acquire_owned().await.expect("the places are never closed");
        Place { places: self.clone(), permit: Some(permit) }
    }

    /// Makes `now` places of the `before` that there were. Connections that are open stay.
    pub(super) fn resize(&self, before: usize, now: usize) {
        if let Some(more) = now.checked_sub(before) {
            self.free.add_permits(more - self.pay(more));
        } else {
            // Owed first, so that a place that is given back meanwhile is not free again.
            self.owed.fetch_add(before - now, Ordering::AcqRel);
            let gone = self.free.forget_permits(before - now);
            self.free.add_permits(gone - self.pay(gone));
        }
    }

    /// Takes up to so many off what is owed, and says how many.
    fn pay(&self, count: usize) -> usize {
        let rest = |owed: usize| Some(owed.saturating_sub(count));
        self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).map_or(0, |owed| owed.min(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.places.pay(1) == 1
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Place, Places};

    fn all(places: &Arc<Places>) -> Vec<Place> {
        std::iter::from_fn(|| places.try_take()).collect()
    }

    #[test]
    fn a_smaller_number_holds_once_the_connections_beyond_it_have_ended() {
        let places = Arc::new(Places::new(3));
        let mut open = all(&places);
        assert_eq!(open.len(), 3);
        places.resize(3, 1);
        for _ in 0..2 {
            open.pop();
            assert!(places.try_take().is_none(), "{} are open", open.len());
        }
        open.pop();
        assert_eq!(all(&places).len(), 1);
    }

    #[test]
    fn what_was_taken_away_and_given_again_is_not_counted_twice() {
        let places = Arc::new(Places::new(4));
        let open = all(&places);
        places.resize(4, 1);
        places.resize(1, 3);
        drop(open);
        assert_eq!(all(&places).len(), 3);
        places.resize(3, 0);
        assert_eq!(all(&places).len(), 0);
        places.resize(0, 2);
        assert_eq!(all(&places).len(), 2);
    }
}
