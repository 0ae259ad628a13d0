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
            Some(host) => self.hosts.entry(host.as_str().into()).or_default(),
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
