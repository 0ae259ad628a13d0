//! The issuers, exchanged as a whole when a reload brings other ways out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credential::flow::oauth2::discovery::Disclosed;
use crate::credential::flow::{
    Issuer, MarkFuture, Memory, Mint, MintFuture, PickUpFuture, RevokeFuture, TokenHint, VerifyFuture,
};
use crate::credential::input::Inputs;
use crate::credential::store::Awaited;
use crate::credential::{CredentialSpec, Outputs};
use crate::secret::Secret;
use crate::upstream::connect::Connectors;

/// The current [`Issuer`].
pub(super) struct Issuers {
    current: ArcSwap<Issuer>,
    memory: Arc<Memory>,
    clock: Clock,
}

impl Issuers {
    pub(super) fn new(connectors: &Connectors, clock: &Clock) -> Self {
        let memory = Arc::default();
        let issuer = Issuer::new(connectors.clone(), Arc::clone(&memory), clock.clone());
        Self { current: ArcSwap::from_pointee(issuer), memory, clock: clock.clone() }
    }

    /// The current one.
    pub(super) fn current(&self) -> Arc<Issuer> {
        self.current.load_full()
    }

    /// What issuers have told of themselves so far, and news of more.
    pub(super) fn disclosed(&self) -> watch::Receiver<Arc<Disclosed>> {
        self.memory.discovery.disclosed()
    }

    /// Exchanges that begin from now on leave by these; those that run go on.
    pub(super) fn replace(&self, connectors: &Connectors) {
        let memory = Arc::clone(&self.memory);
        self.current.store(Arc::new(Issuer::new(connectors.clone(), memory, self.clock.clone())));
    }
}

impl Mint for Issuers {
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        self.current.load().mint(spec, inputs)
    }

    fn mark(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MarkFuture {
        self.current.load().mark(spec, inputs)
    }

    fn pick_up(&self, spec: Arc<CredentialSpec>, inputs: Inputs, awaited: Awaited) -> PickUpFuture {
        self.current.load().pick_up(spec, inputs, awaited)
    }

    fn replace(&self, spec: Arc<CredentialSpec>, inputs: Inputs, current: Outputs) -> MintFuture {
        self.current.load().replace(spec, inputs, current)
    }

    fn verify(&self, spec: Arc<CredentialSpec>, inputs: Inputs, value: Outputs) -> VerifyFuture {
        self.current.load().verify(spec, inputs, value)
    }

    fn revoke(
        &self,
        spec: Arc<CredentialSpec>,
        inputs: Inputs,
        token: Secret,
        hint: TokenHint,
    ) -> RevokeFuture {
        self.current.load().revoke(spec, inputs, token, hint)
    }
}
