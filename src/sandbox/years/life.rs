//! A whole life, random throughout, from one seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::config::{Config, Environment, load_text};
use crate::notification::{Event, Trouble, of_credentials};
use crate::sandbox::years::disk::Disk;
use crate::sandbox::years::plan::{Plan, Remedy};
use crate::sandbox::years::planted::Planted;
use crate::sandbox::years::process::Process;
use crate::sandbox::years::road::{Road, Weather};
use crate::sandbox::years::{DAY, HOUR, YEARS};

/// How long before an end a person is told of it, as notices are by default.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// So much of that may be over when it is told: the machine slept, or the process was down.
const LATENESS: Duration = Duration::from_secs(4 * 86_400);

/// One trouble is over when a person has helped; what was lost meanwhile makes another one.
const MOST_HELPS: u32 = 3;

/// What is counted over the years.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u32,
    pub(super) without_token: u32,
    pub(super) restarts: u32,
    /// Restarts in the middle of an exchange.
    pub(super) torn: u32,
    pub(super) steps: u32,
    pub(super) by_others: u32,
    /// How often a person helped.
    pub(super) helped: u32,
    /// Exchanges with token services.
    pub(super) exchanges: u32,
    /// Answers of theirs that never arrived.
    pub(super) lost: u32,
    /// Days in which the weather was not fair.
    pub(super) bad_days: f64,
}

struct Life {
    seed: u64,
    plan: Plan,
    config: Config,
    /// The vendor's time, which is the true one.
    truth: Clock,
    local: Clock,
    dice: Clock,
    road: Arc<Road>,
    disk: Disk,
    process: Option<Process>,
    /// What was received since then was dated by a right clock.
    right_since: Timestamp,
    /// When the person who was called will have helped.
    called: Option<Timestamp>,
    tally: Tally,
}

/// Lives through three years. The error tells what was wrong, when, and by which seed.
pub(super) async fn live(seed: u64, plan: &dyn Fn(&Clock) -> Plan) -> Result<Tally, String> {
    let mut life = Life::new(seed, plan);
    let lived = life.live().await.and_then(|()| life.judge());
    let told = lived.map_err(|wrong| format!("{life:?}: {wrong}"));
    if let Some(process) = life.process.take() {
        process.kill();
    }
    drop(life.plan.folder.take());
    told.map(|()| life.tally)
}

impl Life {
    fn new(seed: u64, plan: &dyn Fn(&Clock) -> Plan) -> Self {
        let begin: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        let clock = |place: u64| Clock::simulated(begin, seed * 10 + place);
        let (truth, local, dice) = (clock(1), clock(2), clock(3));
        let plan = plan(&truth);
        let loaded = load_text("years.toml", &plan.configuration, &Environment::default());
        let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
        let road = Road::new(&truth, Arc::clone(&plan.vendor), plan.never);
        let disk = Disk::new(&clock(4), plan.planted == Some(Planted::Forgets));
        let process = Some(Process::start(&local, &road, &disk, &config, plan.planted));
        Self {
            seed,
            plan,
            config,
            truth,
            local,
            dice,
            road,
            disk,
            process,
            right_since: begin,
            called: None,
            tally: Tally::default(),
        }
    }

    async fn live(&mut self) -> Result<(), String> {
        let end = self.truth.wall() + YEARS * DAY;
        while self.truth.wall() < end {
            self.recover().await?;
            self.quiet_time().await?;
            self.something_happens().await?;
        }
        self.recover().await
    }

    /// Some days in which nothing goes wrong: no request is without a token.
    async fn quiet_time(&mut self) -> Result<(), String> {
        let end = self.truth.wall() + self.up_to(8 * DAY);
        while self.truth.wall() < end {
            let without = self.tally.without_token;
            self.look().await?;
            if self.tally.without_token > without {
                return Err("a request found no token in quiet times".to_owned());
            }
            tokio::time::sleep(self.up_to(3 * HOUR)).await;
        }
        Ok(())
    }

    /// All is well soon; where a person is needed, soon after they have come.
    async fn recover(&mut self) -> Result<(), String> {
        self.road.log().weather = Weather::Fair;
        self.set_the_clock_right();
        self.wait(self.plan.recovery).await?;
        let helped = self.tally.helped;
        while let Some(at) = self.called {
            if self.tally.helped > helped + MOST_HELPS {
                return Err("a person helped, and it did not help".to_owned());
            }
            let left = Duration::try_from(at.duration_since(self.truth.wall())).unwrap_or_default();
            self.wait(left).await?;
            self.wait(self.plan.recovery).await?;
        }
        let now = self.local.now();
        let Some(process) = &self.process else { return Ok(()) };
        if !process.is_well() {
            return Err("it was not well again in time".to_owned());
        }
        self.plan.keeps.as_mut().map_or(Ok(()), |keeps| keeps(&process.keeper, now))
    }

    async fn something_happens(&mut self) -> Result<(), String> {
        let longest = self.plan.longest_trouble;
        let (weather, most) = match self.pick(8) {
            0 => (Weather::Down, longest),
            1 => (Weather::Busy, longest / 5),
            2 => (Weather::Deaf, longest / 10),
            3 | 4 => (Weather::Stormy, longest / 5),
            5 => return self.crash_loop().await,
            _ => (Weather::Fair, HOUR),
        };
        self.road.log().weather = weather;
        let length = self.up_to(most);
        if weather != Weather::Fair {
            self.tally.bad_days += length.as_secs_f64() / 86_400.0;
        }
        let end = self.truth.wall() + length;
        while self.truth.wall() < end {
            match self.pick(6) {
                0 | 4 => {
                    let down = if self.one_in(2) { self.up_to(DAY) } else { Duration::ZERO };
                    self.restart(down).await;
                }
                1 if self.one_in(4) => self.step_the_clock(),
                2 => self.sleep_for(self.up_to(2 * DAY)),
                3 if self.one_in(10) => {
                    if let Some(others) = &self.plan.others {
                        self.tally.by_others += 1;
                        others();
                    }
                }
                _ => {}
            }
            self.wait(self.up_to(6 * HOUR)).await?;
        }
        Ok(())
    }

    /// Something kills the process again and again, and its supervisor starts it, while no answer arrives.
    async fn crash_loop(&mut self) -> Result<(), String> {
        self.road.log().weather = Weather::Deaf;
        // So long that tokens may end before.
        self.wait(self.up_to(self.plan.longest_trouble / 5)).await?;
        self.tally.bad_days += 1.0;
        for _ in 0..30 {
            let pause = self.up_to(Duration::from_secs(30));
            self.restart(pause).await;
            self.wait(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    /// The process dies, and another one starts. What it takes up was judged by the wall clock when it was
    /// received: a record from a time when that was very wrong is believed, so that this does not happen then.
    async fn restart(&mut self, down: Duration) {
        let Some(process) = &self.process else { return };
        let matters = self.plan.clock_error > Duration::from_secs(10);
        let kept = process.statuses().into_iter().filter(|status| status.flow != "static");
        let oldest = kept.filter_map(|status| status.obtained_at).min();
        let is_wrong = self.error() != SignedDuration::ZERO;
        if matters && (is_wrong || oldest.is_some_and(|oldest| oldest < self.right_since)) {
            return;
        }
        self.tally.restarts += 1;
        if self.process.take().is_some_and(Process::kill) {
            self.tally.torn += 1;
        }
        tokio::time::sleep(down).await;
        let started = Process::start(&self.local, &self.road, &self.disk, &self.config, self.plan.planted);
        self.process = Some(started);
    }

    /// The wall clock is wrong for a while, or right again.
    fn step_the_clock(&mut self) {
        self.tally.steps += 1;
        if self.error() == SignedDuration::ZERO {
            let most = self.plan.clock_error.as_secs_f64();
            self.local.step_wall(SignedDuration::from_secs_f64((self.dice.fraction() - 0.5) * 2.0 * most));
        } else {
            self.set_the_clock_right();
        }
    }

    /// How wrong the wall clock is.
    fn error(&self) -> SignedDuration {
        self.local.wall().duration_since(self.truth.wall())
    }

    fn set_the_clock_right(&mut self) {
        if self.error() != SignedDuration::ZERO {
            self.local.step_wall(-self.error());
            // What was received before may be dated by so much too late.
            self.right_since = self.truth.wall() + self.plan.clock_error;
        }
    }

    /// The machine sleeps, and the world goes on.
    fn sleep_for(&self, length: Duration) {
        self.truth.suspend(length);
        self.local.suspend(length);
    }

    /// Lets time pass, with requests on the way.
    async fn wait(&mut self, length: Duration) -> Result<(), String> {
        for _ in 0..10 {
            tokio::time::sleep(length / 10).await;
            self.look().await?;
        }
        Ok(())
    }

    /// The app asks for all that it asks for, and whoever is called comes: each request carries a token that the
    /// vendor takes, or none.
    async fn look(&mut self) -> Result<(), String> {
        if let Some(wrong) = &self.road.log().wrong {
            return Err(format!("the vendor had to complain: {wrong}"));
        }
        let Some(process) = &self.process else { return Ok(()) };
        for (route, method, path) in self.plan.calls {
            self.tally.requests += 1;
            let Some(request) = process.request(route, method, path, &self.local) else {
                self.tally.without_token += 1;
                continue;
            };
            let answer = self.plan.vendor.answer(&request);
            if let Some(complaint) = answer.complaint() {
                return Err(format!("a request carried a dead token on `{route}`: {complaint}"));
            }
        }
        self.look_after_calls_for_help().await
    }

    async fn look_after_calls_for_help(&mut self) -> Result<(), String> {
        let (Some(process), now) = (&self.process, self.truth.wall()) else { return Ok(()) };
        let ends_by_itself =
            |name: &str| process.keeper.spec(&name.into()).is_none_or(|it| !it.is_renewable());
        let needs = |trouble: &Trouble| {
            // An issuer that is down for longer than a token lives is nothing that this person could mend.
            let is_theirs = trouble.event != Event::Expired || ends_by_itself(&trouble.name);
            is_theirs && !trouble.may_mend && trouble.is_near(NOTICE, self.local.wall())
        };
        let Some(trouble) = of_credentials(&process.keeper, self.local.wall()).into_iter().find(needs) else {
            return Ok(());
        };
        let Some(person) = &self.plan.person else {
            return Err(format!("a person was called, and there is none: {trouble:?}"));
        };
        let Some(at) = self.called else {
            let left = trouble.ends_at.map(|end| end.duration_since(now));
            let soonest = SignedDuration::try_from(NOTICE.saturating_sub(LATENESS)).unwrap_or_default();
            if trouble.event == Event::Deadline && left.is_none_or(|left| left < soonest) {
                return Err(format!("a person was not called in time: {trouble:?}"));
            }
            self.called = Some(now + self.up_to(person.answers_within));
            return Ok(());
        };
        if now < at {
            return Ok(());
        }
        self.called = None;
        self.tally.helped += 1;
        let keeper = &process.keeper;
        match &person.remedy {
            Remedy::Set(name, make) => {
                let (token, until) = make();
                let set = keeper.set_token(&(*name).into(), token, Some(until)).await;
                set.map_err(|error| format!("a token cannot be set: {error:?}"))
            }
            Remedy::Write(path, make) => {
                std::fs::write(path, make()).map_err(|error| error.to_string())?;
                keeper.input_changed(vec![path.clone()]);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(())
            }
            Remedy::LogIn(name, make) => {
                let adopted = keeper.adopt(&(*name).into(), make(), self.local.now()).await;
                adopted.map_err(|error| format!("a login cannot be taken up: {error:?}"))
            }
        }
    }

    /// Whether so much happened as should, and so little as may.
    fn judge(&mut self) -> Result<(), String> {
        let log = self.road.log();
        (self.tally.exchanges, self.tally.lost) = (log.calls, log.lost);
        drop(log);
        let (tally, most) = (&self.tally, self.plan.calls_at_most);
        let interruptions = f64::from(tally.restarts + tally.helped);
        let most = most.day * f64::from(YEARS) + most.bad_day * tally.bad_days + most.restart * interruptions;
        if f64::from(tally.exchanges) > most {
            return Err(format!("{} exchanges, and {most:.0} are enough", tally.exchanges));
        }
        if tally.restarts < 20 || tally.steps < 2 || tally.requests < 1000 {
            return Err("that was no life".to_owned());
        }
        self.plan.in_the_end.as_ref().map_or(Ok(()), |judge| judge(tally))
    }

    /// A random time up to so long.
    fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.dice.fraction())
    }

    fn one_in(&self, count: u8) -> bool {
        self.pick(count) == 0
    }

    /// A random number below this one.
    fn pick(&self, count: u8) -> u8 {
        let mut byte = [0];
        self.dice.fill_random(&mut byte);
        byte[0] % count
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = self.process.as_ref().map(Process::statuses).unwrap_or_default();
        let states: Vec<String> = statuses
            .iter()
            .map(|status| {
                let error = status.last_error.as_ref().map(|error| error.message.as_str());
                format!("{} {:?} {}", status.owner, status.state, error.unwrap_or_default())
            })
            .collect();
        formatter.write_str(&self.road.tale())?;
        write!(formatter, "seed {}, {}, {states:?}, {:?}", self.seed, self.truth.wall(), self.tally)
    }
}
