//! The task itself: what wakes it, and when an exchange starts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::clock::{Clock, Moment};
use crate::credential::flow::Mint;
use crate::credential::keeper::entry::{Cause, Entry, Next, Phase, Set, Trouble};
use crate::credential::keeper::exchange::{Exchange, Report};
use crate::credential::keeper::lanes::{Issuer, Lanes};
use crate::credential::keeper::timers::Timers;
use crate::credential::keeper::{Command, Directory, Options, Outcome};
use crate::credential::schedule::LEAST_INTERVAL;
use crate::credential::shared::{Poke, Shared};
use crate::credential::store::Store;
use crate::credential::{CredentialName, ErrorClass};

/// The runtime's timers stand still while the machine sleeps, and nobody tells when the wall clock is
/// stepped: so the clocks are looked at this often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A difference between the clocks that counts as a step; less is drift.
const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(1);

/// How long a refused request is let wait for a renewal that may not start yet.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// All that the keeper knows. One event at a time changes it; each costs no more than the logarithm of
/// the number of credentials, but for a reload and a clock that was stepped.
pub(super) struct Task {
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) mint: Arc<dyn Mint>,
    pub(super) options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    pub(super) entries: HashMap<CredentialName, Entry>,
    /// By parent: the credentials that use its outputs.
    pub(super) children: HashMap<CredentialName, Vec<CredentialName>>,
    /// By file: the credentials that read it.
    readers: HashMap<PathBuf, Vec<CredentialName>>,
    timers: Timers,
    lanes: Lanes,
    exchanges: JoinSet<Report>,
    /// At most one exchange per name runs, also while an older entry of that name is still at it.
    running: HashMap<CredentialName, Running>,
    /// By the runtime's task: whose exchange it is.
    names: HashMap<tokio::task::Id, CredentialName>,
    /// Wall clock less time since boot, when last compared.
    offset: SignedDuration,
    last_id: u64,
    /// Set once the process is ending: who waits for the end.
    ending: Option<Vec<oneshot::Sender<()>>>,
}

struct Running {
    id: u64,
    issuer: Issuer,
    abort: AbortHandle,
    /// To break it off could lose what nobody gives twice.
    precious: bool,
}

impl Task {
    pub(super) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        mint: Arc<dyn Mint>,
        options: Options,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            offset: offset(clock.now()),
            clock,
            store,
            mint,
            lanes: Lanes::new(options.issuer_concurrency),
            options,
            commands,
            entries: HashMap::new(),
            children: HashMap::new(),
            readers: HashMap::new(),
            timers: Timers::default(),
            exchanges: JoinSet::new(),
            running: HashMap::new(),
            names: HashMap::new(),
            last_id: 0,
            ending: None,
        }
    }

    /// Runs until the last handle is gone or the keeper was shut down.
    pub(super) async fn run(mut self, mut pokes: mpsc::UnboundedReceiver<Poke>) {
        while self.ending.is_none() || !self.exchanges.is_empty() {
            let now = self.clock.boot();
            let sleep = self.timers.next().map_or(LONGEST_SLEEP, |at| at.saturating_sub(now));
            tokio::select! {
                // A reload comes before the pokes of the readers that it made.
                biased;
                command = self.commands.recv(), if self.ending.is_none() => match command {
                    Some(command) => self.obey(command),
                    None => self.wind_up(),
                },
                Some(poke) = pokes.recv() => self.heed(poke),
                Some(joined) = self.exchanges.join_next_with_id() => self.end(joined),
                () = tokio::time::sleep(sleep.min(LONGEST_SLEEP)) => {}
            }
            self.compare_clocks();
            self.fire();
        }
        for answer in self.ending.take().into_iter().flatten() {
            // Whoever asked may have given up waiting.
            let _ = answer.send(());
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Reconcile(directory) => self.reconcile(&directory),
            Command::Refresh { shared, force, answer } => self.refresh(&shared, force, answer),
            Command::Set { shared, token, answer } => {
                if let Some(entry) = entry_of(&mut self.entries, &shared) {
                    entry.set = Some(Set { token, answer });
                    self.consider(shared.name());
                }
            }
            Command::InputChanged(paths) => {
                for path in paths {
                    for name in self.readers.get(&path).cloned().unwrap_or_default() {
                        self.look(&name);
                    }
                }
            }
            Command::Shutdown(answer) => {
                self.wind_up();
                self.ending.get_or_insert_default().push(answer);
            }
        }
    }

    /// Starts nothing more, and breaks off what loses nothing by it.
    fn wind_up(&mut self) {
        self.ending.get_or_insert_default();
        self.running.values().filter(|running| !running.precious).for_each(|it| it.abort.abort());
    }

    fn reconcile(&mut self, directory: &Directory) {
        let kept = |name: &CredentialName, entry: &Entry| {
            directory.get(name).is_some_and(|kept| Arc::ptr_eq(&kept.shared, &entry.shared))
        };
        let Self { entries, running, .. } = self;
        entries.retain(|name, entry| {
            let kept = kept(name, entry);
            if !kept {
                entry.shared.retire();
                if let Some(running) = running.get(name).filter(|running| !running.precious) {
                    running.abort.abort();
                }
            }
            entry.trouble.take_if(|trouble| trouble.cause == Cause::Reader);
            kept
        });
        self.children.clear();
        self.readers.clear();
        for (name, kept) in directory {
            for (parent, _) in kept.spec.parents() {
                let children = self.children.entry(parent.clone()).or_default();
                if children.last() != Some(name) {
                    children.push(name.clone());
                }
            }
            for path in kept.spec.files() {
                self.readers.entry(path.clone()).or_default().push(name.clone());
            }
            if !self.entries.contains_key(name) {
                self.last_id += 1;
                self.entries.insert(name.clone(), Entry::new(self.last_id, kept));
            }
        }
        for name in directory.keys() {
            self.consider(name);
        }
    }

    fn refresh(&mut self, shared: &Arc<Shared>, force: bool, answer: oneshot::Sender<Outcome>) {
        let now = self.clock.boot();
        let Some(entry) = entry_of(&mut self.entries, shared) else { return };
        if entry.earliest() > now + LEAST_INTERVAL {
            // `max_renewals` holds for operators too: the issuer counts them all.
            let _ = answer.send(Outcome::Transient);
        } else {
            entry.waiters.push(answer);
        }
        if entry.phase != Phase::Renewing {
            entry.force |= force;
            entry.parents_renewed = false;
            entry.next = Next::Now;
        }
        self.consider(shared.name());
    }

    /// An input may have changed.
    fn look(&mut self, name: &CredentialName) {
        let now = self.clock.boot();
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.look = Some(now);
        if matches!(entry.next, Next::Retry(_)) && entry.is_in_trouble(Cause::Local) {
            entry.next = Next::Now;
        }
        self.consider(name);
    }

    fn heed(&mut self, poke: Poke) {
        let now = self.clock.now();
        match poke {
            Poke::Expired { shared } => {
                shared.expiry_seen();
                self.compare_clocks();
                if entry_of(&mut self.entries, &shared).is_some() {
                    self.consider(shared.name());
                }
            }
            Poke::Unusable { shared, message } => {
                let Some(entry) = entry_of(&mut self.entries, &shared) else { return };
                tracing::warn!(credential = %shared.name(), reason = message, "a route cannot use the token");
                let message = format!("a route cannot use the token: {message}");
                entry.trouble = Some(Trouble::new(Cause::Reader, ErrorClass::Transient, message, now));
                if entry.spec.is_renewable() && !matches!(entry.next, Next::Retry(_)) {
                    entry.next = Next::Now;
                }
                self.consider(shared.name());
            }
            Poke::Refused { shared, generation } => self.refused(&shared, generation, now),
        }
    }

    fn refused(&mut self, shared: &Arc<Shared>, generation: u64, now: Moment) {
        let Some(entry) = entry_of(&mut self.entries, shared) else {
            shared.retire();
            return;
        };
        tracing::warn!(credential = %shared.name(), generation, "an upstream refused the token");
        if !entry.spec.is_renewable() {
            let message = format!(
                "an upstream refused the token (generation {generation}); it cannot renew itself: replace it at its \
                 source, or by `bearerd set {}`",
                shared.name()
            );
            entry.trouble = Some(Trouble::new(Cause::Far, ErrorClass::Refused, message, now));
            self.show(shared.name());
            return;
        }
        let is_current = entry.generation() == generation;
        let may_start = entry.stop.is_none()
            && entry.blocked_by.is_none()
            && !matches!(entry.next, Next::Retry(_))
            && entry.earliest() <= now.boot + REFUSAL_PATIENCE;
        let joins = matches!(entry.phase, Phase::Renewing | Phase::Queued);
        if is_current && (joins || may_start) {
            if !joins {
                entry.next = Next::Now;
                self.consider(shared.name());
            }
        } else {
            shared.clear_suspicion();
        }
    }

    /// After a step of the wall clock, timers that follow it are set anew.
    fn compare_clocks(&mut self) {
        let offset = offset(self.clock.now());
        let step = offset - self.offset;
        if step.abs() <= CLOCK_STEP {
            return;
        }
        tracing::warn!(
            seconds = step.as_secs_f64(),
            "the wall clock was stepped: all ends are looked at anew"
        );
        self.offset = offset;
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in names {
            self.consider(&name);
        }
    }

    /// Looks at every entry whose timer has fired.
    fn fire(&mut self) {
        while let Some((at, id, name)) = self.timers.pop_due(self.clock.boot()) {
            if let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.id == id)
                && entry.timer.take_if(|timer| *timer == at).is_some()
            {
                self.consider(&name);
            }
        }
        let entries = &self.entries;
        self.timers.compact(entries.len(), |(at, id, name)| {
            entries.get(name).is_some_and(|entry| entry.id == *id && entry.timer == Some(*at))
        });
    }

    /// Starts what is due of an entry, sets its timer and shows its state.
    pub(super) fn consider(&mut self, name: &CredentialName) {
        let now = self.clock.now();
        let ending = self.ending.is_some();
        let Some(entry) = self.entries.get(name) else { return };
        if entry.phase == Phase::Idle && !ending && !self.running.contains_key(name) {
            let is_due = entry.due(now).is_some_and(|due| due <= now.boot);
            let looks = entry.look_due().is_some_and(|due| due <= now.boot);
            // A token that was set needs no parent.
            let needs_parents = (is_due || looks) && entry.set.is_none();
            let blocked_by = if needs_parents { self.missing_parent(entry, now) } else { None };
            let starts = (is_due || looks) && blocked_by.is_none();
            if let Some(entry) = self.entries.get_mut(name) {
                entry.blocked_by = blocked_by.filter(|_| is_due);
            }
            if starts {
                self.queue(name, is_due, now);
            }
        }
        self.show(name);
        self.set_timer(name, now);
    }

    /// Takes a place in the issuer's lane, or waits for one.
    fn queue(&mut self, name: &CredentialName, is_due: bool, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let end = entry.current.as_ref().filter(|_| is_due).map_or(Duration::ZERO, |current| {
            current.expiry.usable_for(now).map_or(Duration::MAX, |left| now.boot + left)
        });
        if self.lanes.enter(&entry.issuer, (end, entry.id, name.clone())) {
            self.start(name, now);
        } else {
            entry.phase = Phase::Queued;
        }
    }

    /// Spawns an exchange; its place in the lane is taken.
    fn start(&mut self, name: &CredentialName, now: Moment) {
        let Some(entry) = self.entries.get(name) else { return };
        let parents = self.parent_values(&entry.spec, now);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let is_due = entry.due(now).is_some_and(|due| due <= now.boot);
        let set = entry.set.take().map(|set| {
            entry.setting = Some(set.answer);
            set.token
        });
        entry.phase = if is_due { Phase::Renewing } else { Phase::Looking };
        entry.look = None;
        entry.parent_values.clone_from(&parents);
        let exchange = Exchange {
            clock: self.clock.clone(),
            store: Arc::clone(&self.store),
            mint: Arc::clone(&self.mint),
            spec: Arc::clone(&entry.spec),
            shared: Arc::clone(&entry.shared),
            parents,
            unless: entry.inputs.filter(|_| !is_due),
            force: std::mem::take(&mut entry.force),
            set,
            unsaved: entry.unsaved.take(),
        };
        let running = Running {
            id: entry.id,
            issuer: entry.issuer.clone(),
            precious: entry.spec.flow.is_single_use() || exchange.unsaved.is_some() || exchange.set.is_some(),
            abort: self.exchanges.spawn(exchange.run()),
        };
        self.names.insert(running.abort.id(), name.clone());
        self.running.insert(name.clone(), running);
    }

    /// An exchange has ended: its place goes to the next, and its report to its entry.
    fn end(&mut self, joined: Result<(tokio::task::Id, Report), JoinError>) {
        let (task, report) = match joined {
            Ok((task, report)) => (task, Some(report)),
            Err(error) => (error.id(), None),
        };
        let Some(name) = self.names.remove(&task) else { return };
        let Some(running) = self.running.remove(&name) else { return };
        let now = self.clock.now();
        while let Some((_, id, next)) = self.lanes.leave(&running.issuer) {
            let entry =
                self.entries.get_mut(&next).filter(|entry| entry.id == id && entry.phase == Phase::Queued);
            let Some(entry) = entry else { continue };
            entry.phase = Phase::Idle;
            let entry = &self.entries[&next];
            if self.ending.is_none() && self.missing_parent(entry, now).is_none() {
                self.start(&next, now);
                self.show(&next);
                break;
            }
            self.consider(&next);
        }
        if self.entries.get(&name).is_some_and(|entry| entry.id == running.id) {
            self.take(&name, report, now);
        }
        self.consider(&name);
    }

    fn set_timer(&mut self, name: &CredentialName, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let at = entry.wake_at(now);
        if entry.timer != at {
            entry.timer = at;
            if let Some(at) = at {
                self.timers.push((at, entry.id, name.clone()));
            }
        }
    }
}

/// The entry that these readers belong to, if it is still kept.
fn entry_of<'a>(
    entries: &'a mut HashMap<CredentialName, Entry>,
    shared: &Arc<Shared>,
) -> Option<&'a mut Entry> {
    entries.get_mut(shared.name()).filter(|entry| Arc::ptr_eq(&entry.shared, shared))
}

fn offset(now: Moment) -> SignedDuration {
    let boot = SignedDuration::try_from(now.boot).unwrap_or(SignedDuration::MAX);
    now.wall.as_duration() - boot
}
