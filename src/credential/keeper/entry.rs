//! What the keeper's task knows of one credential.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::backoff::Backoff;
use crate::clock::Moment;
use crate::credential::deadline::NOTICE;
use crate::credential::keeper::in_play::Generation;
use crate::credential::keeper::lanes::Issuer;
use crate::credential::keeper::{Kept, Outcome, SetError, SleepRules};
use crate::credential::schedule::Pace;
use crate::credential::shared::{Published, Shared};
use crate::credential::store::{Fingerprint, Record};
use crate::credential::{CredentialName, CredentialSpec, ErrorClass, LastError, Minted, State, Status};
use crate::secret::Secret;

/// Outputs of other credentials, by credential and output.
pub(super) type ParentValues = BTreeMap<(CredentialName, String), Secret>;

/// A person is told once so long.
const DAY: Duration = Duration::from_secs(86_400);

/// What a person orders. It counts at once, whatever the schedule says.
pub(super) enum Order {
    /// A static token is replaced by this one, which ends then, if that is said.
    Set(Secret, Option<Timestamp>),
    /// A person consented, and this came of it, then.
    Adopt(Box<Minted>, Moment),
    /// The token and all that could renew it are to be forgotten.
    Forget,
}

/// Where the answer to an order goes.
pub(super) type OrderAnswer = oneshot::Sender<Result<(), SetError>>;

/// One owner of the task.
pub(super) struct Entry {
    /// Never used twice: timers and answers for an earlier entry of this owner find another number.
    pub(super) id: u64,
    pub(super) spec: Arc<CredentialSpec>,
    pub(super) shared: Arc<Shared>,
    pub(super) current: Option<Arc<Published>>,
    pub(super) phase: Phase,
    pub(super) next: Next,
    /// When to look whether an input has changed, in time since boot.
    pub(super) look: Option<Duration>,
    /// Set while nothing is to be tried again by itself.
    pub(super) stop: Option<Box<Stop>>,
    pub(super) trouble: Option<Box<Trouble>>,
    pub(super) backoff: Backoff,
    pub(super) pace: Pace,
    /// The inputs of the last exchange, for the question whether they have changed.
    pub(super) inputs: Option<Fingerprint>,
    /// What of them were outputs of other credentials.
    pub(super) parent_values: Option<Box<ParentValues>>,
    /// The first parent without a usable token, if an exchange is due and cannot start for want of it.
    pub(super) blocked_by: Option<CredentialName>,
    /// Parents that are renewed because the issuer rejected what they gave; then it is tried again.
    pub(super) awaited: BTreeSet<CredentialName>,
    /// Parents were renewed after a rejection, and no exchange has succeeded since.
    pub(super) parents_renewed: bool,
    /// When its value is to be replaced, by whichever clock gets there first.
    pub(super) rotate_at: Option<Box<Moment>>,
    /// It waits for parents that are renewed before its value is replaced.
    pub(super) freshens: bool,
    /// They were, and the value has not been replaced yet.
    pub(super) freshened: bool,
    /// What its value opens was closed to it.
    pub(super) doubted: bool,
    /// What the store has still to be given.
    pub(super) unsaved: Option<Box<Record>>,
    /// The store may hold a token that is still valid: it is looked for before the issuer is asked.
    pub(super) recalls: bool,
    /// `max_renewals` holds it back, and that was counted.
    pub(super) counts_as_held_back: bool,
    /// It renews because its refresh token would end by itself.
    pub(super) lapses: bool,
    /// It renews because an upstream refused its token.
    pub(super) refused: bool,
    /// Its token was obtained for that reason.
    pub(super) replaces_refused: bool,
    /// The lane of its issuer in which it waits for a place.
    pub(super) lane: Issuer,
    /// When a subject was last known to be held, beside what requests tell, in time since boot.
    pub(super) held: Duration,
    /// The next exchange is forced by an operator.
    pub(super) force: bool,
    /// What was ordered, one after the other, and who waits for it: each is carried out by an exchange of its own.
    pub(super) orders: Few<(Order, OrderAnswer)>,
    /// Who waits for what the running exchange carries out.
    pub(super) ordered: Option<OrderAnswer>,
    /// The values of the current generation, and of those before it that may still be used.
    pub(super) in_play: Vec<Generation>,
    /// The values of its record that came before the current one and are to come after it.
    pub(super) beside: Box<[Secret]>,
    /// Operators who wait for the outcome.
    pub(super) waiters: Few<oneshot::Sender<Outcome>>,
    /// When its timer in the queue fires, in time since boot.
    pub(super) timer: Option<Duration>,
}

/// What waits in its order. Nearly always nothing does, and that takes no room beside a pointer.
#[expect(clippy::box_collection, reason = "an empty list has three words more than a pointer")]
pub(super) struct Few<T>(Option<Box<VecDeque<T>>>);

impl<T> Few<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn push(&mut self, last: T) {
        self.0.get_or_insert_default().push_back(last);
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.0.as_mut()?.pop_front();
        self.0.take_if(|left| left.is_empty());
        first
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.0.take().into_iter().flat_map(|all| *all)
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Where an entry is with its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// Waits for a place in the lane of its issuer.
    Queued,
    /// Reads its inputs to see whether they have changed; asks the issuer only if they have.
    Looking,
    /// Obtains a new token.
    Renewing,
}

/// What is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, before something happens.
    Nothing,
    /// An exchange, as soon as it may start.
    Now,
    /// An exchange after a failure, by the time since boot.
    Retry(Moment),
    /// The renewal of a good token, by whichever clock gets there first.
    Renewal(Moment),
}

/// Why nothing is tried again by itself, and with which inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) state: State,
    pub(super) inputs: Option<Fingerprint>,
}

/// What went wrong last.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) error: LastError,
    pub(super) cause: Cause,
}

/// Where a trouble comes from, which says when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The issuer, an upstream, or time: over with the next token.
    Far,
    /// Inputs could not be read or the store not be written: over once that works again.
    Local,
    /// A route cannot use the token: over with the next token or the next configuration.
    Reader,
}

impl Stop {
    /// Nothing is tried before an input differs from these.
    pub(super) fn new(state: State, inputs: Option<Fingerprint>) -> Self {
        Self { state, inputs }
    }
}

impl Trouble {
    pub(super) fn new(cause: Cause, class: ErrorClass, message: String, now: Moment) -> Self {
        Self { error: LastError { class, message, at: now.wall }, cause }
    }
}

impl Entry {
    pub(super) fn new(id: u64, kept: &Kept, held: Duration) -> Self {
        let only_subjects = kept.spec.only_subjects && kept.shared.owner().subject.is_none();
        let next = if only_subjects { Next::Nothing } else { Next::Now };
        Self {
            id,
            spec: Arc::clone(&kept.spec),
            shared: Arc::clone(&kept.shared),
            current: None,
            phase: Phase::Idle,
            next,
            look: None,
            stop: None,
            trouble: None,
            backoff: Backoff::default(),
            pace: Pace::default(),
            inputs: None,
            parent_values: None,
            blocked_by: None,
            awaited: BTreeSet::new(),
            parents_renewed: false,
            rotate_at: None,
            freshens: false,
            freshened: false,
            doubted: false,
            unsaved: None,
            recalls: false,
            counts_as_held_back: false,
            lapses: false,
            refused: false,
            replaces_refused: false,
            lane: None,
            held,
            force: false,
            orders: Few::default(),
            ordered: None,
            in_play: Vec::new(),
            beside: Box::default(),
            waiters: Few::default(),
            timer: None,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.generation)
    }

    pub(super) fn is_usable(&self, now: Moment) -> bool {
        self.current.as_ref().is_some_and(|current| current.expiry.is_usable(now))
    }

    /// The tokens of this credential are its subjects'.
    pub(super) fn serves_only_subjects(&self) -> bool {
        self.spec.only_subjects && self.shared.owner().subject.is_none()
    }

    pub(super) fn is_in_trouble(&self, cause: Cause) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.cause == cause)
    }

    /// When the planned exchange may start, in time since boot.
    pub(super) fn due(&self, now: Moment) -> Option<Duration> {
        let earliest = self.earliest();
        match self.next {
            // What a person orders, or a file says of a static token, counts at once: nobody is asked.
            _ if !self.orders.is_empty() => Some(now.boot),
            Next::Now if self.spec.flow.is_static() => Some(now.boot),
            Next::Nothing => None,
            Next::Now => Some(now.boot.max(earliest)),
            Next::Retry(at) => Some(at.boot.max(earliest)),
            Next::Renewal(at) => Some((now.boot + at.left(now)).max(earliest)),
        }
    }

    /// An exchange runs, or stands in line.
    pub(super) fn is_renewing(&self) -> bool {
        matches!(self.phase, Phase::Renewing | Phase::Queued)
    }

    /// Plans an exchange as soon as one may start, unless one runs or a failure has its pause. One that stands in line
    /// may do so only to look at its inputs.
    pub(super) fn hasten(&mut self) {
        if self.phase != Phase::Renewing && !matches!(self.next, Next::Retry(_)) {
            self.next = Next::Now;
        }
    }

    /// Whether a renewal runs, or may start so soon that a refused request can wait for it.
    pub(super) fn may_renew_at_once(&self, now: Moment, patience: Duration) -> bool {
        let may_start = self.stop.is_none()
            && self.blocked_by.is_none()
            && !matches!(self.next, Next::Retry(_))
            && self.earliest() <= now.boot + patience;
        self.is_renewing() || may_start
    }

    /// When inputs are to be looked at, in time since boot.
    pub(super) fn look_due(&self) -> Option<Duration> {
        self.look.map(|at| if self.spec.flow.is_static() { at } else { at.max(self.earliest()) })
    }

    /// No exchange starts before this time since boot.
    pub(super) fn earliest(&self) -> Duration {
        self.pace.earliest(self.spec.times.max_renewals)
    }

    /// Up to when `max_renewals` holds back what is planned before, in time since boot.
    pub(super) fn held_back(&self, now: Moment) -> Option<Duration> {
        let wanted = match self.next {
            Next::Nothing => return None,
            Next::Now => now.boot,
            Next::Retry(at) => at.boot,
            Next::Renewal(at) => now.boot + at.left(now),
        };
        let until = self.pace.by_rate(self.spec.times.max_renewals)?;
        (until > now.boot && until > wanted).then_some(until)
    }

    /// When the task has to look at this entry again, in time since boot: its plan, or the end of its
    /// token, or the time to sleep.
    pub(super) fn wake_at(&self, now: Moment, rules: &SleepRules) -> Option<Duration> {
        let end = self.current.as_ref().and_then(|current| current.expiry.usable_for(now));
        let end = end.filter(|left| !left.is_zero()).map(|left| now.boot + left);
        let end = end.into_iter().chain(self.next_notice(now));
        let plans = match self.phase {
            Phase::Idle if self.blocked_by.is_none() => [self.due(now), self.look_due()],
            _ => [None, None],
        };
        let plans = plans.into_iter().chain([self.sleeps_at(rules)]);
        plans.flatten().filter(|at| *at > now.boot).chain(end).min()
    }

    /// The state, as everybody sees it.
    pub(super) fn state(&self, now: Moment) -> State {
        let renewing = self.is_renewing();
        let failing = self.trouble.as_ref().is_some_and(|trouble| trouble.error.class != ErrorClass::Refused);
        match (&self.stop, &self.current) {
            _ if self.is_usable(now) && failing => State::Failing,
            _ if self.is_usable(now) && renewing => State::Renewing,
            _ if self.is_usable(now) || self.serves_only_subjects() => State::Ready,
            (Some(stop), _) if !renewing => stop.state,
            (_, Some(_)) => State::Expired,
            (_, None) => State::Pending,
        }
    }

    /// When there is something else to be told, in time since boot.
    fn next_notice(&self, now: Moment) -> Option<Duration> {
        if let Some((_, stays)) = self.notice(now) {
            return Some(now.boot + stays);
        }
        let end = self.current.as_ref()?.expiry.end.filter(|_| !self.spec.is_renewable())?;
        let first = end.left(now).checked_sub(NOTICE).filter(|left| !left.is_zero())?;
        Some(now.boot + first)
    }

    /// What came with the token, and that it ends soon.
    fn warnings(&self, now: Moment) -> Vec<String> {
        let minted = self.current.iter().flat_map(|current| current.warnings.iter().cloned());
        let further = [self.notice(now).map(|(message, _)| message), self.drought(now)];
        minted.chain(further.into_iter().flatten()).collect()
    }

    /// That there is no token because `max_renewals` holds the next exchange back.
    fn drought(&self, now: Moment) -> Option<String> {
        let until = self.held_back(now).filter(|_| !self.is_usable(now))?;
        let limit = self.spec.times.max_renewals?;
        let next = now.after(until.saturating_sub(now.boot)).wall;
        Some(format!(
            "there is no token: the issuer may be asked {limit} (`max_renewals`), and is asked again at {next:.0}"
        ))
    }

    /// What a person has to be told of a token that nobody renews, and for how long that stays true: from two
    /// weeks before its end on, once a day.
    pub(super) fn notice(&self, now: Moment) -> Option<(String, Duration)> {
        let end = self.current.as_ref()?.expiry.end.filter(|_| !self.spec.is_renewable())?;
        let left = end.left(now);
        let days = left.as_secs().div_ceil(DAY.as_secs());
        let message = match days {
            0 => return None,
            1 => "within a day".to_owned(),
            days => format!("in {days} days"),
        };
        let message = format!(
            "the token ends {message}, at {:.0}, and nobody renews it: replace it at its source, or by `bearerd set {}`",
            end.wall, self.spec.name
        );
        let stays = left.saturating_sub(DAY * u32::try_from(days - 1).unwrap_or(u32::MAX));
        (left <= NOTICE).then_some((message, stays))
    }

    /// The status, as everybody sees it. `parent` is the status of the credential that it waits for.
    pub(super) fn status(&self, now: Moment, parent: Option<&Status>) -> Status {
        let expiry = self.current.as_ref().map(|current| current.expiry);
        let mut status = Status {
            owner: self.shared.owner().clone(),
            flow: self.spec.flow.as_str(),
            state: self.state(now),
            generation: self.generation(),
            obtained_at: expiry.map(|expiry| expiry.obtained.wall),
            expires_at: expiry.and_then(|expiry| expiry.end).map(|end| end.wall),
            renew_at: match (self.held_back(now), self.next) {
                (Some(until), _) => Some(now.after(until.saturating_sub(now.boot)).wall),
                (None, Next::Retry(at) | Next::Renewal(at)) => Some(at.wall),
                (None, Next::Nothing | Next::Now) => None,
            },
            last_error: self.trouble.as_ref().map(|trouble| Box::new(trouble.error.clone())),
            warnings: self.warnings(now).into(),
            running: self.is_renewing() || (self.phase == Phase::Looking && self.stop.is_none()),
            next_try: self.due(now),
            waits_for: None,
            optional: self.spec.optional,
            asleep: false,
        };
        if let Some(parent) = parent {
            status.running = parent.running;
            status.next_try = parent.next_try;
            let waits_for = || Box::new((parent.owner.credential.clone(), parent.state));
            status.waits_for = Some(parent.waits_for.clone().unwrap_or_else(waits_for));
            if matches!(status.state, State::Ready | State::Renewing) {
                let failing = parent.last_error.is_some();
                status.state = if failing { State::Failing } else { State::Renewing };
            }
            if let Some(error) = &parent.last_error {
                let message = format!("it waits for the credential `{}`: {}", parent.owner, error.message);
                status.last_error = Some(Box::new(LastError { message, ..(**error).clone() }));
            }
        }
        status
    }
}
