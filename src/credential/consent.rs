//! A person consents: the grants with a browser, a second device, or a one-time password.
//!
//! ```text
//! authorize ─▶ session: whose, state, nonce, verifier ─▶ URL for the browser ─▶ person
//!                 │ 10 minutes, single use                                        │
//! callback ─▶ the session is taken, the issuer compared ◀───────────── code, state
//!                 └─▶ code for tokens ─┐
//! device ───▶ session, polled ─▶ tokens┤
//! password ─▶ session ─▶ OTP for tokens┴─▶ the keeper makes them durable, and publishes
//! ```
//!
//! The app and the browser see states and codes, never tokens. [`Consents`] is the handle that
//! listeners hold; its work runs on the control plane, where nobody who goes away can cancel it.

mod authorization;
mod code;
mod device;
mod error;
mod invitation;
mod otp;
mod progress;
mod random;
mod redirect;
mod return_to;
mod sessions;
pub mod spec;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::credential::flow::{Flow, Issuer, MintError, OAuth2Flow};
use crate::credential::input::{self, Inputs};
use crate::credential::keeper::{Keeper, SetError};
use crate::credential::{CredentialName, CredentialSpec, Minted, Owner};
use crate::telemetry::Counter;

pub use code::Returned;
pub use error::ConsentError;
pub use invitation::Invitations;
pub use progress::Progress;
use return_to::ReturnTo;
use sessions::{Session, Sessions};
pub use spec::ConsentSpec;

/// Who gives the current issuers: a reload may replace them.
pub type Issuers = Box<dyn Fn() -> Arc<Issuer> + Send + Sync>;

/// Logins that were begun and not ended, for all credentials; cloning shares them.
#[derive(Clone)]
pub struct Consents(Arc<Desk>);

struct Desk {
    keeper: Keeper,
    issuers: Issuers,
    clock: Clock,
    sessions: Mutex<Sessions>,
    /// Exchanges at once.
    places: Semaphore,
    /// The control plane.
    runtime: Handle,
    /// `/oauth/callback` of the admin listener, if a browser can reach that.
    callback: ArcSwapOption<String>,
    invitations: Invitations,
    numbers: Numbers,
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Logins that could not begin for want of room.
    pub refused: Counter,
    /// Logins that brought a token.
    pub succeeded: Counter,
    /// Logins that ended without one.
    pub failed: Counter,
}

/// What a consent is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Where the browser is sent on to afterwards.
    pub return_to: Option<String>,
    /// Parameters of the authorization request that the configuration lets be added.
    pub params: BTreeMap<String, String>,
    /// To whom a one-time password is sent: one of the names that the configuration asks for.
    pub hints: BTreeMap<String, String>,
    /// A port of the person's machine at which somebody waits for the browser.
    pub loopback_port: Option<u16>,
}

/// A login that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// What identifies it from now on.
    pub state: String,
    /// How long it may take.
    pub expires_in: Duration,
    /// What the person does.
    pub step: Step,
}

/// What the person does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Opens a URL in a browser.
    Browse {
        /// The URL.
        url: String,
        /// Where the browser comes back to; told to those who asked for a port.
        redirect_uri: Option<String>,
    },
    /// Opens the URI on any device and types the code; or opens the complete one, if there is one.
    Device {
        /// What to type.
        user_code: String,
        /// Where.
        verification_uri: String,
        /// The same with the code in it.
        verification_uri_complete: Option<String>,
    },
    /// Types the password that was sent; what the issuer says of where it was sent to, by name.
    Otp(BTreeMap<String, String>),
}

/// What came of a browser's return.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Whose login it was; `None` if the state was unknown.
    pub owner: Option<Owner>,
    /// Where to send the browser, if it is to be sent on.
    pub return_to: Option<String>,
    /// Whether there is a token now.
    pub result: Result<(), ConsentError>,
}

impl Consents {
    /// No logins yet. At most `room` of them, finished ones of the last minutes included, and
    /// `concurrency` exchanges with issuers at once. The runtime in which this is called does the work.
    pub fn new(keeper: Keeper, issuers: Issuers, clock: Clock, room: usize, concurrency: usize) -> Self {
        Self(Arc::new(Desk {
            keeper,
            issuers,
            sessions: Mutex::new(Sessions::new(clock.clone(), room)),
            places: Semaphore::new(concurrency),
            runtime: Handle::current(),
            callback: ArcSwapOption::empty(),
            invitations: Invitations::new(&clock),
            clock,
            numbers: Numbers::default(),
        }))
    }

    /// Where browsers come back to for credentials without a `redirect_uri`; `None` if they cannot.
    pub fn set_callback(&self, uri: Option<String>) {
        self.0.callback.store(uri.map(Arc::new));
    }

    /// Changes how many logins may be under way.
    pub fn set_room(&self, room: usize) {
        self.0.sessions().set_room(room);
    }

    /// The numbers for the metrics.
    pub fn numbers(&self) -> &Numbers {
        &self.0.numbers
    }

    /// How many logins are under way, or have ended in the last minutes.
    pub fn count(&self) -> usize {
        self.0.sessions().count()
    }

    /// Tickets with which a browser may begin a login.
    pub fn invitations(&self) -> &Invitations {
        &self.0.invitations
    }

    /// Whose login brings a token to `owner`: its own, or that of the credential that it waits for. `None` if no
    /// person can.
    pub fn who_logs_in(&self, owner: &Owner) -> Option<Owner> {
        let keeper = &self.0.keeper;
        let may = |name: &CredentialName| keeper.spec(name).is_some_and(|spec| spec.flow.is_interactive());
        if may(&owner.credential) {
            return Some(owner.clone());
        }
        let (parent, _) = *keeper.status(owner)?.waits_for?;
        may(&parent).then(|| Owner::from(&parent))
    }

    /// A URL with which a browser may begin a login of this owner, if browsers can reach the admin
    /// listener; it counts for 10 minutes.
    pub fn invite(&self, owner: &Owner) -> Option<String> {
        let callback = self.0.callback.load();
        let place = callback.as_deref()?.strip_suffix("callback")?;
        Some(format!("{place}login?ticket={}", self.0.invitations.invite(owner)))
    }

    /// Begins a login.
    pub async fn authorize(&self, owner: Owner, wish: Wish) -> Result<Begun, ConsentError> {
        let desk = Arc::clone(&self.0);
        let begun = self.0.runtime.spawn(async move { desk.authorize(owner, wish).await });
        let begun = begun.await.unwrap_or(Err(ConsentError::Ending));
        if matches!(begun, Err(ConsentError::Full)) {
            self.0.numbers.refused.increment();
        }
        begun
    }

    /// Ends a login with what came back from the issuer. `meant` is the credential, and perhaps the
    /// subject, that it has to be of.
    pub async fn callback(&self, meant: Option<Meant>, returned: Returned) -> Finished {
        let desk = Arc::clone(&self.0);
        let work = self.0.runtime.spawn(async move { desk.callback(meant, returned).await });
        let lost = |_| Finished { owner: None, return_to: None, result: Err(ConsentError::Ending) };
        work.await.unwrap_or_else(lost)
    }

    /// What has come of a login of this credential; waits up to `limit` for its end. `None` if there is
    /// no such login.
    pub async fn progress(&self, of: &CredentialName, state: &str, limit: Duration) -> Option<Progress> {
        let mut watch = self.0.sessions().watch(of, state)?;
        // When the time is over, the state as it is then is told; without a sender nothing changes.
        let _ = tokio::time::timeout(limit, watch.wait_for(|progress| *progress != Progress::Pending)).await;
        let progress = watch.borrow().clone();
        Some(progress)
    }

    /// Ends all logins of an owner that are under way: it logs out.
    pub fn abandon(&self, owner: &Owner) {
        self.0.sessions().abandon(owner);
    }
}

/// Whose login is meant.
#[derive(Debug, Clone)]
pub struct Meant {
    /// The credential.
    pub credential: CredentialName,
    /// The subject, if the caller says it.
    pub subject: Option<crate::credential::Subject>,
}

impl Meant {
    fn is(&self, owner: &Owner) -> bool {
        self.credential == owner.credential && (self.subject.is_none() || self.subject == owner.subject)
    }
}

impl Desk {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn authorize(self: Arc<Self>, owner: Owner, wish: Wish) -> Result<Begun, ConsentError> {
        let spec = self.keeper.spec(&owner.credential).ok_or(ConsentError::UnknownCredential)?;
        let flow = interactive(&spec)?;
        if spec.only_subjects && owner.subject.is_none() {
            let message = "all tokens of this credential belong to subjects: `subject` says whose is meant";
            return Err(ConsentError::BadRequest(message.to_owned()));
        }
        let return_to = wish.return_to.as_deref().map(|text| ReturnTo::check(text, &flow.consent));
        let return_to = return_to.transpose().map_err(ConsentError::BadRequest)?;
        // Whoever could not be given a session needs not ask the issuer.
        self.sessions().check_room(&owner)?;
        let inputs = self.inputs(&spec).await?;
        let _place = self.places.acquire().await;
        let issuer = (self.issuers)();
        let exchange = issuer.exchange(&spec, &inputs)?;
        let whose = Session::of(owner, Arc::clone(&spec), return_to);
        if !flow.grant.is_device() {
            return authorization::begin(&self, flow, &exchange, whose, wish).await;
        }
        match &flow.consent.otp {
            Some(otp) => otp::begin(&self, flow, otp, &exchange, whose, wish).await,
            None => device::begin(&self, flow, &exchange, whose, wish).await,
        }
    }

    async fn callback(self: Arc<Self>, meant: Option<Meant>, returned: Returned) -> Finished {
        let taken = self.sessions().take(&returned.state, meant.as_ref());
        let Some(taken) = taken else {
            return Finished { owner: None, return_to: None, result: Err(ConsentError::UnknownState) };
        };
        let owner = taken.session.owner.clone();
        let return_to = taken.session.return_to.clone();
        let ended = code::finish(&self, &taken.session, &returned).await;
        if let (Err(ConsentError::WrongPassword { .. }), Some(left)) = (&ended, taken.tries_left()) {
            let state = taken.state.clone();
            self.sessions().give_back(&state, taken);
            return Finished {
                owner: Some(owner),
                return_to: None,
                result: Err(ConsentError::WrongPassword { left }),
            };
        }
        self.end(&taken.state, &owner, &ended);
        let failure = ended.as_ref().err().map(ConsentError::code);
        Finished { owner: Some(owner), return_to: return_to.map(|to| to.location(failure)), result: ended }
    }

    /// Notes how a login ended.
    fn end(&self, state: &str, owner: &Owner, ended: &Result<(), ConsentError>) {
        match ended {
            Ok(()) => {
                self.numbers.succeeded.increment();
                tracing::info!(credential = %owner.credential, "logged in");
                self.sessions().finish(state, Progress::Done);
            }
            Err(error) => {
                self.numbers.failed.increment();
                tracing::warn!(credential = %owner.credential, %error, "a login came to nothing");
                self.sessions().finish(state, Progress::Failed(error.clone()));
            }
        }
    }

    /// Hands what a consent brought to the keeper.
    async fn adopt(&self, session: &Session, mut minted: Minted) -> Result<(), ConsentError> {
        let spec = self.keeper.spec(&session.owner.credential);
        if spec.is_none_or(|spec| spec.flow != session.spec.flow) {
            return Err(ConsentError::Reconfigured);
        }
        if minted.rotated.is_none() {
            let warning =
                "the issuer gave no refresh token: when this token ends, somebody has to log in again";
            minted.warnings.push(warning.to_owned());
        }
        self.keeper.adopt(&session.owner, minted, self.clock.now()).await.map_err(|error| match error {
            SetError::Unusable(message) => ConsentError::Local(message),
            SetError::Unknown | SetError::NotStatic | SetError::NoSubject => ConsentError::Reconfigured,
        })
    }

    /// The inputs of a credential, as they are now.
    async fn inputs(&self, spec: &CredentialSpec) -> Result<Inputs, ConsentError> {
        let now = self.clock.now();
        let parents = |name: &CredentialName, output: &str| self.keeper.output(name, output, now);
        input::read(spec, &parents, &self.clock).await.map_err(|error| {
            ConsentError::Local(format!("the input `{}` cannot be read: {}", error.input, error.message))
        })
    }
}

/// The flow of a credential that a person consents to.
fn interactive(spec: &CredentialSpec) -> Result<&OAuth2Flow, ConsentError> {
    match &spec.flow {
        Flow::OAuth2(flow) if flow.grant.is_interactive() => Ok(flow),
        _ => Err(ConsentError::NotInteractive),
    }
}

impl From<MintError> for ConsentError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Transient { message, .. } | MintError::Unanswered { message } => {
                Self::Unavailable(message)
            }
            MintError::Stubborn { message } => Self::Unusable(message),
            MintError::IdToken { message } => Self::IdToken(message),
            MintError::Rejected { message } | MintError::Withdrawn { message } => Self::Refused(message),
            MintError::Unmailed { error } | MintError::Spoiled { error, .. } => Self::from(*error),
        }
    }
}
