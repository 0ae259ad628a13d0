use std::time::Duration;

use jiff::Timestamp;

use super::{Look, Tracker};
use crate::clock::Clock;
use crate::notification::{Event, ReceiverSpec, Survey, Topic, Trouble, Way};
use crate::rate::Rate;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn receiver() -> ReceiverSpec {
    ReceiverSpec {
        name: "ops".to_owned(),
        way: Way::Command(vec!["true".to_owned()]),
        events: Event::ALL.into(),
        credentials: None,
        after: MINUTE,
        before: HOUR * 24 * 14,
        remind: HOUR * 24,
        flaps: ReceiverSpec::FLAPS,
        rate: ReceiverSpec::RATE,
        max_queue: 10,
        timeout: MINUTE,
        egress: String::new(),
    }
}

fn trouble(name: &str, event: Event) -> Trouble {
    Trouble {
        name: name.to_owned(),
        topic: Topic::State,
        event,
        message: "the issuer is down".to_owned(),
        advice: None,
        may_mend: matches!(event, Event::Failing | Event::Pending),
        ends_at: None,
        lead: Duration::MAX,
    }
}

/// A tracker whose time is looked at once a second.
struct Bench {
    clock: Clock,
    spec: ReceiverSpec,
    tracker: Tracker,
    told: Vec<(Event, u32)>,
    flapped: u64,
    crowded: u64,
}

impl Bench {
    fn new(spec: ReceiverSpec) -> Self {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
        Self { clock, spec, tracker: Tracker::default(), told: Vec::new(), flapped: 0, crowded: 0 }
    }

    fn look(&mut self, troubles: &[Trouble]) -> Look {
        self.survey(troubles, &[])
    }

    /// A look while of some nothing is known yet.
    fn survey(&mut self, troubles: &[Trouble], unsettled: &[&str]) -> Look {
        let unsettled = unsettled.iter().map(|name| (*name).to_owned()).collect();
        let survey = Survey { troubles: troubles.to_vec(), unsettled };
        let look = self.tracker.look(&self.spec, &survey, &|name| name != "gone", &self.clock, "host");
        self.told.extend(look.notices.iter().map(|notice| (notice.event, notice.reminder)));
        self.flapped += look.flapped;
        self.crowded += look.crowded;
        look
    }

    /// The same holds for so long.
    fn hold(&mut self, length: Duration, troubles: &[Trouble]) {
        let step = Duration::from_secs(if length > HOUR * 2 { 60 } else { 1 });
        for _ in 0..length.as_secs() / step.as_secs() {
            self.clock.suspend(step);
            self.look(troubles);
        }
    }

    /// Another process takes up what this one has told, so much later, on a machine that was just started.
    fn restart(&mut self, later: Duration) {
        let (entries, told) = self.tracker.memory(&self.clock);
        self.clock = Clock::simulated(self.clock.wall() + later, 2);
        self.tracker = Tracker::remember(entries, told, &self.clock);
    }

    fn told(&mut self) -> Vec<(Event, u32)> {
        std::mem::take(&mut self.told)
    }
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_person_is_told_at_once_once_and_then_once_a_day() {
    let mut bench = Bench::new(receiver());
    let rejected = [trouble("a", Event::Rejected)];
    bench.look(&rejected);
    assert_eq!(bench.told(), [(Event::Rejected, 0)]);
    bench.hold(HOUR * 71, &rejected);
    assert_eq!(bench.told(), [(Event::Rejected, 1), (Event::Rejected, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_may_mend_itself_is_told_when_it_has_lasted() {
    let mut bench = Bench::new(receiver());
    let failing = [trouble("a", Event::Failing)];
    for _ in 0..100 {
        bench.hold(Duration::from_secs(50), &failing);
        bench.hold(Duration::from_secs(2), &[]);
    }
    assert_eq!(bench.told(), [], "each time it was over before a minute had passed");
    bench.hold(Duration::from_secs(62), &failing);
    assert_eq!(bench.told(), [(Event::Failing, 0)]);
}

#[tokio::test(start_paused = true)]
async fn that_it_is_over_is_told_once_and_only_of_what_was_told() {
    let mut bench = Bench::new(receiver());
    bench.hold(MINUTE / 2, &[trouble("a", Event::Failing)]);
    bench.hold(HOUR, &[]);
    assert_eq!(bench.told(), []);
    bench.look(&[trouble("a", Event::Rejected)]);
    bench.hold(MINUTE / 2, &[]);
    assert_eq!(bench.told(), [(Event::Rejected, 0)], "it may come back at once");
    bench.hold(HOUR * 3, &[]);
    assert_eq!(bench.told(), [(Event::Recovered, 0)]);
}

#[tokio::test(start_paused = true)]
async fn one_trouble_takes_the_place_of_another_without_an_end_between() {
    let mut bench = Bench::new(receiver());
    bench.hold(MINUTE * 2, &[trouble("a", Event::Failing)]);
    bench.hold(MINUTE * 2, &[trouble("a", Event::Expired)]);
    assert_eq!(bench.told(), [(Event::Failing, 0), (Event::Expired, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_flaps_is_told_so_often_an_hour_and_then_as_it_is() {
    let mut bench = Bench::new(ReceiverSpec { after: Duration::ZERO, ..receiver() });
    for _ in 0..30 {
        bench.hold(Duration::from_secs(30), &[trouble("a", Event::Rejected)]);
        bench.hold(Duration::from_secs(30), &[]);
    }
    assert_eq!(bench.told().len(), 6);
    assert!(bench.flapped > 0);
    bench.hold(HOUR * 2, &[trouble("a", Event::Rejected)]);
    assert_eq!(bench.told(), [(Event::Rejected, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_at_once_come_in_one_notice() {
    let mut bench = Bench::new(receiver());
    let all: Vec<_> = (0..150).map(|number| trouble(&format!("c{number:03}"), Event::Expired)).collect();
    let look = bench.look(&all);
    let [notice] = look.notices.as_slice() else { panic!("{look:?}") };
    assert_eq!((notice.number, notice.others.len(), notice.name.as_str()), (150, 100, "c000"));
    assert_eq!(notice.headline(), "c000 and 149 more: expired");
    assert!(bench.look(&all).notices.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_was_told_too_much_gets_the_rest_in_one() {
    let rate = Rate { count: 5, per: HOUR };
    let mut bench = Bench::new(ReceiverSpec { rate, ..receiver() });
    let mut all = Vec::new();
    for number in 0..50 {
        all.push(trouble(&format!("c{number:02}"), Event::Rejected));
        bench.hold(Duration::from_secs(10), &all);
    }
    assert_eq!(bench.told().len(), 5);
    assert_eq!(bench.crowded, 45);
    let mut rest = Vec::new();
    for _ in 0..3600 {
        bench.clock.suspend(Duration::from_secs(1));
        rest.extend(bench.look(&all).notices);
    }
    assert_eq!(rest.iter().map(|notice| notice.number).collect::<Vec<_>>(), [45]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_told_when_it_is_near_and_not_of_what_lives_for_an_hour() {
    let mut bench = Bench::new(receiver());
    let end = |hours: u32, lead| {
        let now = bench.clock.wall();
        let end = Trouble::end("a".to_owned(), "the secret", now + HOUR * hours, now, "renew it");
        [Trouble { lead, ..end }]
    };
    let (far, near, hourly) =
        (end(24 * 15, Duration::MAX), end(24 * 13, Duration::MAX), end(1, Duration::from_secs(720)));
    assert!(bench.look(&far).notices.is_empty());
    assert!(bench.look(&hourly).notices.is_empty());
    let look = bench.look(&near);
    let [notice] = look.notices.as_slice() else { panic!("{look:?}") };
    assert_eq!(notice.message, "the secret ends at 1970-01-14T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_is_told_of_what_it_wants_and_of_nothing_that_is_gone() {
    let mut bench = Bench::new(ReceiverSpec {
        events: [Event::Rejected].into(),
        credentials: Some(["a".to_owned(), "gone".to_owned()].into()),
        ..receiver()
    });
    bench.look(&[trouble("b", Event::Rejected), trouble("gone", Event::Rejected)]);
    bench.hold(MINUTE * 5, &[trouble("a", Event::Failing)]);
    assert_eq!(bench.told(), []);
    bench.look(&[trouble("a", Event::Rejected)]);
    bench.hold(HOUR, &[]);
    assert_eq!(bench.told(), [(Event::Rejected, 0)], "it did not ask for `recovered`");
}

#[tokio::test(start_paused = true)]
async fn a_restart_tells_nothing_twice_and_reminds_when_it_is_time() {
    let mut bench = Bench::new(receiver());
    let rejected = [trouble("a", Event::Rejected)];
    bench.look(&rejected);
    for _ in 0..5 {
        bench.restart(HOUR);
        bench.survey(&[], &["a"]);
        bench.hold(HOUR, &rejected);
    }
    assert_eq!(bench.told(), [(Event::Rejected, 0)]);
    bench.restart(HOUR * 14);
    bench.look(&rejected);
    assert_eq!(bench.told(), [(Event::Rejected, 1)], "a day after the first");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_after_a_restart_is_told_once_that_is_known() {
    let mut bench = Bench::new(ReceiverSpec { after: Duration::ZERO, ..receiver() });
    bench.look(&[trouble("a", Event::Rejected)]);
    bench.restart(HOUR);
    for _ in 0..30 {
        bench.clock.suspend(Duration::from_secs(1));
        bench.survey(&[], &["a"]);
    }
    assert_eq!(bench.told(), [(Event::Rejected, 0)], "nothing is known yet");
    let look = bench.look(&[]);
    assert_eq!(
        look.notices.first().map(|notice| (notice.event, notice.was)),
        Some((Event::Recovered, Some(Event::Rejected)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_hides_no_trouble_and_breaks_no_bound() {
    let mut bench = Bench::new(receiver());
    let failing = [trouble("a", Event::Failing)];
    for _ in 0..10 {
        bench.hold(Duration::from_secs(10), &failing);
        bench.restart(Duration::from_secs(5));
    }
    assert_eq!(bench.told(), [(Event::Failing, 0)], "it has lasted, though no process did");

    let mut bench = Bench::new(ReceiverSpec { after: Duration::ZERO, ..receiver() });
    for _ in 0..20 {
        bench.look(&[trouble("a", Event::Rejected)]);
        bench.restart(Duration::from_secs(20));
        bench.look(&[]);
        bench.restart(Duration::from_secs(20));
    }
    assert_eq!(bench.told().len(), 6);
}
