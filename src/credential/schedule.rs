//! The rules of time: how long a token is taken to last, when it is renewed, and how close together
//! renewals may lie. Pure functions over what the caller read from the clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::credential::{CredentialSpec, Expiry, Flow, Lifetime};
use crate::rate::Rate;

/// Whatever the issuer says, so much time lies between two renewals of a credential.
pub const LEAST_INTERVAL: Duration = Duration::from_secs(2);

/// An issuer that promises more than this is not believed.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The part of a lifetime after which a renewal may start, and how wide the window is from there.
const RENEWAL_WINDOW: (f64, f64) = (0.7, 0.1);

/// How long a token that was received at `obtained` is taken to last, and a warning if that is not
/// what its issuer said. A static token is believed: a person wrote its end down. So is a value that has
/// ended and still works.
pub fn lifetime(
    spec: &CredentialSpec,
    said: Option<Lifetime>,
    obtained: Moment,
) -> (Lifetime, Option<String>) {
    if let (Flow::Static(_), Some(said)) = (&spec.flow, said) {
        return (said, None);
    }
    if let (Some(rotation), Some(Lifetime::Until(end))) = (&spec.rotation, said)
        && end <= obtained.wall
        && Expiry::new(obtained, Lifetime::Until(end)).with_grace(rotation.grace).is_usable(obtained)
    {
        return (Lifetime::Until(end), None);
    }
    let problem = match said.map(|said| Expiry::new(obtained, said).lifetime()) {
        None => "the issuer names no lifetime that can be read",
        Some(None) => "the issuer names a token without end",
        Some(Some(Duration::ZERO)) => "the issuer names a lifetime of nothing",
        Some(Some(length)) if length > LONGEST_LIFETIME => "the issuer names a lifetime of over 366 days",
        Some(Some(length)) => return (Lifetime::For(length), None),
    };
    let assumed = spec.times.default_lifetime;
    let warning = format!("{problem}; {assumed:?} is assumed (`default_lifetime`)");
    (Lifetime::For(assumed), Some(warning))
}

/// When to renew: at a random point (`fraction` is from 0 up to 1) between 70 % and 80 % of the
/// lifetime, or `renew_before` its end, but while the token can still be used. A `renew_before` that leaves
/// nothing of the lifetime is not obeyed, since it would mean to renew without a pause. `None` if the token
/// does not end, or if a renewal could bring nothing new.
pub fn renewal(spec: &CredentialSpec, expiry: &Expiry, fraction: f64) -> Option<Moment> {
    let lifetime = expiry.lifetime().filter(|_| spec.is_renewable())?;
    // What has ended and still works is looked at as often as what has no known end.
    let lifetime = if lifetime.is_zero() { spec.times.default_lifetime } else { lifetime };
    // From its skew on it would be put on no request, and none would have another one.
    let asked = spec.times.renew_before.map(|before| before.max(expiry.skew));
    let asked = asked.and_then(|before| lifetime.checked_sub(before));
    let (start, width) = RENEWAL_WINDOW;
    let age =
        asked.filter(|age| !age.is_zero()).unwrap_or_else(|| lifetime.mul_f64(start + width * fraction));
    Some(expiry.obtained.after(age))
}

/// When a refresh token is used at the latest, so that it does not end unused: within the same part of its
/// lifetime. `None` if it does not end.
pub fn before_lapse(lapses: &Expiry, fraction: f64) -> Option<Moment> {
    let (start, width) = RENEWAL_WINDOW;
    Some(lapses.obtained.after(lapses.lifetime()?.mul_f64(start + width * fraction)))
}

/// How close together renewals may lie.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the last renewal succeeded, in time since boot.
    renewed: Option<Duration>,
    /// When the exchanges that `max_renewals` still counts were started; empty without it.
    started: VecDeque<Duration>,
}

/// What is counted here is when exchanges begin, and what an issuer counts is when they arrive. One that was
/// held up on its way and one that was not lie closer together there.
const JITTER: Duration = Duration::from_secs(10);

/// How long `max_renewals` counts an exchange.
pub fn counts_for(limit: Rate) -> Duration {
    limit.per + JITTER.min(limit.per / 10)
}

impl Pace {
    /// Notes an exchange with the issuer that was started at this time since boot.
    pub fn note_exchange(&mut self, started: Duration, limit: Option<Rate>) {
        let Some(limit) = limit else { return };
        self.started.push_back(started);
        while self.started.len() > limit.count as usize {
            self.started.pop_front();
        }
    }

    /// Notes a renewal that succeeded at this time since boot.
    pub fn note_renewal(&mut self, at: Duration) {
        self.renewed = Some(at);
    }

    /// How many exchanges it counts.
    pub fn exchanges(&self) -> usize {
        self.started.len()
    }

    /// Nothing of it counts any more from this time since boot on.
    pub fn forgotten(&self, limit: Option<Rate>) -> Duration {
        let by_interval = self.renewed.map(|renewed| renewed + LEAST_INTERVAL);
        let by_rate = limit.and_then(|limit| Some(*self.started.back()? + counts_for(limit)));
        by_interval.max(by_rate).unwrap_or_default()
    }

    /// No exchange starts before this time since boot.
    pub fn earliest(&self, limit: Option<Rate>) -> Duration {
        let by_interval = self.renewed.map(|renewed| renewed + LEAST_INTERVAL);
        by_interval.max(self.by_rate(limit)).unwrap_or_default()
    }

    /// Up to when `max_renewals` lets no exchange start, in time since boot; `None` if there is room for one.
    pub fn by_rate(&self, limit: Option<Rate>) -> Option<Duration> {
        let limit = limit.filter(|limit| self.started.len() >= limit.count as usize)?;
        Some(*self.started.front()? + counts_for(limit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{LEAST_INTERVAL, LONGEST_LIFETIME, Pace, before_lapse, lifetime, renewal};
    use crate::clock::Moment;
    use crate::credential::flow::fixed::Expires;
    use crate::credential::flow::{LoginFlow, StaticFlow};
    use crate::credential::{CredentialSpec, Expiry, Flow, Lifetime, Rotation, Times};
    use crate::named::Named;
    use crate::rate::Rate;

    const START: Moment = Moment { wall: Timestamp::UNIX_EPOCH, boot: Duration::from_secs(500) };

    fn spec(flow: Flow) -> CredentialSpec {
        CredentialSpec {
            name: "a".into(),
            flow,
            inputs: Named::new(),
            egress: String::new(),
            times: Arc::default(),
            optional: false,
            retry_ambiguous: false,
            expected_upstream: None,
            only_subjects: false,
            deadline: None,
            rotation: None,
            lends: Arc::default(),
        }
    }

    fn login() -> CredentialSpec {
        spec(Flow::Login(Box::new(LoginFlow { steps: Vec::new() })))
    }

    #[test]
    fn a_static_token_is_believed_and_never_renewed() {
        let spec = spec(Flow::Static(StaticFlow { expires: Expires::Unsaid }));
        for said in [
            Lifetime::Unlimited,
            Lifetime::For(LONGEST_LIFETIME * 5),
            Lifetime::Until(Timestamp::UNIX_EPOCH - Duration::from_secs(1)),
        ] {
            assert_eq!(lifetime(&spec, Some(said), START), (said, None));
            assert_eq!(renewal(&spec, &Expiry::new(START, said), 0.5), None);
        }
    }

    #[test]
    fn a_year_is_believed_and_a_day_more_than_a_leap_year_is_not() {
        let said = Lifetime::For(LONGEST_LIFETIME);
        assert_eq!(lifetime(&login(), Some(said), START), (said, None));
        let (assumed, warning) =
            lifetime(&login(), Some(Lifetime::For(LONGEST_LIFETIME + Duration::from_secs(1))), START);
        assert_eq!(assumed, Lifetime::For(Duration::from_secs(3600)));
        assert!(warning.is_some_and(|warning| warning.contains("default_lifetime")));
    }

    #[test]
    fn a_date_is_a_lifetime_from_its_receipt() {
        let until = Lifetime::Until(START.wall + Duration::from_secs(90));
        let believed = Lifetime::For(Duration::from_secs(90));
        assert_eq!(lifetime(&login(), Some(until), START), (believed, None));
    }

    #[test]
    fn pace_keeps_two_seconds_between_renewals_and_so_many_exchanges_in_a_time() {
        let second = Duration::from_secs(1);
        let rate = Some(Rate { count: 3, per: 60 * second });
        let mut pace = Pace::default();
        assert_eq!(pace.earliest(rate), Duration::ZERO);
        for at in [10, 20, 30_u32] {
            pace.note_exchange(at * second, rate);
            pace.note_renewal(at * second);
        }
        assert_eq!(pace.earliest(rate), 76 * second, "what was held up on its way counts, too");
        assert_eq!(pace.earliest(None), 30 * second + LEAST_INTERVAL);
        pace.note_exchange(76 * second, rate);
        assert_eq!(pace.earliest(rate), 86 * second);
    }

    #[test]
    fn a_pace_counts_what_it_was_told_of_and_forgets_it_all_when_the_last_of_it_is_over() {
        let second = Duration::from_secs(1);
        let rate = Some(Rate { count: 3, per: 60 * second });
        let mut pace = Pace::default();
        assert_eq!((pace.exchanges(), pace.forgotten(rate)), (0, Duration::ZERO));
        for (number, at) in (1..).zip([10, 20, 30_u32]) {
            pace.note_exchange(at * second, rate);
            assert_eq!(pace.exchanges(), number);
        }
        assert_eq!(pace.forgotten(rate), 96 * second, "the last of them counts for 66 s");
        assert_eq!(pace.forgotten(None), Duration::ZERO, "without a limit none counts");
        pace.note_renewal(200 * second);
        assert_eq!(pace.forgotten(rate), 200 * second + LEAST_INTERVAL);
        pace.note_exchange(40 * second, rate);
        assert_eq!(pace.exchanges(), 3, "those that bind nobody any more are forgotten");
    }

    #[test]
    fn what_has_ended_is_believed_to_while_its_grace_lasts_and_is_looked_at_as_if_it_had_no_end() {
        let rotation = Rotation {
            before: Duration::ZERO,
            grace: Duration::from_secs(50),
            fresh: Vec::new(),
            steps: Vec::new(),
            verify: Vec::new(),
        };
        let spec = CredentialSpec { rotation: Some(rotation.into()), ..login() };
        let at = |seconds: i64| Lifetime::Until(START.wall + SignedDuration::from_secs(seconds));
        for ended in [0, -30, -49] {
            assert_eq!(lifetime(&spec, Some(at(ended)), START), (at(ended), None), "{ended}");
            let expiry = Expiry::new(START, at(ended)).with_grace(Duration::from_secs(50));
            let age = renewal(&spec, &expiry, 0.5).expect("it is looked at").boot - START.boot;
            assert_eq!(age, Duration::from_secs(45 * 60), "three quarters of an hour");
        }
        let ahead = (Lifetime::For(Duration::from_secs(30)), None);
        assert_eq!(lifetime(&spec, Some(at(30)), START), ahead, "what has not ended has a usual life");
        for (spec, ended) in [(&spec, -50), (&spec, -500), (&login(), -30)] {
            let (assumed, warning) = lifetime(spec, Some(at(ended)), START);
            assert_eq!(assumed, Lifetime::For(Duration::from_secs(3600)), "{ended}");
            assert!(warning.is_some_and(|warning| warning.contains("a lifetime of nothing")), "{ended}");
        }
    }

    #[test]
    fn a_lifetime_that_is_not_believed_is_told_by_what_is_wrong_with_it() {
        for (said, wrong) in [
            (None, "names no lifetime"),
            (Some(Lifetime::Unlimited), "without end"),
            (Some(Lifetime::For(Duration::ZERO)), "of nothing"),
            (Some(Lifetime::For(LONGEST_LIFETIME * 2)), "over 366 days"),
        ] {
            let (assumed, warning) = lifetime(&login(), said, START);
            assert_eq!(assumed, Lifetime::For(Duration::from_secs(3600)));
            let warning = warning.unwrap_or_default();
            assert!(warning.contains(wrong) && warning.contains("3600s is assumed"), "{warning}");
        }
    }

    fn renewed_before(before: Option<Duration>) -> CredentialSpec {
        CredentialSpec { times: Times { renew_before: before, ..Times::default() }.into(), ..login() }
    }

    /// From a millisecond to a leap year, each order of magnitude as often.
    fn lengths() -> impl Strategy<Value = Duration> {
        let longest = u64::try_from(LONGEST_LIFETIME.as_millis()).expect("a year fits");
        (0..35_u32, 1.0..2.0_f64).prop_map(move |(power, part)| {
            Duration::from_millis(1 << power).mul_f64(part).min(Duration::from_millis(longest))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_renewal_lies_between_the_receipt_and_the_end(
            length in lengths(),
            before in proptest::option::of(lengths()),
            fraction in 0.0..1.0_f64,
        ) {
            let expiry = Expiry::new(START, Lifetime::For(length));
            let at = renewal(&renewed_before(before), &expiry, fraction).expect("it ends, so it is renewed");
            let age = at.boot - START.boot;
            match before.map(|before| before.max(expiry.skew)).filter(|before| *before < length) {
                Some(before) => prop_assert!(age == length - before),
                None => prop_assert!(age >= length.mul_f64(0.6999) && age <= length.mul_f64(0.8001)),
            }
        }

        #[test]
        fn a_renewal_starts_while_the_token_can_be_used_by_either_clock(
            length in lengths(),
            before in proptest::option::of(lengths()),
            fraction in 0.0..1.0_f64,
        ) {
            let expiry = Expiry::new(START, Lifetime::For(length));
            let at = renewal(&renewed_before(before), &expiry, fraction).expect("it ends, so it is renewed");
            let until = expiry.usable_until().expect("it ends");
            prop_assert!(at.boot <= until.boot && at.wall <= until.wall);
            prop_assert!(at.boot > START.boot);
        }

        #[test]
        fn those_that_began_together_are_renewed_apart_and_in_order_of_their_lots(
            length in lengths(),
            lots in proptest::collection::vec(0.0..1.0_f64, 2..50),
        ) {
            let expiry = Expiry::new(START, Lifetime::For(length));
            let age = |lot: f64| {
                renewal(&login(), &expiry, lot).map(|at| (at.boot - START.boot).as_secs_f64()).unwrap_or_default()
            };
            let window = length.as_secs_f64() * 0.1;
            for pair in lots.windows(2) {
                let apart = age(pair[1]) - age(pair[0]);
                prop_assert!((apart - window * (pair[1] - pair[0])).abs() < 1e-6, "evenly over the window");
            }
        }

        #[test]
        fn a_refresh_token_that_would_end_is_used_in_the_same_part_of_its_life(
            length in lengths(),
            fraction in 0.0..1.0_f64,
        ) {
            let lapses = Expiry::new(START, Lifetime::For(length));
            let age = before_lapse(&lapses, fraction).expect("it ends").boot - START.boot;
            prop_assert!(age >= length.mul_f64(0.6999) && age <= length.mul_f64(0.8001));
            prop_assert_eq!(before_lapse(&Expiry::new(START, Lifetime::Unlimited), fraction), None);
        }

        #[test]
        fn whoever_obeys_the_pace_asks_no_more_than_it_allows(
            count in 1..5_u32,
            per in 1..1000_u64,
            pauses in proptest::collection::vec((0..300_u64, any::<bool>()), 1..60),
        ) {
            let rate = Some(Rate { count, per: Duration::from_secs(per) });
            let (mut pace, mut now) = (Pace::default(), START.boot);
            let (mut asked, mut renewed) = (Vec::new(), None::<Duration>);
            for (pause, succeeds) in pauses {
                now = (now + Duration::from_secs(pause)).max(pace.earliest(rate));
                prop_assert!(renewed.is_none_or(|renewed| now >= renewed + LEAST_INTERVAL));
                pace.note_exchange(now, rate);
                asked.push(now);
                if succeeds {
                    pace.note_renewal(now);
                    renewed = Some(now);
                }
                prop_assert!(pace.exchanges() <= count as usize);
                prop_assert!(pace.earliest(rate) <= pace.forgotten(rate), "what is forgotten binds nobody");
            }
            for first_and_one_too_many in asked.windows(count as usize + 1) {
                let [first, .., last] = first_and_one_too_many else { continue };
                prop_assert!(*last - *first >= Duration::from_secs(per));
            }
        }
    }
}
