//! Flows: how a credential is obtained.

pub(in crate::credential) mod classify;
pub mod fixed;
pub(in crate::credential) mod form;
pub(in crate::credential) mod json;
pub mod jwt;
pub(in crate::credential) mod lifetime;
pub mod login;
pub mod mail;
mod memory;
pub mod oauth2;
#[cfg(test)]
pub(in crate::credential) mod testing;
pub(in crate::credential) mod unread;

pub use fixed::StaticFlow;
pub use login::LoginFlow;
pub use memory::Memory;
use oauth2::endpoints::{IssuerIdentifier, Metadata, Plaintext};
pub use oauth2::{IdTokenSpec, OAuth2Flow, TokenHint};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::flow::json::Json;
use crate::credential::input::Inputs;
use crate::credential::store::{Awaited, Mark};
use crate::credential::{CredentialSpec, Minted, Outputs, Rotation};
use crate::secret::{Secret, SecretBuffer};
use crate::template::{RenderError, Template};
use crate::upstream::connect::{Connector, Connectors};
use crate::upstream::exchange::{Answer, ExchangeError, Limits, Request, exchange};
use crate::upstream::{Origin, Url};

/// How long a connection to an issuer may take, within the whole exchange.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longer limits for a whole exchange are cut to this, so that no clock overflows.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(86_400);

/// How long one question may take of an exchange that also waits for a message.
const LONGEST_QUESTION: Duration = Duration::from_secs(60);

/// The largest answer of an issuer, in bytes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// How a credential is obtained: a closed set.
#[derive(Debug, Clone, PartialEq)]
pub enum Flow {
    /// A token that somebody else made.
    Static(StaticFlow),
    /// OAuth 2 (RFC 6749).
    OAuth2(Box<OAuth2Flow>),
    /// A vendor's own login, step by step.
    Login(Box<LoginFlow>),
}

impl Flow {
    /// The name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::OAuth2(_) => "oauth2",
            Self::Login(_) => "login",
        }
    }

    /// Whether the token is brought, by a file, a command or a person: no issuer is asked.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::Static(_))
    }

    /// The issuer that exchanges load most: what `issuer_concurrency` counts by. `None` if nobody
    /// is asked.
    pub fn issuer(&self) -> Option<Origin> {
        match self {
            Self::Static(_) => None,
            Self::OAuth2(flow) => flow.endpoints.origin().cloned(),
            Self::Login(flow) => flow.issuer(),
        }
    }

    /// Whether a lost answer may have used up an input of this flow: it rotates a refresh token.
    pub fn is_single_use(&self) -> bool {
        matches!(self, Self::OAuth2(flow) if flow.grant.renews_by_refresh_token() && flow.rotates)
    }

    /// Whether a person has to consent before there is a token.
    pub fn is_interactive(&self) -> bool {
        matches!(self, Self::OAuth2(flow) if flow.grant.is_interactive())
    }

    /// Whether an ID token is worth keeping: a route or another credential uses it.
    pub fn keeps_id_token(&self) -> bool {
        matches!(self, Self::OAuth2(flow) if flow.id_token.required)
    }

    /// Whether each exchange has a message sent to somebody.
    pub fn is_mailed(&self) -> bool {
        matches!(self, Self::Login(flow) if flow.mails().next().is_some())
    }

    /// Whether its token is revoked when the process ends.
    pub fn is_revoked_on_exit(&self) -> bool {
        matches!(self, Self::OAuth2(flow) if flow.revoke_on_exit)
    }

    /// The input for which another value may stand in while the configured one stays the same: a
    /// refresh token that was rotated, a static token that was set.
    pub fn replaceable_input(&self) -> Option<&'static str> {
        match self {
            Self::Static(_) => Some("token"),
            Self::OAuth2(flow) if flow.grant.renews_by_refresh_token() => Some("refresh_token"),
            Self::OAuth2(_) | Self::Login(_) => None,
        }
    }
}

/// Why an exchange brought no token, in the classes of docs/states-and-errors.md.
/// Messages are for people and carry no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintError {
    /// It may mend itself: network, timeout, 408, 429, 5xx, an answer that cannot be read.
    Transient {
        /// What happened.
        message: String,
        /// What the issuer asked for, already cut to its limit.
        retry_after: Option<Duration>,
    },
    /// It will not mend itself soon, but nobody said that the input is wrong: any other 4xx, a
    /// redirect. Tried again at the longest pause.
    Stubborn {
        /// What happened.
        message: String,
    },
    /// The issuer refused the input.
    Rejected {
        /// What happened.
        message: String,
    },
    /// What a person (or a seed refresh token) had granted is not valid, or no longer: the OAuth error
    /// `invalid_grant`. For a credential without a person that is a rejection.
    Withdrawn {
        /// What happened.
        message: String,
    },
    /// The request was sent and its answer did not come.
    Unanswered {
        /// What happened.
        message: String,
    },
    /// A message was asked for and has not come so far: it may come later.
    Unmailed {
        /// Why it is not there.
        error: Box<Self>,
    },
    /// The answer has an ID token that does not hold, and something relies on it.
    IdToken {
        /// What is wrong with it.
        message: String,
    },
    /// The answer brought the successor of the refresh token that was used, and no token that can be
    /// used: the successor counts all the same.
    Spoiled {
        /// The refresh token that replaces the one just used.
        successor: Secret,
        /// What is wrong with the rest.
        error: Box<Self>,
    },
}

impl MintError {
    /// What happened.
    pub fn message(&self) -> &str {
        match self {
            Self::Transient { message, .. }
            | Self::Stubborn { message }
            | Self::Rejected { message }
            | Self::Withdrawn { message }
            | Self::Unanswered { message }
            | Self::IdToken { message } => message,
            Self::Unmailed { error } | Self::Spoiled { error, .. } => error.message(),
        }
    }

    /// The same, of one of several steps.
    fn of_step(self, (number, of): (usize, usize)) -> Self {
        let step = |message| if of == 1 { message } else { format!("step {number} of {of}: {message}") };
        match self {
            Self::Transient { message, retry_after } => {
                Self::Transient { message: step(message), retry_after }
            }
            Self::Stubborn { message } => Self::Stubborn { message: step(message) },
            Self::Rejected { message } => Self::Rejected { message: step(message) },
            Self::Unanswered { message } => Self::Unanswered { message: step(message) },
            Self::Unmailed { error } => Self::Unmailed { error: Box::new(error.of_step((number, of))) },
            other => other,
        }
    }

    /// The same, of an answer that brought a successor of the refresh token, if it did.
    fn with_successor(self, successor: Option<Secret>) -> Self {
        match successor {
            Some(successor) => Self::Spoiled { successor, error: Box::new(self) },
            None => self,
        }
    }
}

/// The future of [`Mint::mint`].
pub type MintFuture = Pin<Box<dyn Future<Output = Result<Minted, MintError>> + Send>>;

/// The future of [`Mint::mark`].
pub type MarkFuture = Pin<Box<dyn Future<Output = Result<Option<Vec<Mark>>, MintError>> + Send>>;

/// The future of [`Mint::pick_up`].
pub type PickUpFuture = Pin<Box<dyn Future<Output = Result<Option<Minted>, MintError>> + Send>>;

/// The future of [`Mint::verify`].
pub type VerifyFuture = Pin<Box<dyn Future<Output = Result<(), MintError>> + Send>>;

/// The future of [`Mint::revoke`].
pub type RevokeFuture = Pin<Box<dyn Future<Output = Result<bool, MintError>> + Send>>;

/// Obtains tokens: [`Flow`] over the network, or a script in the keeper's tests.
pub trait Mint: Send + Sync {
    /// Runs one whole exchange with inputs already read. It never retries by itself.
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture;

    /// Looks how far the mailboxes are filled in which messages are going to be waited for, before anybody is asked to
    /// send one. `None` where there are none, or where they are of no use to anybody but the exchange that asks for
    /// them.
    fn mark(&self, _spec: Arc<CredentialSpec>, _inputs: Inputs) -> MarkFuture {
        Box::pin(async { Ok(None) })
    }

    /// Waits for messages that an exchange before this one has asked for, as long as that one would have. `None` if
    /// they have not come: then others have to be asked for.
    fn pick_up(&self, _spec: Arc<CredentialSpec>, _inputs: Inputs, _awaited: Awaited) -> PickUpFuture {
        Box::pin(async { Ok(None) })
    }

    /// Has the issuer replace the value of a credential by another one: once, whatever comes of it.
    /// `current` is the value in use.
    fn replace(&self, spec: Arc<CredentialSpec>, inputs: Inputs, current: Outputs) -> MintFuture;

    /// Says whether a value works.
    fn verify(&self, spec: Arc<CredentialSpec>, inputs: Inputs, value: Outputs) -> VerifyFuture;

    /// Tells the issuer that a token is not needed any more, and says whether it could be told.
    fn revoke(
        &self,
        spec: Arc<CredentialSpec>,
        inputs: Inputs,
        token: Secret,
        hint: TokenHint,
    ) -> RevokeFuture;
}

/// Answers in place of the network: for simulated issuers that live through years in no time.
pub type Direct = Arc<dyn Fn(Url, Request) -> DirectFuture + Send + Sync>;

/// The future of [`Direct`].
pub type DirectFuture = Pin<Box<dyn Future<Output = Result<Answer, ExchangeError>> + Send>>;

/// How questions reach issuers.
#[derive(Clone)]
enum Way<N> {
    Network(N),
    Direct(Direct),
}

/// The real [`Mint`]: runs each flow over the network.
#[derive(Clone)]
pub struct Issuer {
    way: Way<Connectors>,
    memory: Arc<Memory>,
    clock: Clock,
}

impl Issuer {
    /// Exchanges leave by the connectors of these egresses, by name; the default one is named "".
    pub fn new(connectors: Connectors, memory: Arc<Memory>, clock: Clock) -> Self {
        Self { way: Way::Network(connectors), memory, clock }
    }

    /// Exchanges go nowhere, but are answered by this.
    pub fn direct(answers: Direct, clock: Clock) -> Self {
        Self { way: Way::Direct(answers), memory: Arc::default(), clock }
    }

    /// An exchange of a credential, with inputs already read, that begins now.
    pub(in crate::credential) fn exchange<'a>(
        &'a self,
        spec: &'a CredentialSpec,
        inputs: &'a Inputs,
    ) -> Result<Exchange<'a>, MintError> {
        let way = match &self.way {
            Way::Direct(answers) => Way::Direct(Arc::clone(answers)),
            Way::Network(connectors) => {
                Way::Network(connectors.get(&spec.egress).cloned().ok_or_else(|| MintError::Stubborn {
                    message: format!("there is no egress `{}`: this is a fault of bearerd", spec.egress),
                })?)
            }
        };
        let deadline = Clock::instant() + spec.times.exchange_timeout.min(LONGEST_EXCHANGE);
        let (memory, clock) = (&*self.memory, self.clock.clone());
        Ok(Exchange { spec, inputs, way, memory, clock, deadline })
    }
}

impl Issuer {
    /// Has the issuer of a credential tell what it says of itself, if it was not told lately, and the
    /// credential discovers it at all.
    pub async fn disclose(&self, spec: &CredentialSpec) -> Result<(), MintError> {
        let Flow::OAuth2(flow) = &spec.flow else { return Ok(()) };
        let Some(issuer) = &flow.endpoints.issuer else { return Ok(()) };
        // Nothing is shown to it.
        let inputs = Inputs::default();
        self.exchange(spec, &inputs)?.discover(issuer, flow.endpoints.plaintext).await.map(drop)
    }
}

impl Mint for Issuer {
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let exchange = issuer.exchange(&spec, &inputs)?;
            match &spec.flow {
                Flow::OAuth2(flow) => oauth2::mint(flow, &exchange).await,
                Flow::Login(flow) => login::mint(flow, &exchange).await,
                Flow::Static(flow) => Ok(flow.mint(&inputs, exchange.clock.wall())),
            }
        })
    }

    fn mark(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MarkFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let Flow::Login(flow) = &spec.flow else { return Ok(None) };
            login::mark(flow, &issuer.exchange(&spec, &inputs)?).await
        })
    }

    fn pick_up(&self, spec: Arc<CredentialSpec>, inputs: Inputs, awaited: Awaited) -> PickUpFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let Flow::Login(flow) = &spec.flow else { return Ok(None) };
            login::pick_up(flow, &issuer.exchange(&spec, &inputs)?, &awaited).await
        })
    }

    fn replace(&self, spec: Arc<CredentialSpec>, inputs: Inputs, current: Outputs) -> MintFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let steps = &rotation(&spec)?.steps;
            login::run(steps, &issuer.exchange(&spec, &inputs)?, current).await
        })
    }

    fn verify(&self, spec: Arc<CredentialSpec>, inputs: Inputs, value: Outputs) -> VerifyFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let steps = &rotation(&spec)?.verify;
            login::run(steps, &issuer.exchange(&spec, &inputs)?, value).await.map(drop)
        })
    }

    fn revoke(
        &self,
        spec: Arc<CredentialSpec>,
        inputs: Inputs,
        token: Secret,
        hint: TokenHint,
    ) -> RevokeFuture {
        let issuer = self.clone();
        Box::pin(async move {
            let exchange = issuer.exchange(&spec, &inputs)?;
            match &spec.flow {
                Flow::OAuth2(flow) => oauth2::revocation::revoke(flow, &exchange, &token, hint).await,
                Flow::Static(_) | Flow::Login(_) => Ok(false),
            }
        })
    }
}

fn rotation(spec: &CredentialSpec) -> Result<&Rotation, MintError> {
    spec.rotation.as_deref().ok_or_else(|| MintError::Stubborn {
        message: "the credential has a value that nobody replaces: this is a fault of bearerd".to_owned(),
    })
}

/// One running exchange: what every flow needs.
pub(in crate::credential) struct Exchange<'a> {
    spec: &'a CredentialSpec,
    pub(in crate::credential) inputs: &'a Inputs,
    way: Way<Connector>,
    memory: &'a Memory,
    pub(in crate::credential) clock: Clock,
    deadline: Instant,
}

impl Exchange<'_> {
    /// Holds the routes of the credential to the upstream that an answer names, if it is to name one; a
    /// warning if it does not. The error says which route leads elsewhere.
    fn check_upstream(&self, answer: &Json) -> Result<Option<String>, String> {
        self.spec.expected_upstream.as_ref().map_or(Ok(None), |expected| expected.check(answer))
    }

    /// Asks the issuer once, within what is left of the time.
    pub(in crate::credential) async fn ask(&self, url: &Url, request: Request) -> Result<Answer, MintError> {
        let mut whole = self.deadline.saturating_duration_since(Clock::instant());
        if self.spec.flow.is_mailed() {
            // Most of the time is for the message.
            whole = whole.min(LONGEST_QUESTION);
        }
        let limits = Limits { connect: CONNECT_LIMIT, whole, body: LARGEST_ANSWER };
        Ok(match &self.way {
            Way::Network(connector) => exchange(connector, url, request, limits).await?,
            Way::Direct(answers) => answers(url.clone(), request).await?,
        })
    }

    /// What opens connections, if there is a network at all.
    fn connector(&self) -> Option<&Connector> {
        match &self.way {
            Way::Network(connector) => Some(connector),
            Way::Direct(_) => None,
        }
    }

    /// What an issuer says of itself.
    async fn discover(
        &self,
        issuer: &IssuerIdentifier,
        plaintext: Plaintext,
    ) -> Result<Arc<Metadata>, MintError> {
        self.memory.discovery.discover(issuer, plaintext, &self.spec.egress, self).await
    }

    /// The same exchange with other inputs.
    fn with<'b>(&'b self, inputs: &'b Inputs) -> Exchange<'b> {
        let (way, clock) = (self.way.clone(), self.clock.clone());
        let Self { spec, memory, deadline, .. } = *self;
        Exchange { spec, inputs, way, memory, clock, deadline }
    }

    /// An input that the flow cannot do without.
    fn input(&self, name: &str) -> Result<&Secret, MintError> {
        self.inputs.values.get(name).ok_or_else(|| MintError::Stubborn {
            message: format!("the credential has no `{name}`, which its flow needs"),
        })
    }

    /// A template over the inputs.
    fn render(&self, template: &Template) -> Result<Zeroizing<Vec<u8>>, MintError> {
        let input = |name: &str| self.inputs.values.get(name).cloned();
        Ok(template.render(&input, &self.clock)?)
    }
}

/// A header value that is wiped when it goes, and never shown.
fn secret_header(value: SecretBuffer) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Secret::from(value).into_bytes())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A template needs something that is not there: the configuration was to see to that.
impl From<RenderError> for MintError {
    fn from(missing: RenderError) -> Self {
        Self::Stubborn { message: format!("a template of this credential cannot be filled in: {missing}") }
    }
}
