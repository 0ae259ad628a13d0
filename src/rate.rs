//! So many in so long a time.

use std::fmt;
use std::time::Duration;

/// So many in so long a time: `"100/s"`, `"10/10m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many, also at once; at least one.
    pub count: u32,
    /// In how long a time; not zero.
    pub per: Duration,
}

/// `once in 3600s`, `10 times in 600s`.
impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(formatter, "once in {:?}", self.per),
            count => write!(formatter, "{count} times in {:?}", self.per),
        }
    }
}
