//! Wrong tokens, counted for each of those who show them: who guesses uses up his own tries and nobody else's,
//! so that he cannot lock out whoever has the right one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rate::Rate;

/// Whoever shows a token, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// A user of this machine.
    User(u32),
    /// Somebody elsewhere: an address of IPv4, or the first 64 bits of one of IPv6, which are one network
    /// (RFC 4291, section 2.5.4).
    Network(IpAddr),
    /// Anybody else.
    Somebody,
}

/// How many wrong tokens of each are still looked at, by a [`Rate`].
#[derive(Debug, Default)]
pub struct Guesses {
    /// When all is forgiven, in time since boot.
    forgiven: Mutex<HashMap<Guesser, Duration>>,
    /// A wrong one was shown once: before, nothing is locked.
    is_used: AtomicBool,
}

/// Those who are told apart at once; all others are one.
const MOST_GUESSERS: usize = 4096;

impl Guesser {
    /// Whoever has made a connection: this user, or from this address.
    pub fn of(user: Option<u32>, from: Option<IpAddr>) -> Self {
        match (user, from.map(|from| from.to_canonical())) {
            (Some(user), _) => Self::User(user),
            // All users have the addresses of loopback.
            (None, Some(from)) if from.is_loopback() => Self::Somebody,
            (None, Some(IpAddr::V6(from))) => {
                let network = from.to_bits() >> 64 << 64;
                Self::Network(Ipv6Addr::from_bits(network).into())
            }
            (None, Some(from)) => Self::Network(from),
            (None, None) => Self::Somebody,
        }
    }
}

impl Guesses {
    /// How long nothing of his is looked at, if too much was wrong.
    pub fn pause(&self, who: Guesser, rate: Rate, since_boot: Duration) -> Option<Duration> {
        if !self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        let forgiven = self.forgiven();
        let before = forgiven.get(&known(&forgiven, who)).copied().unwrap_or_default();
        let over = after(before, rate, since_boot).saturating_sub(since_boot + rate.per);
        (!over.is_zero()).then_some(over)
    }

    /// One more was wrong.
    pub fn note(&self, who: Guesser, rate: Rate, since_boot: Duration) {
        self.is_used.store(true, Ordering::Relaxed);
        let mut forgiven = self.forgiven();
        if forgiven.len() >= MOST_GUESSERS {
            forgiven.retain(|_, when| *when > since_boot);
        }
        let when = known(&forgiven, who);
        let when = forgiven.entry(when).or_default();
        *when = after(*when, rate, since_boot).min(since_boot + rate.per);
    }

    fn forgiven(&self) -> MutexGuard<'_, HashMap<Guesser, Duration>> {
        self.forgiven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As whom he is known: beyond the most that are told apart, he is one of many.
fn known(forgiven: &HashMap<Guesser, Duration>, who: Guesser) -> Guesser {
    let is_known = forgiven.contains_key(&who) || forgiven.len() < MOST_GUESSERS;
    if is_known { who } else { Guesser::Somebody }
}

/// When all is forgiven after one more, each taking its share of the time (see [`super::rate`]).
fn after(before: Duration, rate: Rate, now: Duration) -> Duration {
    before.max(now).saturating_add(rate.per / rate.count.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Guesser, Guesses, MOST_GUESSERS};
    use crate::rate::Rate;

    const RATE: Rate = Rate { count: 5, per: Duration::from_secs(50) };
    const START: Duration = Duration::from_secs(100);

    #[test]
    fn who_guesses_uses_up_his_own_tries() {
        let guesses = Guesses::default();
        let (one, other) = (Guesser::User(1), Guesser::User(2));
        for _ in 0..9 {
            guesses.note(one, RATE, START);
        }
        assert_eq!(guesses.pause(one, RATE, START), Some(Duration::from_secs(10)));
        assert_eq!(guesses.pause(other, RATE, START), None);
        let later = START + Duration::from_secs(10);
        assert_eq!(guesses.pause(one, RATE, later), None);
        guesses.note(one, RATE, later);
        assert_eq!(guesses.pause(one, RATE, later), Some(Duration::from_secs(10)));
        assert_eq!(guesses.pause(one, RATE, later + RATE.per), None);
    }

    #[test]
    fn many_who_guess_cost_no_more_memory_than_some() {
        let guesses = Guesses::default();
        let many = u32::try_from(2 * MOST_GUESSERS).expect("a number");
        for user in 0..many {
            guesses.note(Guesser::User(user), RATE, START);
        }
        assert!(guesses.forgiven().len() <= MOST_GUESSERS + 1);
        assert!(guesses.pause(Guesser::User(many), RATE, START).is_some(), "one of those that are too many");
        assert_eq!(guesses.pause(Guesser::User(0), RATE, START), None);
        guesses.note(Guesser::User(many), RATE, START + RATE.per);
        assert_eq!(guesses.forgiven().len(), 1);
    }

    #[test]
    fn whoever_shows_it_is_known_by_user_or_by_network() {
        let from = |text: &str| Guesser::of(None, text.parse().ok());
        assert_eq!(Guesser::of(Some(7), "127.0.0.1".parse().ok()), Guesser::User(7));
        assert_eq!(from("127.0.0.9"), Guesser::Somebody);
        assert_eq!(from("::ffff:127.0.0.1"), Guesser::Somebody);
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
        assert_ne!(from("192.0.2.2"), from("192.0.2.1"));
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:1"));
        assert_ne!(from("2001:db8:0:1::1"), from("2001:db8::1"));
    }
}
