//! Which route takes a request: by host, then by the longest segment-aligned prefix of the path.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use crate::route::table::Route;

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct Matcher {
    hosts: HashMap<Box<str>, Prefixes>,
    any_host: Prefixes,
}

/// Routes by their prefix. A look-up costs one hash a segment of the deepest prefix at most.
#[derive(Debug, Default)]
struct Prefixes {
    routes: HashSet<ByPrefix, BuildHasherDefault<PathHasher>>,
    /// Slashes in the deepest prefix; `/` counts none.
    depth: usize,
}

/// A route that is found by its prefix. The prefix is not kept beside it: what is read to compare it is
/// read for the request anyway.
#[derive(Debug)]
struct ByPrefix(Arc<Route>);

/// FNV-1a: paths are short, and only the configuration says which prefixes there are, so that nobody can
/// make them collide.
struct PathHasher(u64);

impl Default for PathHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for PathHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Matcher {
    /// Adds a route.
    pub fn insert(&mut self, route: Arc<Route>) {
        let prefixes = match &route.spec.host {
            Some(host) => self.hosts.entry(host.clone()).or_default(),
            None => &mut self.any_host,
        };
        prefixes.insert(route);
    }

    /// Whether a route asks for this host (lower case, without port).
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// Whether any route asks for a host.
    pub fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// The route for this host (lower case, without port) and this path (without query).
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let by_host = if self.hosts.is_empty() { None } else { self.hosts.get(host) };
        by_host.and_then(|prefixes| prefixes.find(path)).or_else(|| self.any_host.find(path))
    }
}

impl Prefixes {
    fn insert(&mut self, route: Arc<Route>) {
        self.depth = self.depth.max(route.prefix().matches('/').count());
        self.routes.replace(ByPrefix(route));
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if self.routes.is_empty() {
            return None;
        }
        // A prefix ends before a slash or with the path: start at the deepest that there is.
        let mut end = memchr::memchr_iter(b'/', path.as_bytes()).nth(self.depth).unwrap_or(path.len());
        loop {
            if let Some(ByPrefix(route)) = self.routes.get(&path[..end]) {
                return Some(route);
            }
            end = path[..end].rfind('/')?;
        }
    }
}

impl Borrow<str> for ByPrefix {
    fn borrow(&self) -> &str {
        self.0.prefix()
    }
}

impl Hash for ByPrefix {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.prefix().hash(state);
    }
}

impl PartialEq for ByPrefix {
    fn eq(&self, other: &Self) -> bool {
        self.0.prefix() == other.0.prefix()
    }
}

impl Eq for ByPrefix {}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::PathHasher;
    use crate::route::testing::{spec, table};
    use crate::route::{RouteSpec, RouteTable};

    fn routes<'a>(routes: impl IntoIterator<Item = (Option<&'a str>, &'a str)>) -> RouteTable {
        table(routes.into_iter().map(|(host, path)| RouteSpec {
            name: format!("{}{path}", host.unwrap_or_default()).into(),
            host: host.map(Box::from),
            path: path.into(),
            ..spec("http://up")
        }))
    }

    fn found<'a>(table: &'a RouteTable, host: &str, path: &str) -> Option<&'a str> {
        table.find("app", host, path).map(|route| &*route.spec.name)
    }

    #[test]
    fn prefixes_are_hashed_as_those_who_made_the_hash_say() {
        // Published test vectors of FNV-1a, 64 bits.
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325_u64),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("b", 0xaf63_df4c_8601_f1a5),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hasher = PathHasher::default();
            hasher.write(text.as_bytes());
            assert_eq!(hasher.finish(), hash, "{text}");
        }
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_takes_a_path() {
        let table = routes([(None, "/a"), (None, "/a/b"), (None, "/c/d/e")]);
        for (path, wanted) in [
            ("/a", Some("/a")),
            ("/a/", Some("/a")),
            ("/ab", None),
            ("/a/bc", Some("/a")),
            ("/a/b", Some("/a/b")),
            ("/a/b/c/d/e", Some("/a/b")),
            ("/A", None),
            ("/c/d", None),
            ("/c/d/e/f/g/h", Some("/c/d/e")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(found(&table, "any", path), wanted, "{path}");
        }
        assert_eq!(found(&routes([(None, "/")]), "any", "/x/y"), Some("/"));
        assert!(table.find("another", "any", "/a").is_none(), "of this listener only");
    }

    #[test]
    fn routes_of_a_host_come_first_and_those_of_none_take_the_rest() {
        let table = routes([(Some("one"), "/a"), (None, "/"), (Some("two"), "/b")]);
        assert_eq!(found(&table, "one", "/a"), Some("one/a"));
        assert_eq!(found(&table, "one", "/b"), Some("/"));
        assert_eq!(found(&table, "two", "/b"), Some("two/b"));
        assert_eq!(found(&table, "three", "/b"), Some("/"));
        let matcher = table.listener("app").expect("a listener");
        assert!(matcher.has_hosts() && matcher.has_host("one") && !matcher.has_host("three"));
        let hostless = routes([(None, "/")]);
        let matcher = hostless.listener("app").expect("a listener");
        assert!(!matcher.has_hosts() && !matcher.has_host(""));
    }

    #[test]
    fn of_two_routes_with_one_prefix_the_later_one_takes_its_paths() {
        let spec = |name: &str| RouteSpec { name: name.into(), ..spec("http://up") };
        let table = table([spec("first"), spec("second")]);
        assert_eq!(found(&table, "any", "/r/x"), Some("second"));
    }

    fn paths(segments: usize) -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "ab", "a-b", ""]);
        prop::collection::vec(segment, 1..=segments).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_found_is_what_whoever_looks_at_all_routes_finds(
            prefixes in prop::collection::btree_set(paths(3), 1..8),
            path in paths(5),
        ) {
            let trimmed = |prefix: &str| prefix.trim_end_matches('/').to_owned();
            let mut prefixes: Vec<_> = prefixes.iter().map(|prefix| trimmed(prefix)).collect();
            prefixes.sort();
            prefixes.dedup();
            let named = prefixes.iter().map(|prefix| if prefix.is_empty() { "/" } else { prefix });
            let table = routes(named.map(|prefix| (None, prefix)));
            let takes = |prefix: &&String| {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let longest = prefixes.iter().filter(takes).max_by_key(|prefix| prefix.len());
            let longest = longest.map(|prefix| if prefix.is_empty() { "/" } else { prefix });
            prop_assert_eq!(found(&table, "any", &path), longest);
        }
    }
}
