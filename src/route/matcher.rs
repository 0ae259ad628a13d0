//! Which route takes a request: by host, then by the longest segment-aligned prefix of the path.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::memory::ahead;
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
    /// By the hash of its prefix; if another's is the same by chance, by the next number that is free. The prefix is
    /// not kept beside it: what is read to compare it is read for the request anyway.
    routes: HashMap<u64, Arc<Route>, BuildHasherDefault<Hashed>>,
    /// Slashes in the deepest prefix; `/` counts none.
    depth: usize,
}

/// FNV-1a: paths are short, and only the configuration says which prefixes there are, so that nobody can
/// make them collide.
fn hash(prefix: &[u8]) -> u64 {
    prefix
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of a number that is a hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are asked for");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
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

    /// The route that most requests of this target go to, and has the processor bring it. Whether it is the one,
    /// [`Self::find`] says.
    pub fn bring_likely(&self, target: &[u8]) -> Option<&Arc<Route>> {
        self.any_host.likely(target).inspect(|route| ahead::bring(&***route))
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
        let mut key = hash(route.prefix().as_bytes());
        while self.routes.get(&key).is_some_and(|other| other.prefix() != route.prefix()) {
            key = key.wrapping_add(1);
        }
        self.routes.insert(key, route);
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if self.routes.is_empty() {
            return None;
        }
        // A prefix ends before a slash or with the path: start at the deepest that there is.
        let mut end = memchr::memchr_iter(b'/', path.as_bytes()).nth(self.depth).unwrap_or(path.len());
        loop {
            if let Some(route) = self.of(&path[..end]) {
                return Some(route);
            }
            end = path[..end].rfind('/')?;
        }
    }

    /// The route of exactly this prefix.
    fn of(&self, prefix: &str) -> Option<&Arc<Route>> {
        let mut key = hash(prefix.as_bytes());
        loop {
            let route = self.routes.get(&key)?;
            if route.prefix() == prefix {
                return Some(route);
            }
            key = key.wrapping_add(1);
        }
    }

    /// The route of the deepest prefix that a target can have, if it is not another with the same hash.
    fn likely(&self, target: &[u8]) -> Option<&Arc<Route>> {
        let end = memchr::memchr2_iter(b'/', b'?', target).nth(self.depth).unwrap_or(target.len());
        self.routes.get(&hash(&target[..end]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Prefixes;
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
            assert_eq!(super::hash(text.as_bytes()), hash, "{text}");
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
    fn prefixes_of_one_hash_are_told_apart() {
        let routes = routes([(None, "/a"), (None, "/b")]);
        let matcher = routes.listener("app").expect("a listener");
        let route = |path| matcher.find("", path).expect("a route").clone();
        let mut prefixes = Prefixes::default();
        // As if the hash of the one were that of the other.
        prefixes.routes.insert(super::hash(b"/b"), route("/a"));
        prefixes.insert(route("/b"));
        assert_eq!(prefixes.find("/b/c").map(|found| found.prefix()), Some("/b"));
        assert!(prefixes.find("/c").is_none());
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
            let matcher = table.listener("app").expect("a listener");
            if let Some(likely) = matcher.bring_likely(format!("{path}?to=/a/b").as_bytes()) {
                prop_assert_eq!(Some(&*likely.spec.name), longest);
            }
        }
    }
}
