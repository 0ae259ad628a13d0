//! The task itself: what wakes it, and when an exchange starts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::clock::{Clock, Moment};
use crate::credential::flow::Mint;
use crate::credential::keeper::awake::Awake;
use crate::credential::keeper::entry::{Entry, Phase};
use crate::credential::keeper::exchange::{Early, Exchange, Report};
use crate::credential::keeper::lanes::{Issuer, Lanes};
use crate::credential::keeper::lapses::Found;
use crate::credential::keeper::timers::Timers;
use crate::credential::keeper::{Command, Limited, Options};
use crate::credential::shared::Poke;
use crate::credential::store::Store;
use crate::credential::{CredentialName, Owner};

/// A difference between the clocks that counts as a step; less is drift.
const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(1);

/// All that the keeper knows. One event at a time changes it; each costs no more than the logarithm of
/// the number of credentials, but for a reload and a clock that was stepped.
pub(super) struct Task {
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) mint: Arc<dyn Mint>,
    pub(super) options: Options,
    pub(super) awake: Arc<Awake>,
    limited: Arc<Limited>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Boxed: a map has up to twice the places that it uses.
    pub(super) entries: BTreeMap<Owner, Box<Entry>>,
    /// By parent: the owners that use its outputs.
    pub(super) children: HashMap<CredentialName, BTreeSet<Owner>>,
    /// Each file with each owner that reads it.
    pub(super) readers: BTreeSet<(Arc<Path>, Owner)>,
    timers: Timers,
    lanes: Lanes,
    exchanges: JoinSet<Box<Report>>,
    /// Generations that exchanges have published before they are saved; both ends are held here.
    early: (mpsc::UnboundedSender<Early>, mpsc::UnboundedReceiver<Early>),
    /// Questions to the store for refresh tokens that end soon; one at a time.
    pub(super) looks: JoinSet<Found>,
    /// When the next one is due, in time since boot.
    pub(super) next_look: Duration,
    /// At most one exchange per owner runs, also while an older entry of that owner is still at it.
    pub(super) running: HashMap<Owner, Running>,
    /// By the runtime's task: whose exchange it is.
    owners: HashMap<tokio::task::Id, Owner>,
    /// Wall clock less time since boot, when last compared.
    offset: SignedDuration,
    pub(super) last_id: u64,
    /// How many subjects are awake.
    pub(super) awake_count: usize,
    /// So many may be awake before room is made again.
    pub(super) crowded: usize,
    /// Set once the process is ending: who waits for the end.
    pub(super) ending: Option<Vec<oneshot::Sender<()>>>,
}

/// An exchange that runs.
pub(super) struct Running {
    id: u64,
    lane: Issuer,
    abort: AbortHandle,
    /// To break it off could lose what nobody gives twice.
    precious: bool,
}

impl Running {
    /// Breaks the exchange off, if nothing is lost by it.
    pub(super) fn give_up(&self) {
        if !self.precious {
            self.abort.abort();
        }
    }
}

impl Task {
    pub(super) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        mint: Arc<dyn Mint>,
        options: Options,
        (awake, limited): (Arc<Awake>, Arc<Limited>),
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            offset: offset(clock.now()),
            clock,
            store,
            mint,
            lanes: Lanes::new(options.issuer_concurrency),
            options,
            awake,
            limited,
            commands,
            entries: BTreeMap::new(),
            children: HashMap::new(),
            readers: BTreeSet::new(),
            timers: Timers::default(),
            exchanges: JoinSet::new(),
            early: mpsc::unbounded_channel(),
            looks: JoinSet::new(),
            next_look: Duration::ZERO,
            running: HashMap::new(),
            owners: HashMap::new(),
            last_id: 0,
            awake_count: 0,
            crowded: 0,
            ending: None,
        }
    }

    /// Runs until the last handle is gone or the keeper was shut down.
    pub(super) async fn run(mut self, mut pokes: mpsc::UnboundedReceiver<Poke>) {
        let clock = self.clock.clone();
        while self.ending.is_none() || !self.exchanges.is_empty() {
            let now = self.clock.boot();
            let next = self.timers.next().map_or(self.next_look, |at| at.min(self.next_look));
            let sleep = next.saturating_sub(now);
            tokio::select! {
                // A reload comes before the pokes of the readers that it made.
                biased;
                command = self.commands.recv(), if self.ending.is_none() => match command {
                    Some(command) => self.obey(command),
                    None => self.wind_up(),
                },
                Some(poke) = pokes.recv() => self.heed(poke),
                Some(early) = self.early.1.recv() => self.publish_early(early),
                Some(joined) = self.exchanges.join_next_with_id() => self.end(joined),
                Some(Ok(found)) = self.looks.join_next() => self.found_lapses(found),
                () = clock.wait(sleep) => {}
            }
            self.compare_clocks();
            self.fire();
            self.look_for_lapses();
        }
        for answer in self.ending.take().into_iter().flatten() {
            // Whoever asked may have given up waiting.
            let _ = answer.send(());
        }
    }

    /// Starts nothing more, and breaks off what loses nothing by it.
    pub(super) fn wind_up(&mut self) {
        self.ending.get_or_insert_default();
        self.running.values().for_each(Running::give_up);
    }

    /// After a step of the wall clock, timers that follow it are set anew.
    pub(super) fn compare_clocks(&mut self) {
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
        let owners: Vec<_> = self.entries.keys().cloned().collect();
        for owner in owners {
            self.consider(&owner);
        }
    }

    /// Looks at every entry whose timer has fired.
    fn fire(&mut self) {
        while let Some((at, id, owner)) = self.timers.pop_due(self.clock.boot()) {
            if let Some(entry) = self.entries.get_mut(&owner).filter(|entry| entry.id == id)
                && entry.timer.take_if(|timer| *timer == at).is_some()
            {
                self.consider(&owner);
            }
        }
        let entries = &self.entries;
        self.timers.compact(entries.len(), |(at, id, owner)| {
            entries.get(owner).is_some_and(|entry| entry.id == *id && entry.timer == Some(*at))
        });
    }

    /// Starts what is due of an entry, sets its timer and shows its state.
    pub(super) fn consider(&mut self, owner: &Owner) {
        let now = self.clock.now();
        let ending = self.ending.is_some();
        if self.falls_asleep(owner, now) {
            return;
        }
        let Some(entry) = self.entries.get(owner) else { return };
        if entry.phase == Phase::Idle && !ending && !self.running.contains_key(owner) {
            let is_due = entry.due(now).is_some_and(|due| due <= now.boot);
            let looks = entry.look_due().is_some_and(|due| due <= now.boot);
            // What a person ordered needs no parent.
            let needs_parents = (is_due || looks) && entry.orders.is_empty();
            let blocked_by = if needs_parents { self.missing_parent(entry, now) } else { None };
            let starts =
                (is_due || looks) && blocked_by.is_none() && !(is_due && self.freshens_parents(owner, now));
            if let Some(entry) = self.entries.get_mut(owner) {
                entry.blocked_by = blocked_by.filter(|_| is_due);
                let is_held_back = entry.held_back(now).is_some();
                if is_held_back && !entry.counts_as_held_back {
                    self.limited.max_renewals.increment();
                }
                entry.counts_as_held_back = is_held_back;
            }
            if starts {
                self.queue(owner, is_due, now);
            }
        }
        self.show(owner);
        self.set_timer(owner, now);
    }

    /// Takes a place in the issuer's lane, or waits for one.
    fn queue(&mut self, owner: &Owner, is_due: bool, now: Moment) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let end = entry.current.as_ref().filter(|_| is_due).map_or(Duration::ZERO, |current| {
            current.expiry.usable_for(now).map_or(Duration::MAX, |left| now.boot + left)
        });
        // What the store has is not looked for in the lane of an issuer: it would wait for others.
        entry.lane = if entry.recalls { None } else { entry.spec.flow.issuer().map(Arc::new) };
        if self.lanes.enter(&entry.lane, (end, entry.id, owner.clone())) {
            self.start(owner, now);
        } else {
            entry.phase = Phase::Queued;
            self.limited.issuer_concurrency.increment();
        }
    }

    /// Spawns an exchange; its place in the lane is taken.
    fn start(&mut self, owner: &Owner, now: Moment) {
        let Some(entry) = self.entries.get(owner) else { return };
        let parents = self.parent_values(&entry.spec, now);
        let bound = entry.spec.is_bundle().then(|| self.first_end(&entry.spec)).flatten();
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let is_due = entry.due(now).is_some_and(|due| due <= now.boot);
        let order = entry.orders.pop().map(|(order, answer)| {
            entry.ordered = Some(answer);
            order
        });
        let recalls = entry.recalls && order.is_none();
        entry.phase = if is_due { Phase::Renewing } else { Phase::Looking };
        entry.look = None;
        entry.parent_values = (!parents.is_empty()).then(|| Box::new(parents.clone()));
        entry.shared.exchange_begins(now);
        let exchange = Exchange {
            clock: self.clock.clone(),
            store: Arc::clone(&self.store),
            mint: Arc::clone(&self.mint),
            spec: Arc::clone(&entry.spec),
            shared: Arc::clone(&entry.shared),
            parents,
            bound,
            unless: entry.inputs.filter(|_| !is_due),
            generation: entry.generation(),
            paced: entry.pace.exchanges(),
            recalls,
            rotates: is_due && entry.is_rotation_due(now) && !entry.doubted,
            doubted: entry.doubted,
            force: entry.force,
            order,
            unsaved: entry.unsaved.as_deref().cloned(),
            early: self.early.0.clone(),
            id: entry.id,
        };
        // A look into the store leaves it for the exchange that follows.
        entry.force &= recalls;
        let running = Running {
            id: entry.id,
            lane: entry.lane.take(),
            precious: entry.spec.flow.is_single_use()
                || exchange.rotates
                || exchange.unsaved.is_some()
                || exchange.order.is_some(),
            // The runtime aligns a task in a way that the allocator can hardly use its place again: what is
            // large stands apart, or thousands of first exchanges leave as many holes.
            abort: self.exchanges.spawn(Box::pin(exchange.run())),
        };
        self.owners.insert(running.abort.id(), owner.clone());
        self.running.insert(owner.clone(), running);
    }

    /// An exchange has ended: its place goes to the next, and its report to its entry.
    fn end(&mut self, joined: Result<(tokio::task::Id, Box<Report>), JoinError>) {
        let (task, report) = match joined {
            Ok((task, report)) => (task, Some(*report)),
            Err(error) => (error.id(), None),
        };
        let Some(owner) = self.owners.remove(&task) else { return };
        let Some(running) = self.running.remove(&owner) else { return };
        let now = self.clock.now();
        while let Some((_, id, next)) = self.lanes.leave(&running.lane) {
            let entry =
                self.entries.get_mut(&next).filter(|entry| entry.id == id && entry.phase == Phase::Queued);
            let Some(entry) = entry else { continue };
            entry.phase = Phase::Idle;
            let entry = &self.entries[&next];
            // Where it does not start, it must not stand in line again: the place would be its own for ever.
            let needs_parents = entry.orders.is_empty();
            let may_start = !needs_parents || self.missing_parent(entry, now).is_none();
            if self.ending.is_none() && may_start {
                self.start(&next, now);
                self.show(&next);
                break;
            }
            self.consider(&next);
        }
        if self.entries.get(&owner).is_some_and(|entry| entry.id == running.id) {
            self.take(&owner, report, now);
        }
        self.consider(&owner);
    }

    fn set_timer(&mut self, owner: &Owner, now: Moment) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let at = entry.wake_at(now, &self.options.sleep);
        if entry.timer != at {
            entry.timer = at;
            if let Some(at) = at {
                self.timers.push((at, entry.id, owner.clone()));
            }
        }
    }
}

fn offset(now: Moment) -> SignedDuration {
    let boot = SignedDuration::try_from(now.boot).unwrap_or(SignedDuration::MAX);
    now.wall.as_duration() - boot
}
