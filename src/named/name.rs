//! Names, each kept once: configurations and presets give the same few to thousands of credentials.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

static NAMES: Mutex<Option<Names>> = Mutex::new(None);

/// Names that are in use, and some that were.
#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// With so many, those that nobody uses any more are forgotten.
    full: usize,
}

/// With fewer it is not worth while to look which are not used any more.
const FEW: usize = 64;

/// A name, where others that have it find it, too.
pub(super) fn shared(name: &str) -> Arc<str> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().shared(name)
}

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.full {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.full = (2 * self.known.len()).max(FEW);
        }
        let name = Arc::from(name);
        self.known.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FEW, Names};

    #[test]
    fn a_name_is_kept_once_and_forgotten_when_nobody_has_it() {
        let mut names = Names::default();
        let token = names.shared("token");
        assert!(Arc::ptr_eq(&token, &names.shared("token")));
        for number in 0..100 * FEW {
            assert_eq!(*names.shared(&number.to_string()), *number.to_string());
            assert!(names.known.len() <= FEW);
        }
        assert!(Arc::ptr_eq(&token, &names.shared("token")));
    }
}
