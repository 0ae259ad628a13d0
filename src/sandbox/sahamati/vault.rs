//! The entity's secrets: one is read and reset, and those before it may still work for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::DAY;
use crate::clock::Clock;

/// A secret is given for so many days at most, and where nobody says for how many.
const MOST_DAYS: u32 = 180;

/// How the token service treats secrets and those who ask for them.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long an administrator's token lives: the service's pages name 180 days and 24 hours.
    pub user_lifetime: Duration,
    /// How long a secret of 180 days lives here.
    pub secret_lifetime: Duration,
    /// How long a secret still works after its end, or after it was reset.
    pub grace: Duration,
    /// What the first secret has left, if not its whole life; nothing if it has just ended.
    pub first_left: Option<Duration>,
    /// A secret that was reset dies at once, and not after the grace period.
    pub hard_reset: bool,
    /// A new secret works so much later.
    pub late: Duration,
    /// Somebody else resets the secret, so long after the start.
    pub taken: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            user_lifetime: DAY,
            secret_lifetime: MOST_DAYS * DAY,
            grace: 5 * DAY,
            first_left: None,
            hard_reset: false,
            late: Duration::ZERO,
            taken: None,
        }
    }
}

impl Rules {
    /// Secrets of 180 days live so long here, and all that is measured in days shrinks with them.
    #[must_use]
    pub fn aging(self, secret_lifetime: Duration) -> Self {
        Self { secret_lifetime, grace: secret_lifetime / 36, ..self }
    }
}

/// What a secret is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It works.
    Good,
    /// It has ended, and works for a few days more.
    Grace,
}

/// A secret that was read or reset.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) secret: String,
    pub(super) ends: Timestamp,
    /// Nobody said for how many days, or for too many.
    pub(super) by_default: bool,
}

#[derive(Debug)]
pub(super) struct Vault {
    rules: Rules,
    clock: Clock,
    started: Timestamp,
    secrets: Mutex<Vec<Issued>>,
}

#[derive(Debug)]
struct Issued {
    secret: String,
    ends: Timestamp,
    works_from: Timestamp,
    replaced: Option<Timestamp>,
}

impl Vault {
    pub(super) fn new(clock: Clock, rules: Rules) -> Self {
        let started = clock.wall();
        let ends = started + rules.first_left.unwrap_or(rules.secret_lifetime);
        let first = Issued { secret: clock.uuid(), ends, works_from: started, replaced: None };
        Self { rules, clock, started, secrets: Mutex::new(vec![first]) }
    }

    /// The secret that counts.
    pub(super) fn read(&self) -> Given {
        let secrets = self.secrets();
        let last = secrets.last().expect("there is always one");
        Given { secret: last.secret.clone(), ends: last.ends, by_default: false }
    }

    /// Replaces it, for so many days, but not beyond the token that asks for it.
    pub(super) fn reset(&self, days: Option<u32>, token_left: Duration) -> Given {
        let mut secrets = self.secrets();
        let asked = days.filter(|days| (1..=MOST_DAYS).contains(days));
        let lifetime = self.rules.secret_lifetime / MOST_DAYS * asked.unwrap_or(MOST_DAYS);
        self.replace(&mut secrets, lifetime.min(token_left));
        drop(secrets);
        Given { by_default: asked.is_none(), ..self.read() }
    }

    /// What a secret is worth; `None` if it does not work.
    pub(super) fn check(&self, secret: &str) -> Option<Standing> {
        let now = self.clock.wall();
        let secrets = self.secrets();
        let issued = secrets.iter().find(|issued| issued.secret == secret)?;
        let dies = match issued.replaced {
            Some(replaced) if self.rules.hard_reset => replaced,
            Some(replaced) => (replaced + self.rules.grace).min(issued.ends + self.rules.grace),
            None => issued.ends + self.rules.grace,
        };
        if now < issued.works_from || now >= dies {
            return None;
        }
        Some(if now < issued.ends { Standing::Good } else { Standing::Grace })
    }

    /// How often it was reset.
    pub(super) fn resets(&self) -> usize {
        self.secrets().len() - 1
    }

    fn replace(&self, secrets: &mut Vec<Issued>, lifetime: Duration) {
        let now = self.clock.wall();
        if let Some(last) = secrets.last_mut() {
            last.replaced = Some(now);
        }
        let works_from = now + self.rules.late;
        secrets.push(Issued { secret: self.clock.uuid(), ends: now + lifetime, works_from, replaced: None });
    }

    /// The secrets, after somebody else did what was due.
    fn secrets(&self) -> MutexGuard<'_, Vec<Issued>> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |after| secrets.len() == 1 && self.clock.wall() >= self.started + after;
        if self.rules.taken.is_some_and(is_due) {
            self.replace(&mut secrets, self.rules.secret_lifetime);
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{DAY, Rules, Standing, Vault};
    use crate::clock::Clock;

    fn vault(rules: Rules) -> Vault {
        Vault::new(Clock::simulated(Timestamp::UNIX_EPOCH, 1), rules)
    }

    async fn pass(days: u32) {
        tokio::time::advance(days * DAY).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_ends_after_180_days_works_five_more_and_then_no_longer() {
        let vault = vault(Rules::default());
        let secret = vault.read().secret;
        pass(179).await;
        assert_eq!(vault.check(&secret), Some(Standing::Good));
        pass(5).await;
        assert_eq!(vault.check(&secret), Some(Standing::Grace));
        pass(1).await;
        assert_eq!(vault.check(&secret), None);
        assert_eq!(vault.read().secret, secret, "it can still be read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_secret_lives_as_long_as_was_asked_but_not_longer_than_the_token_that_asked() {
        let vault = vault(Rules::default());
        let lifetime = |days, left| vault.reset(days, left * DAY).ends.duration_since(Timestamp::UNIX_EPOCH);
        assert_eq!(lifetime(Some(100), 180).as_hours(), 2400);
        assert_eq!(lifetime(Some(100), 1).as_hours(), 24);
        assert_eq!(lifetime(None, 365).as_hours(), 4320);
        let given = vault.reset(Some(181), 365 * DAY);
        assert!(given.by_default && given.ends == Timestamp::UNIX_EPOCH + 180 * DAY);
        assert_eq!(vault.resets(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_was_reset_works_for_its_grace_or_dies_at_once() {
        for hard_reset in [false, true] {
            let vault = vault(Rules { hard_reset, ..Rules::default() });
            let old = vault.read().secret;
            let new = vault.reset(None, 180 * DAY).secret;
            assert_ne!(old, new);
            assert_eq!(vault.check(&old), (!hard_reset).then_some(Standing::Good));
            assert_eq!(vault.check(&new), Some(Standing::Good));
            pass(5).await;
            assert_eq!(vault.check(&old), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_else_may_reset_it_and_a_new_one_may_work_late() {
        let vault = vault(Rules { taken: Some(DAY), late: DAY, ..Rules::default() });
        let first = vault.read().secret;
        pass(1).await;
        let second = vault.read().secret;
        assert_ne!(first, second);
        assert_eq!((vault.check(&first), vault.check(&second)), (Some(Standing::Good), None));
        pass(1).await;
        assert_eq!(vault.check(&second), Some(Standing::Good));
        assert_eq!(vault.resets(), 1);
    }
}
