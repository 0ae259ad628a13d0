//! What holds in any history: of answers, refusals, sleeps, clocks that are stepped, inputs that change, and
//! restarts.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::backoff::{Backoff, RETRY_AFTER_LIMIT};
use crate::credential::schedule::LEAST_INTERVAL;
use crate::credential::shared::REFUSAL_FLOOR;
use crate::credential::store::REJECTED_TRIES;

/// Timers are that exact.
const SLACK: Duration = Duration::from_millis(1100);

/// Timers fire in steps of a millisecond: what is closer together happens at the same time.
const TIE: Duration = Duration::from_millis(5);

/// What an issuer says.
#[derive(Debug, Clone, Copy)]
enum Reply {
    /// A token that lasts so many seconds, after so many.
    Token {
        lasts: u64,
        after: u64,
    },
    Down,
    /// It asks for a pause of so many seconds.
    Busy(u64),
    Stubborn,
    Lost,
    Rejected,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many milliseconds pass.
    Pass(u64),
    /// So many requests are refused at once.
    Refused(usize),
    /// The machine sleeps for so many seconds.
    Sleep(u64),
    /// The wall clock is stepped by so many seconds.
    Step(i64),
    /// The password is another one.
    Password,
    Restart,
}

/// An exchange, as the issuer had it.
#[derive(Debug, Clone)]
struct Asked {
    /// In time since boot.
    at: Duration,
    reply: Reply,
    password: String,
    /// Which keeper asked, with which configuration.
    life: usize,
}

/// What is known when a history is over.
#[derive(Debug, Default)]
struct Chronicle {
    asked: Vec<Asked>,
    /// When each life ended, in time since boot.
    ends: Vec<Duration>,
    /// When the clocks were moved apart.
    steps: Vec<Duration>,
    /// From when to when the machine slept.
    sleeps: Vec<(Duration, Duration)>,
}

fn replies() -> impl Strategy<Value = Vec<Reply>> {
    // From a second to eleven days, each order of magnitude as often.
    let lasts = (0..20_u32, 0..1000_u64).prop_map(|(power, more)| (1 << power) + more * (1 << power) / 1000);
    let reply = prop_oneof![
        8 => (lasts, prop_oneof![3 => Just(0), 1 => 0..8_u64]).prop_map(|(lasts, after)| Reply::Token { lasts, after }),
        2 => Just(Reply::Down),
        1 => (1..2 * RETRY_AFTER_LIMIT.as_secs()).prop_map(Reply::Busy),
        1 => Just(Reply::Stubborn),
        1 => Just(Reply::Lost),
        1 => Just(Reply::Rejected),
    ];
    prop::collection::vec(reply, 1..8)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let pass = (0..24_u32, 500..1000_u64).prop_map(|(power, part)| Event::Pass((part << power) / 500));
    let event = prop_oneof![
        6 => pass,
        5 => (1..4_usize).prop_map(Event::Refused),
        1 => (1..40_000_u64).prop_map(Event::Sleep),
        1 => (-40_000..40_000_i64).prop_map(Event::Step),
        1 => Just(Event::Password),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..60)
}

fn answer(number: usize, reply: Reply) -> Answer {
    let fails = |retry_after: Option<u64>| {
        let retry_after = retry_after.map(seconds);
        Answer::Fails(MintError::Transient { message: "the issuer is busy".to_owned(), retry_after })
    };
    match reply {
        Reply::Token { lasts, after } => token(&format!("t{number}"), seconds(lasts)).after(seconds(after)),
        Reply::Down => fails(None),
        Reply::Busy(pause) => fails(Some(seconds(pause).min(RETRY_AFTER_LIMIT).as_secs())),
        Reply::Stubborn => Answer::Fails(MintError::Stubborn { message: "404 Not Found".to_owned() }),
        Reply::Lost => unanswered(),
        Reply::Rejected => rejected(),
    }
}

/// What one keeper, and those that follow it, do in such a history.
async fn live(replies: Vec<Reply>, events: Vec<Event>) -> Chronicle {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + 1000 * HOUR, 11);
    let store: Arc<dyn Store> = attempts::durable();
    let asked = Arc::new(Mutex::new(Vec::<Asked>::new()));
    let (mut life, mut passwords, mut newest) = (0, 0, 0);
    let mut chronicle = Chronicle::default();
    let begin = |life: usize, passwords: usize| {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        let (asked, replies, clock) = (Arc::clone(&asked), replies.clone(), clock.clone());
        house.issuer.answers("a", move |call| {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = replies[asked.len() % replies.len()];
            let password = call.input("password").to_owned();
            asked.push(Asked { at: clock.boot(), reply, password, life });
            answer(asked.len(), reply)
        });
        house.keep([with_password(passwords)]);
        let slot = house.slot("a");
        (house, slot)
    };
    let (mut house, mut slot) = begin(life, passwords);
    for event in events {
        match event {
            Event::Pass(milliseconds) => pass(Duration::from_millis(milliseconds)).await,
            Event::Refused(count) => {
                let generation = house.status("a").generation;
                for _ in 0..count {
                    let (slot, clock) = (Arc::clone(&slot), clock.clone());
                    tokio::spawn(async move { slot.refused(generation, &clock, WAIT).await });
                }
            }
            Event::Sleep(length) => {
                let from = clock.boot();
                clock.suspend(seconds(length));
                chronicle.sleeps.push((from, clock.boot()));
            }
            Event::Step(by) => {
                clock.step_wall(SignedDuration::from_secs(by));
                chronicle.steps.push(clock.boot());
            }
            Event::Password | Event::Restart => {
                life += 1;
                passwords += usize::from(matches!(event, Event::Password));
                chronicle.ends.push(clock.boot());
                house.keeper.shutdown().await;
                newest = 0;
                (house, slot) = begin(life, passwords);
            }
        }
        settle().await;
        let now = clock.now();
        if let Some(current) = slot.current(now).and_then(|guard| guard.as_ref().cloned()) {
            assert!(current.generation >= newest, "generations go up");
            newest = current.generation;
            let number: usize = current.value[1..].parse().expect("the number of the exchange");
            let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let given = &asked[number - 1];
            let Reply::Token { lasts, .. } = given.reply else { panic!("a token that was not given") };
            // After a restart only the wall clock says how old it is.
            if given.life == life || chronicle.is_even(given.at) {
                let end = chronicle.answered(given).1 + seconds(lasts) + TIE;
                assert!(now.boot < end, "a token that has ended is put on no request");
            }
        }
    }
    chronicle.ends.push(clock.boot());
    chronicle.asked.clone_from(&asked.lock().unwrap_or_else(PoisonError::into_inner));
    chronicle
}

fn with_password(number: usize) -> CredentialSpec {
    with_inputs(spec("a"), [("password", Source::Value(Secret::from(format!("password-{number}").as_str())))])
}

impl Chronicle {
    /// Pairs of exchanges of one life that follow each other; the second is none if the life ended before.
    fn pairs(&self) -> impl Iterator<Item = (&Asked, Option<&Asked>)> {
        self.asked
            .iter()
            .enumerate()
            .map(|(at, one)| (one, self.asked.get(at + 1).filter(|next| next.life == one.life)))
    }

    /// The clocks showed the same time from then on.
    fn is_even(&self, from: Duration) -> bool {
        self.steps.iter().all(|step| *step < from)
    }

    /// When an exchange had its answer, at the earliest and at the latest: an issuer takes as long as it takes
    /// while the machine is awake, and which is first of an answer and a sleep at the same time is open.
    fn answered(&self, asked: &Asked) -> (Duration, Duration) {
        let Reply::Token { after, .. } = asked.reply else { return (asked.at, asked.at) };
        let sleeps = self.sleeps.iter().filter(|(from, _)| *from >= asked.at);
        let end = |tie: Duration| {
            let longer = |end, (from, to): &(Duration, Duration)| {
                if *from < end + tie { end + (*to - *from) } else { end }
            };
            sleeps.clone().fold(asked.at + seconds(after), longer)
        };
        (end(Duration::ZERO), end(TIE))
    }

    /// When what is due then is done: not in a sleep.
    fn awake(&self, at: Duration) -> Duration {
        self.sleeps.iter().fold(at, |at, (from, to)| if (*from..*to).contains(&at) { *to } else { at })
    }

    /// How soon after an exchange another one may be begun, and how late it must be, if nothing else happens.
    fn pause(after: &Asked) -> (Duration, Option<Duration>) {
        match after.reply {
            Reply::Token { lasts, .. } => {
                (LEAST_INTERVAL, Some(seconds(lasts).mul_f64(0.8).max(LEAST_INTERVAL)))
            }
            Reply::Down | Reply::Lost => (Backoff::SHORTEST, Some(Backoff::LONGEST)),
            Reply::Busy(pause) => {
                let asked = seconds(pause).min(RETRY_AFTER_LIMIT);
                (asked, Some(asked.mul_f64(1.1).max(Backoff::LONGEST)))
            }
            Reply::Stubborn => (Backoff::LONGEST.mul_f64(0.9), Some(Backoff::LONGEST)),
            Reply::Rejected => (Duration::MAX, None),
        }
    }

    /// Whether an exchange came before the schedule wanted it.
    fn is_early(before: &Asked, next: &Asked) -> bool {
        let Reply::Token { lasts, .. } = before.reply else { return false };
        next.at < before.at + seconds(lasts).mul_f64(0.6999)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_the_issuer_is_asked_when_it_should_be_and_no_more(replies in replies(), events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let chronicle = runtime.expect("a runtime").block_on(live(replies, events));
        for (one, next) in chronicle.pairs() {
            let (least, most) = Chronicle::pause(one);
            if let Some(next) = next {
                prop_assert!(next.at >= chronicle.answered(one).0.saturating_add(least), "too soon: {next:?}");
            }
            let end = next.map_or(chronicle.ends[one.life], |next| next.at);
            if let Some(most) = most && chronicle.is_even(one.at) {
                let latest = chronicle.awake(chronicle.answered(one).1 + most) + SLACK;
                prop_assert!(end <= latest, "too late after {one:?}: {end:?}");
            }
        }
    }

    #[test]
    fn in_any_history_refusals_lead_to_at_most_one_renewal_in_ten_seconds(replies in replies(), events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let chronicle = runtime.expect("a runtime").block_on(live(replies, events));
        let early = chronicle.pairs().filter_map(|(one, next)| Some((one, next?)));
        // A clock that is stepped is a reason of its own.
        let early = early.filter(|(one, next)| Chronicle::is_early(one, next) && chronicle.is_even(one.at));
        let early: Vec<_> = early.map(|(_, next)| next).collect();
        for pair in early.windows(2).filter(|pair| pair[0].life == pair[1].life) {
            prop_assert!(pair[1].at >= pair[0].at + REFUSAL_FLOOR, "{pair:?}");
        }
    }

    #[test]
    fn in_any_history_a_rejected_password_is_tried_once_in_a_life_and_three_times_in_all(
        replies in replies(),
        events in events(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let chronicle = runtime.expect("a runtime").block_on(live(replies, events));
        let mut tries = HashMap::<&str, u32>::new();
        for (one, next) in chronicle.pairs() {
            let tried = tries.entry(&one.password).or_default();
            match one.reply {
                Reply::Rejected => {
                    prop_assert!(next.is_none(), "asked again though nothing has changed: {next:?}");
                    *tried += 1;
                }
                Reply::Token { .. } => *tried = 0,
                _ => {}
            }
            prop_assert!(*tried <= REJECTED_TRIES, "{one:?}");
        }
    }
}
