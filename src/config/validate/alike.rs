//! What many routes or credentials have in common, kept once.

use std::borrow::Borrow;
use std::sync::Arc;

/// How many different values are remembered: those that are alike stand close together.
const REMEMBERED: usize = 16;

/// Values that were seen before.
#[derive(Debug)]
pub(crate) struct Alike<T: ?Sized>(Vec<Arc<T>>);

impl<T: ?Sized + PartialEq> Alike<T> {
    /// This value, or the one that is equal to it.
    pub(crate) fn one(&mut self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        if let Some(known) = self.0.iter().rev().find(|known| ***known == *value.borrow()) {
            return Arc::clone(known);
        }
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        let value = value.into();
        self.0.push(Arc::clone(&value));
        value
    }
}

impl<T: ?Sized> Default for Alike<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
