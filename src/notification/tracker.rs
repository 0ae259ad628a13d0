//! What one receiver was told, held against what there is.
//!
//! ```text
//!            it lasts for `after`            every `remind`
//!   well ───────────────────────▶ told ◀──────────────────┐
//!     ▲                            │  └──────────────────┘
//!     │   well for `after`:        │ another event of the same topic: told at once
//!     └──── "recovered", once ─────┘
//! ```
//!
//! Nothing is queued here: what may not be told yet (`flaps`, `rate`) is told when it may, as it then is.
//!
//! What was told before a restart is taken up as it was. It stands until something is known: neither is it told again,
//! nor is it over, before the one that it is about has settled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock, Moment};
use crate::notification::diary::{Entry, Told};
use crate::notification::trouble::{Survey, Topic, Trouble};
use crate::notification::{Event, Notice, ReceiverSpec};
use crate::rate::Rate;

/// So many notices of one kind at once are told one by one; more come together in one.
const ONE_BY_ONE: usize = 10;

/// The most names in one notice.
const MOST_NAMES: usize = 100;

/// What one receiver was told.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    matters: BTreeMap<(String, Topic), Matter>,
    told: Window,
    /// Goes up with all that is told.
    number_told: u64,
}

/// What a look brought.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// What is to be told now.
    pub(super) notices: Vec<Notice>,
    /// How many matters had to wait because they were told too often.
    pub(super) flapped: u64,
    /// How many had to wait because the receiver was told too much.
    pub(super) crowded: u64,
}

/// One topic of one name.
#[derive(Debug)]
struct Matter {
    /// What is wrong, or was last.
    trouble: Trouble,
    /// Since when this very event lasts.
    since: Moment,
    /// Since when all is well; `None` while it is not.
    well: Option<Moment>,
    /// What was told last, when, and how often before; `None` if nothing was since all was well.
    told: Option<(Event, Duration, u32)>,
    times: Window,
    /// It waits because of a bound, which was counted.
    waits: bool,
    /// Whether it is still so was not seen since a restart.
    is_hearsay: bool,
}

/// When something happened, as far back as its bound looks.
#[derive(Debug, Default)]
struct Window(VecDeque<Duration>);

/// Time is counted from so long before the machine was started: what was told before a restart lies behind it.
const BEFORE_BOOT: Duration = Duration::from_secs(366 * 86_400);

/// The present, as it is counted here.
fn present(clock: &Clock) -> Moment {
    let now = clock.now();
    Moment { boot: now.boot + BEFORE_BOOT, ..now }
}

/// When something was that the wall clock dates.
fn past(at: Timestamp, now: Moment) -> Duration {
    now.boot.saturating_sub(Duration::try_from(now.wall.duration_since(at)).unwrap_or_default())
}

/// How the wall clock dates something that was.
fn date(at: Duration, now: Moment) -> Timestamp {
    now.wall.saturating_sub(now.boot.saturating_sub(at)).unwrap_or(Timestamp::MIN)
}

impl Window {
    fn has_room(&mut self, bound: Rate, now: Duration) -> bool {
        while self.0.front().is_some_and(|first| now.saturating_sub(*first) >= bound.per) {
            self.0.pop_front();
        }
        self.0.len() < bound.count as usize
    }

    fn note(&mut self, now: Duration) {
        self.0.push_back(now);
    }
}

impl Matter {
    fn new(trouble: Trouble, now: Moment) -> Self {
        let times = Window::default();
        Self { trouble, since: now, well: None, told: None, times, waits: false, is_hearsay: false }
    }

    /// What is wrong now.
    fn see(&mut self, trouble: Trouble, now: Moment) {
        if self.trouble.event != trouble.event || (self.well.is_some() && self.told.is_none()) {
            self.since = now;
        }
        self.well = None;
        self.is_hearsay = false;
        self.trouble = trouble;
    }

    /// What is to be told of it, if anything is: the event, and how often it was told before.
    fn due(&self, spec: &ReceiverSpec, now: Moment) -> Option<(Event, u32)> {
        if self.is_hearsay {
            return None;
        }
        if let Some(well) = self.well {
            let is_over = now.boot.saturating_sub(well.boot) >= spec.after;
            let tells = self.told.is_some() && spec.events.contains(&Event::Recovered);
            return (is_over && tells).then_some((Event::Recovered, 0));
        }
        let event = self.trouble.event;
        match self.told {
            Some((told, at, count)) if told == event => {
                let is_time = !spec.remind.is_zero() && now.boot.saturating_sub(at) >= spec.remind;
                is_time.then_some((event, count + 1))
            }
            _ => {
                let patience = if self.trouble.may_mend { spec.after } else { Duration::ZERO };
                (now.boot.saturating_sub(self.since.boot) >= patience).then_some((event, 0))
            }
        }
    }

    fn is_forgotten(&mut self, spec: &ReceiverSpec, now: Moment) -> bool {
        let has_settled = self.well.is_some_and(|well| now.boot.saturating_sub(well.boot) >= spec.after);
        let is_silent = self.told.is_none() || !spec.events.contains(&Event::Recovered);
        has_settled && is_silent && self.times.has_room(Rate { count: 1, ..spec.flaps }, now.boot)
    }
}

impl Tracker {
    /// Holds what is wrong now against what was told. `exists` says whether a name is still one of the
    /// configuration: of one that is gone nothing more is told.
    pub(super) fn look(
        &mut self,
        spec: &ReceiverSpec,
        survey: &Survey,
        exists: &dyn Fn(&str) -> bool,
        clock: &Clock,
        host: &str,
    ) -> Look {
        let now = present(clock);
        self.see(spec, survey, now);
        self.matters.retain(|(name, _), matter| exists(name) && !matter.is_forgotten(spec, now));
        let mut look = Look::default();
        let mut due: BTreeMap<Event, Vec<(&mut Matter, u32)>> = BTreeMap::new();
        for matter in self.matters.values_mut() {
            let Some((event, reminder)) = matter.due(spec, now) else { continue };
            if matter.times.has_room(spec.flaps, now.boot) {
                due.entry(event).or_default().push((matter, reminder));
            } else if !std::mem::replace(&mut matter.waits, true) {
                look.flapped += 1;
            }
        }
        for (event, mut matters) in due {
            let each = if matters.len() > ONE_BY_ONE { matters.len() } else { 1 };
            while !matters.is_empty() {
                // What had to wait comes together.
                let waited = matters.iter().any(|(matter, _)| matter.waits);
                let together: Vec<_> = matters.drain(..if waited { matters.len() } else { each }).collect();
                if !self.told.has_room(spec.rate, now.boot) {
                    for (matter, _) in together {
                        look.crowded += u64::from(!std::mem::replace(&mut matter.waits, true));
                    }
                    continue;
                }
                self.told.note(now.boot);
                self.number_told += 1;
                look.notices.extend(tell(event, together, now, clock, host));
            }
        }
        look
    }

    /// What was told before a restart.
    pub(super) fn remember(entries: Vec<Entry>, told: Vec<Timestamp>, clock: &Clock) -> Self {
        let now = present(clock);
        let window = |times: Vec<Timestamp>| Window(times.into_iter().map(|at| past(at, now)).collect());
        let matter = |entry: Entry| {
            let trouble = Trouble {
                name: entry.name,
                topic: entry.topic,
                event: entry.event,
                message: entry.message,
                advice: None,
                may_mend: false,
                ends_at: entry.ends_at,
                lead: Duration::MAX,
            };
            let since = Moment { wall: entry.since, boot: past(entry.since, now) };
            let told = entry.told.map(|told| (told.event, past(told.at, now), told.reminder));
            let times = window(entry.times);
            let key = (trouble.name.clone(), trouble.topic.clone());
            (key, Matter { since, told, times, is_hearsay: true, ..Matter::new(trouble, now) })
        };
        Self { matters: entries.into_iter().map(matter).collect(), told: window(told), number_told: 0 }
    }

    /// What a restart has to know: of each matter, and when anything was told.
    pub(super) fn memory(&self, clock: &Clock) -> (Vec<Entry>, Vec<Timestamp>) {
        let now = present(clock);
        let dates = |window: &Window| window.0.iter().map(|at| date(*at, now)).collect::<Vec<_>>();
        let entry = |matter: &Matter| Entry {
            name: matter.trouble.name.clone(),
            topic: matter.trouble.topic.clone(),
            event: matter.trouble.event,
            message: matter.trouble.message.clone(),
            ends_at: matter.trouble.ends_at,
            since: matter.since.wall,
            told: matter.told.map(|(event, at, reminder)| Told { event, at: date(at, now), reminder }),
            times: dates(&matter.times),
        };
        (self.matters.values().map(entry).collect(), dates(&self.told))
    }

    /// How often anything was told, and how many matters there are: while neither changes, a restart has nothing new
    /// to know.
    pub(super) fn news(&self) -> (u64, usize) {
        (self.number_told, self.matters.len())
    }

    fn see(&mut self, spec: &ReceiverSpec, survey: &Survey, now: Moment) {
        let wanted = survey.troubles.iter().filter(|it| spec.wants(it) && it.is_near(spec.before, now.wall));
        let mut seen: BTreeMap<(String, Topic), &Trouble> = BTreeMap::new();
        for trouble in wanted {
            seen.insert((trouble.name.clone(), trouble.topic.clone()), trouble);
        }
        for (key, matter) in &mut self.matters {
            let is_known = !matter.is_hearsay || !survey.unsettled.contains(&key.0);
            if is_known && !seen.contains_key(key) {
                matter.is_hearsay = false;
                matter.well.get_or_insert(now);
            }
        }
        for (key, trouble) in seen {
            let matter = self.matters.entry(key).or_insert_with(|| Matter::new(trouble.clone(), now));
            matter.see(trouble.clone(), now);
        }
    }
}

/// Notes that these are told now, and writes it down.
fn tell(
    event: Event,
    matters: Vec<(&mut Matter, u32)>,
    now: Moment,
    clock: &Clock,
    host: &str,
) -> Option<Notice> {
    let number = matters.len();
    let mut names = Vec::with_capacity(number.min(MOST_NAMES + 1));
    let mut first: Option<(Trouble, Option<Event>, Timestamp, u32)> = None;
    for (matter, reminder) in matters {
        matter.times.note(now.boot);
        matter.waits = false;
        let was = (event == Event::Recovered).then(|| matter.told.map(|(told, ..)| told)).flatten();
        matter.told = (event != Event::Recovered).then_some((event, now.boot, reminder));
        if names.len() <= MOST_NAMES {
            names.push(matter.trouble.name.clone());
        }
        if first.is_none() {
            first = Some((matter.trouble.clone(), was, matter.since.wall, reminder));
        }
    }
    let (trouble, was, since, reminder) = first?;
    let over = event == Event::Recovered;
    Some(Notice {
        id: clock.uuid(),
        event,
        name: trouble.name,
        others: names.split_off(1),
        number,
        message: if over { format!("it is over: {}", trouble.message) } else { trouble.message },
        advice: trouble.advice.filter(|_| !over),
        was,
        since,
        at: now.wall,
        ends_at: trouble.ends_at.filter(|_| !over),
        reminder,
        host: host.to_owned(),
    })
}

#[cfg(test)]
mod tests;
