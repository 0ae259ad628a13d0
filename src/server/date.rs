//! The `Date` of answers that have none (RFC 9110, section 6.6.1), made once a second.

use std::cell::Cell;

use crate::clock::Clock;

/// The date of a worker.
#[derive(Debug)]
pub struct Date {
    clock: Clock,
    made: Cell<(i64, [u8; LENGTH])>,
}

/// Bytes of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

impl Date {
    /// A date by this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, made: Cell::new((i64::MIN, [b' '; LENGTH])) }
    }

    /// The date now.
    pub fn now(&self) -> [u8; LENGTH] {
        let second = self.clock.wall().as_second();
        let (made_at, text) = self.made.get();
        if made_at == second {
            return text;
        }
        let mut text = [b' '; LENGTH];
        let since_epoch = std::time::Duration::from_secs(u64::try_from(second).unwrap_or(0));
        let date = httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH + since_epoch);
        text.copy_from_slice(&date.as_bytes()[..LENGTH]);
        self.made.set((second, text));
        text
    }
}
