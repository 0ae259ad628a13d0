//! Logins under way: each is bound to its owner, lives 10 minutes, and ends once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::credential::consent::random::key;
use crate::credential::consent::return_to::ReturnTo;
use crate::credential::consent::{ConsentError, Meant, Progress};
use crate::credential::{CredentialName, CredentialSpec, Owner};
use crate::secret::Secret;

/// How long a login may take.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// Logins under way of one owner; beyond, the oldest goes.
const OF_ONE_OWNER: usize = 8;
/// So many one-time passwords may be typed in a login.
const PASSWORDS: u32 = 3;

/// All logins of the process.
pub(super) struct Sessions {
    clock: Clock,
    room: usize,
    by_state: HashMap<[u8; 32], Entry>,
    by_end: BTreeMap<Place, [u8; 32]>,
    /// Those that are not over, by their owner.
    pending: HashMap<Owner, BTreeSet<Place>>,
    /// Those that are: they make room first.
    over: BTreeSet<Place>,
    last_number: u64,
}

/// When a login ends by itself, in time since boot; the number tells those of one moment apart.
type Place = (Duration, u64);

/// One login.
struct Entry {
    owner: Owner,
    place: Place,
    /// Taken by whoever ends it.
    session: Option<Session>,
    /// Passwords that were typed.
    typed: u32,
    progress: watch::Sender<Progress>,
}

/// What a login has to know until it ends.
pub(super) struct Session {
    pub(super) owner: Owner,
    /// The credential as it was when the login began.
    pub(super) spec: Arc<CredentialSpec>,
    pub(super) return_to: Option<ReturnTo>,
    pub(super) secrets: Secrets,
}

/// What only this login has.
pub(super) enum Secrets {
    /// Nothing yet.
    None,
    /// A browser was sent to the issuer.
    Browser {
        verifier: Secret,
        /// `None` where no ID token was asked for.
        nonce: Option<Secret>,
        redirect_uri: String,
        /// How the issuer calls itself, if that is known.
        issuer: Option<String>,
        promises_iss: bool,
    },
    /// A device's code is being polled for in the background.
    Device,
    /// A password was sent; what it is redeemed with.
    Otp { device_code: Secret },
}

/// A session that was taken.
pub(super) struct Taken {
    pub(super) state: String,
    pub(super) session: Session,
    typed: u32,
}

impl Session {
    pub(super) fn of(owner: Owner, spec: Arc<CredentialSpec>, return_to: Option<ReturnTo>) -> Self {
        Self { owner, spec, return_to, secrets: Secrets::None }
    }
}

impl Taken {
    /// How many passwords may still be typed, if this login takes one at all; `None` if no more.
    pub(super) fn tries_left(&self) -> Option<u32> {
        let takes_one = matches!(self.session.secrets, Secrets::Otp { .. });
        PASSWORDS.checked_sub(self.typed + 1).filter(|left| takes_one && *left > 0)
    }
}

impl Sessions {
    pub(super) fn new(clock: Clock, room: usize) -> Self {
        Self {
            clock,
            room,
            by_state: HashMap::new(),
            by_end: BTreeMap::new(),
            pending: HashMap::new(),
            over: BTreeSet::new(),
            last_number: 0,
        }
    }

    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    pub(super) fn count(&mut self) -> usize {
        self.expire();
        self.by_state.len()
    }

    /// Whether another login may begin. What has ended makes room first.
    pub(super) fn check_room(&mut self, owner: &Owner) -> Result<(), ConsentError> {
        self.expire();
        if self.waiting(owner).count() >= OF_ONE_OWNER {
            return Ok(());
        }
        while self.by_state.len() >= self.room {
            let oldest = self.over.first().copied().ok_or(ConsentError::Full)?;
            self.remove(oldest);
        }
        Ok(())
    }

    /// Begins a login.
    pub(super) fn insert(
        &mut self,
        state: &str,
        session: Session,
        lifetime: Duration,
    ) -> Result<(), ConsentError> {
        self.check_room(&session.owner)?;
        let owner = session.owner.clone();
        let waiting: Vec<Place> = self.waiting(&owner).collect();
        if waiting.len() >= OF_ONE_OWNER {
            self.remove(waiting[0]);
        }
        self.last_number += 1;
        let place = (self.clock.boot() + lifetime, self.last_number);
        let key = key(state);
        let progress = watch::Sender::new(Progress::Pending);
        self.by_end.insert(place, key);
        self.pending.entry(owner.clone()).or_default().insert(place);
        let entry = Entry { owner, place, session: Some(session), typed: 0, progress };
        self.by_state.insert(key, entry);
        Ok(())
    }

    /// Takes a login to end it: nobody else can.
    pub(super) fn take(&mut self, state: &str, meant: Option<&Meant>) -> Option<Taken> {
        self.expire();
        let entry = self.by_state.get_mut(&key(state))?;
        if meant.is_some_and(|meant| !meant.is(&entry.owner)) {
            return None;
        }
        // A device's login is ended by its own background task alone.
        let waits = |session: &mut Session| !matches!(session.secrets, Secrets::Device);
        let session = entry.session.take_if(waits)?;
        Some(Taken { state: state.to_owned(), session, typed: entry.typed })
    }

    /// Gives a login back that may be tried again.
    pub(super) fn give_back(&mut self, state: &str, taken: Taken) {
        if let Some(entry) = self.by_state.get_mut(&key(state)) {
            entry.typed = taken.typed + 1;
            entry.session = Some(taken.session);
        }
    }

    /// Notes how a login ended. It is known until its time is over.
    pub(super) fn finish(&mut self, state: &str, progress: Progress) {
        if let Some(place) = self.by_state.get(&key(state)).map(|entry| entry.place) {
            self.end(place, progress);
        }
    }

    /// Whether a login is under way.
    pub(super) fn is_pending(&self, state: &str) -> bool {
        self.by_state.get(&key(state)).is_some_and(Entry::is_pending)
    }

    /// What becomes of a login of this credential.
    pub(super) fn watch(&mut self, of: &CredentialName, state: &str) -> Option<watch::Receiver<Progress>> {
        self.expire();
        let entry = self.by_state.get(&key(state)).filter(|entry| entry.owner.credential == *of)?;
        Some(entry.progress.subscribe())
    }

    /// Ends all logins of an owner.
    pub(super) fn abandon(&mut self, owner: &Owner) {
        for place in self.pending.get(owner).cloned().unwrap_or_default() {
            self.end(place, Progress::Failed(ConsentError::Abandoned));
        }
    }

    /// The places of an owner's logins that nobody has taken, the oldest first.
    fn waiting(&self, owner: &Owner) -> impl Iterator<Item = Place> {
        let entry = |place: &Place| self.by_state.get(self.by_end.get(place)?);
        let places = self.pending.get(owner).into_iter().flatten().copied();
        places.filter(move |place| entry(place).is_some_and(|entry| entry.session.is_some()))
    }

    fn end(&mut self, place: Place, progress: Progress) {
        let Some(entry) = self.by_end.get(&place).and_then(|key| self.by_state.get_mut(key)) else { return };
        entry.session = None;
        entry.progress.send_replace(progress);
        let owner = entry.owner.clone();
        self.no_longer_pending(&owner, place);
        self.over.insert(place);
    }

    fn remove(&mut self, place: Place) -> Option<Entry> {
        let entry = self.by_state.remove(&self.by_end.remove(&place)?)?;
        self.no_longer_pending(&entry.owner, place);
        self.over.remove(&place);
        Some(entry)
    }

    fn no_longer_pending(&mut self, owner: &Owner, place: Place) {
        if let Some(places) = self.pending.get_mut(owner) {
            places.remove(&place);
            if places.is_empty() {
                self.pending.remove(owner);
            }
        }
    }

    fn expire(&mut self) {
        let now = self.clock.boot();
        while let Some((first, _)) = self.by_end.first_key_value()
            && first.0 <= now
        {
            let removed = self.remove(*first);
            if let Some(entry) = removed.filter(Entry::is_pending) {
                entry.progress.send_replace(Progress::Failed(ConsentError::TooLate));
            }
        }
    }
}

impl Entry {
    fn is_pending(&self) -> bool {
        *self.progress.borrow() == Progress::Pending
    }
}

#[cfg(test)]
mod tests;
