//! Whether an answer fits what its sender says of it: a digest, by a key that both know, over its content.

use std::sync::Arc;

use http::HeaderName;

use crate::clock::Clock;
use crate::named::Named;
use crate::secret::Secret;
use crate::template::{Body, BodyDigest, Scene, Template};

/// How answers are verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// The field of an answer that says what its content comes to.
    pub header: HeaderName,
    /// What it has to say: a template with a digest over `body` ([`Template::is_digest_of_body`]).
    pub value: Template,
    /// An answer without the field is not passed on.
    pub is_required: bool,
}

/// Verifies the answers to requests of one generation.
pub struct Verifier {
    spec: Arc<Verification>,
    outputs: Named<Secret>,
    clock: Clock,
}

/// The verification of one answer.
pub struct Check {
    verifier: Arc<Verifier>,
    /// What the field says.
    said: Vec<u8>,
    /// None once all of the content was seen.
    digest: Option<BodyDigest>,
    holds: bool,
}

impl Verifier {
    /// What verifies by a generation's values. An error says what is missing, never with a value.
    pub(super) fn new(
        spec: &Arc<Verification>,
        outputs: &Named<Secret>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let verifier = Self { spec: Arc::clone(spec), outputs: outputs.clone(), clock: clock.clone() };
        verifier.digest().map(|_| verifier)
    }

    /// The field of an answer that says what its content comes to.
    pub fn header(&self) -> &HeaderName {
        &self.spec.header
    }

    /// Whether an answer without the field is not passed on.
    pub fn is_required(&self) -> bool {
        self.spec.is_required
    }

    /// Begins to verify an answer whose field says this.
    pub fn begin(self: &Arc<Self>, said: &[u8]) -> Result<Check, String> {
        let digest = Some(self.digest()?);
        Ok(Check { verifier: Arc::clone(self), said: said.to_vec(), digest, holds: false })
    }

    fn digest(&self) -> Result<BodyDigest, String> {
        let values = |name: &str| self.outputs.get(name).cloned();
        let digest = self.spec.value.begin(&Scene::new(&values, &self.clock));
        digest.ok_or("nothing is made of the body")?.map_err(|missing| self.told(&missing))
    }

    fn told(&self, missing: &impl std::fmt::Display) -> String {
        format!("what answers say in `{}`: {missing}", self.spec.header)
    }
}

impl Check {
    /// More of the content.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some(digest) = &mut self.digest {
            digest.update(piece);
        }
    }

    /// Whether the content, all of which was seen, fits.
    pub fn holds(&mut self) -> bool {
        if let Some(digest) = self.digest.take() {
            let Verifier { spec, outputs, clock, .. } = &*self.verifier;
            let (values, digest) = (|name: &str| outputs.get(name).cloned(), digest.finish());
            let scene = Scene::new(&values, clock).with(Body::Digested(&digest));
            // A value that was there at the beginning is there now.
            let wanted = spec.value.render_over(&scene);
            self.holds = wanted.is_ok_and(|wanted| {
                aws_lc_rs::constant_time::verify_slices_are_equal(&wanted, &self.said).is_ok()
            });
        }
        self.holds
    }
}
