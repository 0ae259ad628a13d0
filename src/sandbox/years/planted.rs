//! Faults that a bearerd could have, planted to see that a life finds them.

use std::sync::Arc;

use crate::credential::flow::{
    Issuer, MarkFuture, Mint, MintError, MintFuture, PickUpFuture, RevokeFuture, TokenHint, VerifyFuture,
};
use crate::credential::input::Inputs;
use crate::credential::store::Awaited;
use crate::credential::{CredentialSpec, Lifetime, Minted, Outputs};
use crate::sandbox::years::life;
use crate::sandbox::years::plan::{Plan, Planning};
use crate::sandbox::years::{digilocker, neighbours, payhub, sahamati};
use crate::secret::Secret;

/// What a careless bearerd does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    /// It asks again with the same input when an answer was lost.
    ReplaysLostAnswers,
    /// It takes tokens to live twice as long as was said.
    BelievesInLongLives,
    /// It replaces a value instead of reading it first.
    ReplacesBlindly,
    /// What it writes into its store is gone.
    Forgets,
    /// It gives the issuer no rest.
    KnowsNoLimit,
}

/// The real issuer, asked by somebody careless.
pub(super) struct Careless {
    pub(super) issuer: Issuer,
    pub(super) how: Option<Planted>,
}

impl Mint for Careless {
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        let (issuer, how) = (self.issuer.clone(), self.how);
        Box::pin(async move {
            if how == Some(Planted::ReplacesBlindly) && spec.rotation.is_some() {
                let read = issuer.mint(Arc::clone(&spec), inputs.clone()).await?;
                return issuer.replace(spec, inputs, read.outputs).await;
            }
            let minted = issuer.mint(Arc::clone(&spec), inputs.clone()).await;
            match (minted, how) {
                (Err(MintError::Unanswered { .. }), Some(Planted::ReplaysLostAnswers)) => {
                    issuer.mint(spec, inputs).await
                }
                (Ok(minted), Some(Planted::BelievesInLongLives)) => Ok(twice_as_long(minted)),
                (minted, _) => minted,
            }
        })
    }

    fn mark(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MarkFuture {
        self.issuer.mark(spec, inputs)
    }

    fn pick_up(&self, spec: Arc<CredentialSpec>, inputs: Inputs, awaited: Awaited) -> PickUpFuture {
        self.issuer.pick_up(spec, inputs, awaited)
    }

    fn replace(&self, spec: Arc<CredentialSpec>, inputs: Inputs, current: Outputs) -> MintFuture {
        self.issuer.replace(spec, inputs, current)
    }

    fn verify(&self, spec: Arc<CredentialSpec>, inputs: Inputs, value: Outputs) -> VerifyFuture {
        self.issuer.verify(spec, inputs, value)
    }

    fn revoke(
        &self,
        spec: Arc<CredentialSpec>,
        inputs: Inputs,
        token: Secret,
        hint: TokenHint,
    ) -> RevokeFuture {
        self.issuer.revoke(spec, inputs, token, hint)
    }
}

fn twice_as_long(minted: Minted) -> Minted {
    let lifetime = minted.lifetime.map(|lifetime| match lifetime {
        Lifetime::For(length) => Lifetime::For(length * 2),
        other => other,
    });
    Minted { lifetime, ..minted }
}

#[tokio::test(start_paused = true)]
async fn a_life_finds_what_a_careless_bearerd_does_wrong() {
    let cases: [(Planning, Planted, &str); 5] = [
        (digilocker::plan, Planted::ReplaysLostAnswers, "the grant is dead"),
        (digilocker::plan, Planted::Forgets, "the grant is dead"),
        (payhub::plan, Planted::BelievesInLongLives, "a request carried a dead token"),
        (sahamati::careful, Planted::ReplacesBlindly, "resets"),
        (neighbours::zoho, Planted::KnowsNoLimit, "asked too often"),
    ];
    for (plan, fault, told) in cases {
        let careless = |clock: &crate::clock::Clock| {
            let plan = plan(clock);
            let configuration = match fault {
                Planted::KnowsNoLimit => {
                    plan.configuration.replace("[routes", "max_renewals = \"1000/1s\"\n[routes")
                }
                _ => plan.configuration,
            };
            Plan { configuration, planted: Some(fault), ..plan }
        };
        let lived = life::live(1, &careless).await;
        let found = lived.expect_err("a careless bearerd does not get through three years");
        assert!(found.contains(told), "{fault:?}: {found}");
    }
}
