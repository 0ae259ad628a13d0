//! A disk that fails, tears or fills at every single write and sync in turn, or loses its power there.
//! Whatever becomes of it: the record is as it was, as the intent left it or as the result did, never
//! lost and never mixed, and what was told to be durable is.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::{record, wait};
use crate::clock::Clock;
use crate::credential::Owner;
use crate::credential::store::file::disk::Medium;
use crate::credential::store::file::overlay::Overlay;
use crate::credential::store::file::rehearsal::{new_id, new_store};
use crate::credential::store::file::tables::{FingerprintKey, Sealer};
use crate::credential::store::file::{FileStore, Keys};
use crate::credential::store::seal::{Purpose, StoreKey};
use crate::credential::store::{InFlight, Record, Store};
use crate::secret::Secret;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It fails once.
    Fails,
    /// It is done by half, and fails.
    Tears,
    /// From here on the disk is full, until room that was held back is given.
    Fills,
    /// From here on nothing is done any more.
    PowerGoes,
}

/// A disk in memory, which knows what a loss of power would leave.
#[derive(Default)]
struct Disk(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was synced.
    durable: Vec<u8>,
    /// What is read: all that was written.
    now: Vec<u8>,
    /// What was written since the last sync.
    unsynced: Vec<Change>,
    step: usize,
    fault: Option<(usize, Fault)>,
    is_full: bool,
    is_dead: bool,
    may_be_replaced: bool,
}

#[derive(Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    fn holding(bytes: &[u8], may_be_replaced: bool) -> Arc<Self> {
        let state =
            State { durable: bytes.to_vec(), now: bytes.to_vec(), may_be_replaced, ..State::default() };
        Arc::new(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a loss of power may leave: nothing of what was not synced, all, the first half, the second,
    /// or every other piece with one of them torn.
    fn remains(&self) -> Vec<Vec<u8>> {
        let state = self.state();
        let half = state.unsynced.len() / 2;
        let kept: [&dyn Fn(usize) -> bool; 5] =
            [&|_| false, &|_| true, &|at| at < half, &|at| at >= half, &|at| at % 2 == 1];
        let left = |kept: &dyn Fn(usize) -> bool, tears: bool| {
            let mut bytes = state.durable.clone();
            for (_, change) in state.unsynced.iter().enumerate().filter(|(at, _)| kept(*at)) {
                match change {
                    Change::Bytes(offset, data) if tears => {
                        Change::Bytes(*offset, data[..data.len() / 2].to_vec()).apply(&mut bytes);
                    }
                    change => change.apply(&mut bytes),
                }
            }
            bytes
        };
        let mut remains: Vec<Vec<u8>> = kept.iter().map(|kept| left(kept, false)).collect();
        remains.push(left(&|at| at == half, true));
        remains.dedup();
        remains
    }
}

impl State {
    /// Counts a step, and does to it what is to happen.
    fn step(&mut self, change: Option<Change>) -> io::Result<()> {
        let fault = self.fault.filter(|(step, _)| *step == self.step).map(|(_, fault)| fault);
        self.step += 1;
        match fault {
            Some(Fault::PowerGoes) => self.is_dead = true,
            Some(Fault::Fills) => self.is_full = true,
            _ => {}
        }
        if self.is_dead {
            return Err(io::Error::other("no power"));
        }
        if self.is_full && change.is_some() {
            return Err(ErrorKind::StorageFull.into());
        }
        match (change, fault) {
            (Some(Change::Bytes(offset, data)), Some(Fault::Tears)) => {
                self.take(Change::Bytes(offset, data[..data.len() / 2].to_vec()));
                Err(io::Error::other("torn"))
            }
            (_, Some(Fault::Fails | Fault::Tears)) => Err(io::Error::other("failed")),
            (Some(change), _) => {
                self.take(change);
                Ok(())
            }
            (None, _) => {
                self.unsynced.clear();
                self.durable = self.now.clone();
                Ok(())
            }
        }
    }

    fn take(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Disk")
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("a small disk")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let range = place(offset)..place(offset) + out.len();
        out.copy_from_slice(state.now.get(range).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.state().step(Some(Change::Length(place(length))))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state().step(None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state().step(Some(Change::Bytes(place(offset), data.to_vec())))
    }
}

impl Medium for Arc<Disk> {
    fn storage(&self) -> Arc<dyn StorageBackend> {
        Arc::clone(self) as _
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn replace(&mut self, copy: &Overlay) -> io::Result<()> {
        let mut bytes = vec![0; place(copy.len()?)];
        copy.read(0, &mut bytes)?;
        let mut state = self.state();
        if state.is_dead || state.is_full || !state.may_be_replaced {
            return Err(ErrorKind::StorageFull.into());
        }
        (state.durable, state.now) = (bytes.clone(), bytes);
        state.unsynced.clear();
        Ok(())
    }

    fn reserve(&mut self, _: u64) -> io::Result<()> {
        if self.state().is_full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn release(&mut self) {
        self.state().is_full = false;
    }

    fn noted(&self) -> Option<Vec<u8>> {
        None
    }

    fn note(&mut self, _: &[u8]) {}
}

fn keys() -> Keys {
    Keys { current: Secret::from("ab".repeat(32)), previous: Vec::new() }
}

fn open(disk: &Arc<Disk>) -> Result<FileStore, super::OpenFault> {
    FileStore::start(Box::new(Arc::clone(disk)), &keys(), &Clock::system())
}

/// The bytes of a store that holds `old` and many others.
fn filled(old: &Record) -> Vec<u8> {
    let clock = Clock::system();
    let key = StoreKey::new(&keys().current, Purpose::File).expect("a key");
    let sealer = Sealer { key, store: new_id(&clock) };
    let fingerprints = sealer.seal_fingerprints(&FingerprintKey::generate(&clock), &clock);
    let content = new_store(sealer.store, &sealer.key, &fingerprints).expect("a store");
    let mut bytes = vec![0; place(content.len().expect("a length"))];
    content.read(0, &mut bytes).expect("read");
    let disk = Disk::holding(&bytes, false);
    let store = open(&disk).expect("a store");
    for other in 0..30 {
        wait(store.save(&Owner::from(format!("other-{other}").as_str()), record(other))).expect("saved");
    }
    wait(store.save(&owner(), old.clone())).expect("saved");
    drop(store);
    disk.state().durable.clone()
}

fn owner() -> Owner {
    Owner::from("api")
}

/// One exchange: what was told of its intent, and of its result.
fn exchange(store: &FileStore, intent: &Record, new: &Record) -> (bool, bool) {
    let begun = wait(store.begin(&owner(), intent.clone())).is_ok();
    (begun, begun && wait(store.save(&owner(), new.clone())).is_ok())
}

#[test]
fn a_disk_that_fails_tears_fills_or_loses_power_at_any_step_leaves_the_old_or_the_new() {
    let (old, new) = (Record { in_flight: None, ..record(1) }, Record { in_flight: None, ..record(2) });
    let intent = Record { in_flight: Some(InFlight { value: [9; 32], again: false }), ..old.clone() };
    let bytes = filled(&old);
    let disk = Disk::holding(&bytes, false);
    let store = open(&disk).expect("a store");
    let before = disk.state().step;
    assert_eq!(exchange(&store, &intent, &new), (true, true));
    let steps = disk.state().step - before;
    drop(store);
    assert!(steps > 10, "{steps}");

    let mut unfinished = 0;
    for fault in [Fault::Fails, Fault::Tears, Fault::Fills, Fault::PowerGoes] {
        for step in 0..steps {
            let disk = Disk::holding(&bytes, step % 2 == 0);
            let store = open(&disk).expect("a store");
            let start = disk.state().step;
            disk.state().fault = Some((start + step, fault));
            let (begun, done) = exchange(&store, &intent, &new);
            let what = format!("{fault:?} at {step} of {steps}: begun {begun}, done {done}");
            unfinished += usize::from(!done);
            let legal = |found: &Record| match (begun, done) {
                (_, true) => *found == new,
                (true, false) => *found == intent || *found == new,
                (false, _) => *found == old || *found == intent,
            };
            for remains in disk.remains() {
                let after = open(&Disk::holding(&remains, step % 2 == 1)).expect(&what);
                let found = wait(after.load(&owner())).expect(&what);
                assert!(legal(&found), "{what}: {found:?}");
                let other = wait(after.load(&Owner::from("other-7"))).expect(&what);
                assert_eq!(other, record(7), "{what}");
            }
            if fault != Fault::PowerGoes {
                // It goes on by itself: what could not be written is written later.
                disk.state().is_full = false;
                assert!(begun || wait(store.begin(&owner(), intent.clone())).is_ok(), "{what}");
                assert!(done || wait(store.save(&owner(), new.clone())).is_ok(), "{what}");
                drop(store);
                let remains = disk.state().durable.clone();
                let after = open(&Disk::holding(&remains, false)).expect(&what);
                assert_eq!(wait(after.load(&owner())).expect(&what), new, "{what}");
            }
        }
    }
    assert!(unfinished > steps, "{unfinished}: too few faults were noticed");
}

#[test]
fn a_result_finds_the_room_that_its_intent_held_back() {
    let old = Record { in_flight: None, ..record(1) };
    let disk = Disk::holding(&filled(&old), false);
    let store = open(&disk).expect("a store");
    wait(store.begin(&owner(), record(2))).expect("begun");
    disk.state().is_full = true;
    wait(store.save(&owner(), record(3))).expect("there is room for it");
    assert_eq!(wait(store.load(&owner())), Ok(record(3)));
    disk.state().is_full = true;
    wait(store.begin(&owner(), record(4))).expect_err("there is none for another");
    assert_eq!(wait(store.load(&owner())), Ok(record(3)));
    assert_eq!(store.errors(), 1);
}
