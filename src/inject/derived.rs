//! What templates make of a credential's values: whoever is shown a digest of a password, where the digest is what
//! the upstream takes, has as much as if it were shown the password.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::clock::Clock;
use crate::guard::Patterns;
use crate::inject::Injection;
use crate::named::Named;
use crate::secret::Secret;
use crate::template::Scene;

/// What is made of the values of one generation and stays the same for each request.
pub struct Derived {
    values: Vec<Secret>,
    known: ArcSwapOption<Known>,
}

/// Patterns of all values in play, and those with the derived ones.
struct Known {
    in_play: Arc<Patterns>,
    all: Arc<Patterns>,
}

impl Derived {
    /// What an injection makes; `None` if it puts values on requests as they are.
    pub(super) fn of(injection: &Injection, outputs: &Named<Secret>, clock: &Clock) -> Option<Self> {
        let value = |name: &str| outputs.get(name).cloned();
        let scene = Scene::new(&value, clock);
        let values: Vec<Secret> =
            injection.templates().flat_map(|template| template.derived(&scene)).collect();
        (!values.is_empty()).then(|| Self { values, known: ArcSwapOption::empty() })
    }

    /// The patterns of the values in play and of the derived ones: made once for each set of those in play.
    pub fn patterns(&self, in_play: &Arc<Patterns>) -> Arc<Patterns> {
        let known = self.known.load();
        if let Some(known) = known.as_ref().filter(|known| Arc::ptr_eq(&known.in_play, in_play)) {
            return Arc::clone(&known.all);
        }
        let all = Arc::new(in_play.with(&self.values));
        self.known.store(Some(Arc::new(Known { in_play: Arc::clone(in_play), all: Arc::clone(&all) })));
        all
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Derived(..)")
    }
}
