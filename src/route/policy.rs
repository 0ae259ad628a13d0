//! What a route lets pass: `allow` patterns, and token endpoints that are never reached.

use std::sync::Arc;

use http::Method;

use crate::route::path::{INDEX, Shape, canonical, readings};
use crate::route::{AllowRule, Terms};

/// What one route lets pass.
#[derive(Debug)]
pub struct Policy {
    allow: Arc<[AllowRule]>,
    denied: Arc<[String]>,
}

/// The path that a route puts before those of its requests, without a slash at the end.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The path.
    pub path: &'a str,
    /// It has but one spelling, save for letter case.
    pub is_canonical: bool,
}

impl<'a> Base<'a> {
    /// Looks how a path is spelt.
    pub fn new(path: &'a str) -> Self {
        Self { path, is_canonical: canonical(path) == path.to_ascii_lowercase() }
    }
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
    /// The policy of these terms.
    pub fn new(terms: &Terms) -> Self {
        Self { allow: Arc::clone(&terms.allow), denied: Arc::clone(&terms.denied) }
    }

    /// Whether it takes some methods and paths only.
    pub fn is_restricted(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Judges a request by its method, its stripped path and the path before it upstream, both
    /// without the query.
    pub fn check<'a>(
        &self,
        method: &Method,
        base: impl FnOnce() -> Base<'a>,
        stripped: &str,
        shape: Shape,
    ) -> Result<(), Denial> {
        let path = if stripped.is_empty() { "/" } else { stripped };
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.takes(method, path)) {
            return Err(Denial::NoRule);
        }
        if self.denied.is_empty() {
            return Ok(());
        }
        let (base, rest) = (base(), stripped.trim_end_matches('/'));
        let has_index = || {
            rest.split_at_checked(rest.len().saturating_sub(INDEX.len()))
                .is_some_and(|(_, end)| end.eq_ignore_ascii_case(INDEX))
        };
        let is_short = || !stripped.contains("//") && !stripped.contains(['.', '+']) && !has_index();
        let is_denied = if shape.plain && base.is_canonical && is_short() {
            // Letter case and a trailing slash are all that can differ.
            self.denied.iter().any(|denied| is_concatenation(denied, base.path, rest))
        } else {
            readings(&format!("{}{stripped}", base.path)).iter().any(|read| self.denied.contains(read))
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
    use proptest::prelude::*;

    use super::{Base, Denial, Policy, could_ask_for_tokens, matches};
    use crate::route::path::{self, canonical};
    use crate::route::testing::terms;
    use crate::route::{AllowRule, Terms};
    use crate::upstream::Url;

    /// What a route to `upstream` with these denied endpoints says of a path.
    fn judged(upstream: &str, denied: &[&str], path: &str) -> Result<(), Denial> {
        let denied = denied.iter().map(|endpoint| canonical(endpoint)).collect();
        let upstream: Url = upstream.parse().expect("a URL");
        let base = Base::new(upstream.path().trim_end_matches('/'));
        let shape = path::check(path).expect("it has one reading");
        Policy::new(&Terms { denied, ..terms() }).check(&Method::GET, || base, path, shape)
    }

    #[test]
    fn what_no_rule_takes_is_denied_where_there_are_rules() {
        let rule = AllowRule { method: Some(Method::GET), pattern: "/".into() };
        let free = Policy::new(&terms());
        let restricted = Policy::new(&Terms { allow: [rule].into(), ..terms() });
        assert!(!free.is_restricted() && restricted.is_restricted());
        let shape = path::check("/").expect("it has one reading");
        for (method, path, judged) in [
            (Method::GET, "", Ok(())),
            (Method::GET, "/", Ok(())),
            (Method::POST, "/", Err(Denial::NoRule)),
            (Method::GET, "/x", Err(Denial::NoRule)),
        ] {
            assert_eq!(restricted.check(&method, || Base::new(""), path, shape), judged, "{method} {path}");
            assert_eq!(free.check(&method, || Base::new(""), path, shape), Ok(()));
        }
    }

    #[test]
    fn a_token_endpoint_is_denied_in_every_spelling_and_its_neighbours_are_not() {
        for (upstream, path, is_denied) in [
            ("http://up", "/oauth/token", true),
            ("http://up", "/OAuth/Token/", true),
            ("http://up", "//oauth//token", true),
            ("http://up", "/oauth/token.json", true),
            ("http://up", "/oauth/%74oken", true),
            ("http://up", "/oauth;x=1/token;y", true),
            ("http://up", "/oauth/token/index", true),
            ("http://up", "/oauth/token/Index/", true),
            ("http://up/oauth/token", "/index", true),
            ("http://up", "/oauth/token/more", false),
            ("http://up", "/oauth/tokens", false),
            ("http://up", "/oauth", false),
            ("http://up", "/", false),
            ("http://up/oauth", "/token", true),
            ("http://up/OAUTH/", "/token", true),
            ("http://up/oauth", "/toke", false),
            ("http://up/oaut", "/h/token", false),
            ("http://up/%6fauth", "/token", true),
            ("http://up//oauth", "/token", true),
        ] {
            let wanted = if is_denied { Err(Denial::TokenEndpoint) } else { Ok(()) };
            assert_eq!(judged(upstream, &["/other", "/oauth/token"], path), wanted, "{upstream} {path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_path_is_denied_if_its_canonical_form_is_an_endpoint_however_it_is_compared(
            segments in prop::collection::vec(
                prop::sample::select(vec!["a", "B", "token", "Token", "", "a.b", "a.json", "%61", "a;x", "to ken"]),
                0..5,
            ),
            base in prop::sample::select(vec!["", "/a", "/A/b", "/a//b", "/a.json", "/%61"]),
            endpoint in prop::sample::select(vec!["/a", "/a/b/token", "/token", "/a/token", "/a/b", "/a/a/b"]),
        ) {
            let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
            let path = path.replace(' ', "%20");
            let wanted = canonical(&format!("{base}{path}")) == endpoint;
            let judged = judged(&format!("http://up{base}"), &[endpoint], &path);
            prop_assert_eq!(judged, if wanted { Err(Denial::TokenEndpoint) } else { Ok(()) });
        }
    }

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
