//! A few values by name.

mod name;

use std::borrow::Borrow;
use std::sync::Arc;

/// A few values by name, sorted by it: a map for the many places that hold one to three. It is as large
/// as what it holds, where a `BTreeMap` has room for eleven from the first on; to insert takes as
/// long as it is large. Names are kept once, however many maps have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<V>(Vec<(Arc<str>, V)>);

impl<V> Named<V> {
    /// Nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        Some(&self.0[self.place(name).ok()?].1)
    }

    /// Whether there is a value of a name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Puts a value under a name; returns what was there before.
    pub fn insert(&mut self, name: impl Borrow<str>, value: V) -> Option<V> {
        match self.place(name.borrow()) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (name::shared(name.borrow()), value));
                None
            }
        }
    }

    /// Keeps those that `keeps` says.
    pub fn retain(&mut self, mut keeps: impl FnMut(&str, &mut V) -> bool) {
        self.0.retain_mut(|(name, value)| keeps(name, value));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> <&Self as IntoIterator>::IntoIter {
        self.into_iter()
    }

    /// The names, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The values, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of several values of one name the last counts.
impl<N: Borrow<str>, V> FromIterator<(N, V)> for Named<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let mut named = Self::new();
        named.extend(values);
        named
    }
}

impl<N: Borrow<str>, V> Extend<(N, V)> for Named<V> {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, values: I) {
        for (name, value) in values {
            self.insert(name, value);
        }
    }
}

impl<N: Borrow<str>, V, const COUNT: usize> From<[(N, V); COUNT]> for Named<V> {
    fn from(values: [(N, V); COUNT]) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, V> IntoIterator for &'a Named<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (Arc<str>, V)>, fn(&(Arc<str>, V)) -> (&str, &V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<V> IntoIterator for Named<V> {
    type Item = (Arc<str>, V);
    type IntoIter = std::vec::IntoIter<(Arc<str>, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Named;

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_the_names(values: Vec<(String, u8)>, others: Vec<String>) {
            let map: BTreeMap<String, u8> = values.iter().cloned().collect();
            let mut named: Named<u8> = values.iter().cloned().collect();
            let pairs = |named: &Named<u8>| -> Vec<(String, u8)> {
                named.iter().map(|(name, value)| (name.to_owned(), *value)).collect()
            };
            prop_assert_eq!(pairs(&named), map.clone().into_iter().collect::<Vec<_>>());
            for name in others.iter().chain(map.keys()) {
                prop_assert_eq!(named.get(name), map.get(name));
                prop_assert_eq!(named.contains_key(name), map.contains_key(name));
            }
            for name in others {
                named.insert(name.clone(), 7);
                prop_assert_eq!(named.get(&name), Some(&7));
            }
            named.retain(|_, value| *value == 7);
            prop_assert!(named.values().all(|value| *value == 7));
        }
    }
}
