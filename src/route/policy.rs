//! What a route lets pass: `allow` patterns, and token endpoints that are never reached.

use std::sync::Arc;

use http::Method;

use crate::route::path::{Shape, canonical};
use crate::route::{AllowRule, RouteSpec};

/// What one route lets pass.
#[derive(Debug)]
pub struct Policy {
    allow: Arc<[AllowRule]>,
    denied: Arc<[String]>,
    /// The upstream's own path has but one spelling, save for letter case.
    base_is_canonical: bool,
}

/// Why a route does not let a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// None of its `allow` rules takes the method and the path.
    NoRule,
    /// The path leads to a token endpoint.
    TokenEndpoint,
}

impl Policy {
    /// The policy of a route.
    pub fn new(spec: &RouteSpec) -> Self {
        let base = spec.upstream.path().trim_end_matches('/');
        let base_is_canonical = canonical(base) == base.to_ascii_lowercase();
        Self { allow: Arc::clone(&spec.allow), denied: Arc::clone(&spec.denied), base_is_canonical }
    }

    /// Whether it takes some methods and paths only.
    pub fn is_restricted(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Judges a request by its method, its stripped path and the path before it upstream, both
    /// without the query.
    pub fn check(&self, method: &Method, base: &str, stripped: &str, shape: Shape) -> Result<(), Denial> {
        let path = if stripped.is_empty() { "/" } else { stripped };
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.takes(method, path)) {
            return Err(Denial::NoRule);
        }
        if self.denied.is_empty() {
            return Ok(());
        }
        let is_short = || !stripped.contains("//") && !stripped.contains('.');
        let is_denied = if shape.plain && self.base_is_canonical && is_short() {
            // Letter case and a trailing slash are all that can differ.
            let rest = stripped.trim_end_matches('/');
            self.denied.iter().any(|denied| is_concatenation(denied, base, rest))
        } else {
            self.denied.contains(&canonical(&format!("{base}{stripped}")))
        };
        if is_denied { Err(Denial::TokenEndpoint) } else { Ok(()) }
    }
}

/// Whether a request could ask a token endpoint for something, whatever its path: those take POST (RFC 6749,
/// section 3.2), and some of them, against the rule, GET with the grant in the query.
pub fn could_ask_for_tokens(method: &Method, query: Option<&str>, has_body: bool) -> bool {
    let names_grant =
        |query| form_urlencoded::parse(str::as_bytes(query)).any(|(name, _)| name == "grant_type");
    has_body
        || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || query.is_some_and(names_grant)
}

fn is_concatenation(whole: &str, first: &str, second: &str) -> bool {
    whole.len() == first.len() + second.len()
        && whole.as_bytes()[..first.len()].eq_ignore_ascii_case(first.as_bytes())
        && whole.as_bytes()[first.len()..].eq_ignore_ascii_case(second.as_bytes())
}

impl AllowRule {
    /// Whether the rule takes this method and this stripped path.
    pub fn takes(&self, method: &Method, path: &str) -> bool {
        let method_fits = match &self.method {
            None => true,
            Some(wanted) => wanted == method || (wanted == Method::GET && method == Method::HEAD),
        };
        method_fits && matches(self.pattern.as_bytes(), path.as_bytes())
    }
}

/// Whether `path` fits `pattern`; `*` stands for any bytes of one segment, `**` for any bytes at
/// all. Goes back to the last star only, so that no pattern takes more than quadratic time.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on if what follows the last `*` (or `**`) does not fit.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[at..].starts_with(b"**") {
            at += 2;
            double = Some((at, position));
            single = None;
        } else if pattern[at..].starts_with(b"*") {
            at += 1;
            single = Some((at, position));
        } else if at < pattern.len() && path.get(position) == Some(&pattern[at]) {
            at += 1;
            position += 1;
        } else if at == pattern.len() && position == path.len() {
            return true;
        } else if let Some((resume, from)) =
            single.filter(|(_, from)| path.get(*from).is_some_and(|byte| *byte != b'/'))
        {
            single = Some((resume, from + 1));
            (at, position) = (resume, from + 1);
        } else if let Some((resume, from)) = double.filter(|(_, from)| *from < path.len()) {
            double = Some((resume, from + 1));
            single = None;
            (at, position) = (resume, from + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{could_ask_for_tokens, matches};
    use crate::route::AllowRule;

    #[test]
    fn a_star_stays_in_a_segment_and_two_stars_cross() {
        for (pattern, path, fits) in [
            ("/user/*", "/user/me", true),
            ("/user/*", "/user/", true),
            ("/user/*", "/user", false),
            ("/user/*", "/user/me/more", false),
            ("/user/**", "/user/me/more", true),
            ("/**", "/", true),
            ("/**/end", "/a/b/end", true),
            ("/**/end", "/a/b/ending", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a*c", "/abcabc", true),
            ("/a*c/**/x*", "/abc/d/e/x1", true),
            ("/health", "/health", true),
            ("/health", "/health/", false),
            ("/health", "/Health", false),
            ("/*/**/b*c/d", "/x/y/bzc/e/bac/d", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn what_could_ask_for_tokens_is_all_but_a_plain_question() {
        for (method, query, has_body, could) in [
            (Method::GET, None, false, false),
            (Method::GET, Some("page=2&grant=x"), false, false),
            (Method::HEAD, None, false, false),
            (Method::OPTIONS, None, false, false),
            (Method::GET, None, true, true),
            (Method::GET, Some("a=b&grant%5ftype=password"), false, true),
            (Method::POST, None, false, true),
            (Method::PUT, None, true, true),
            (Method::from_bytes(b"get").expect("a method"), None, false, true),
        ] {
            assert_eq!(
                could_ask_for_tokens(&method, query, has_body),
                could,
                "{method} {query:?} {has_body}"
            );
        }
    }

    #[test]
    fn get_covers_head_and_no_method_covers_all() {
        let rule = |method| AllowRule { method, pattern: "/x".into() };
        assert!(rule(Some(Method::GET)).takes(&Method::HEAD, "/x"));
        assert!(!rule(Some(Method::GET)).takes(&Method::POST, "/x"));
        assert!(!rule(Some(Method::HEAD)).takes(&Method::GET, "/x"));
        assert!(rule(None).takes(&Method::DELETE, "/x"));
    }
}
