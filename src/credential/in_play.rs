//! The values that must not reach an app: those by which a credential is obtained and used.

use std::sync::{Arc, OnceLock};

use crate::guard::Patterns;
use crate::secret::Secret;

/// The values in play of one owner: inputs and outputs of every generation that may still be used, and of
/// the credentials that it is made of.
#[derive(Debug, Default)]
pub struct InPlay {
    values: Arc<[Secret]>,
    /// Made with the first answer that is looked through: many owners have none.
    patterns: OnceLock<Arc<Patterns>>,
}

impl InPlay {
    /// These values.
    pub fn new(values: Arc<[Secret]>) -> Self {
        Self { values, patterns: OnceLock::new() }
    }

    /// Whether a value is one of them.
    #[cfg(test)]
    pub fn has(&self, value: &str) -> bool {
        self.values.iter().any(|known| known.expose() == value.as_bytes())
    }

    /// The patterns of these values and of others.
    pub fn patterns_with(&self, others: &[Secret]) -> Patterns {
        Patterns::new(&[&*self.values, others].concat())
    }

    /// What answers are scanned for.
    pub fn patterns(&self) -> &Arc<Patterns> {
        self.patterns.get_or_init(|| Arc::new(Patterns::new(&self.values)))
    }
}
