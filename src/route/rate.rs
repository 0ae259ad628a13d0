//! `rate`: a bucket of requests that fills up evenly.
//!
//! One atomic number: the time at which the bucket would be full again (the generic cell rate
//! algorithm, ITU-T I.371). Workers share it, since the limit is the route's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::rate::Rate;

/// How many requests a route still takes.
#[derive(Debug)]
pub struct Bucket {
    /// One request's share of the time, in nanoseconds.
    share: u64,
    /// The whole time, in nanoseconds.
    burst: u64,
    /// When the bucket would be full again, in nanoseconds since boot.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let burst = nanoseconds(rate.per);
        Self { share: burst / u64::from(rate.count.max(1)), burst, full_at: AtomicU64::new(0) }
    }

    /// Takes one request out, or tells how long to wait for the next one.
    pub fn take(&self, since_boot: Duration) -> Result<(), Duration> {
        let now = nanoseconds(since_boot);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now).saturating_add(self.share);
            let over = next.saturating_sub(now.saturating_add(self.burst));
            if over > 0 {
                return Err(Duration::from_nanos(over));
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Bucket;
    use crate::rate::Rate;

    #[test]
    fn a_rate_is_a_burst_that_fills_up_evenly() {
        let bucket = Bucket::new(Rate { count: 4, per: Duration::from_secs(1) });
        let start = Duration::from_secs(100);
        for _ in 0..4 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(start + Duration::from_millis(250)), Ok(()));
        assert!(bucket.take(start + Duration::from_millis(250)).is_err());
        for _ in 0..4 {
            assert_eq!(bucket.take(start + Duration::from_secs(60)), Ok(()));
        }
        assert!(bucket.take(start + Duration::from_secs(60)).is_err());
    }
}
