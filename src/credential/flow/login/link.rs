//! Where a link on a page leads (RFC 3986, section 5): the action of a form, the target of a redirect.

use crate::upstream::Url;

/// The URL that `reference`, found at `base`, means; `None` if it is none that could be asked.
pub(super) fn resolve(base: &Url, reference: &str) -> Option<Url> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or_default();
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    if has_scheme(reference) {
        return reference.parse().ok();
    }
    let scheme = base.origin.scheme.as_str();
    if reference.starts_with("//") {
        return format!("{scheme}:{reference}").parse().ok();
    }
    let folder = base.path().rfind('/').map_or("/", |end| &base.path()[..=end]);
    let path = match path {
        "" => base.path().to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => without_dots(&format!("{folder}{path}")),
    };
    let query = query.or_else(|| base.path_and_query.query().filter(|_| reference.is_empty()));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{path}{query}", base.origin).parse().ok()
}

/// Whether it begins with a scheme (section 3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path with its dot segments resolved (section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let path = path.strip_prefix('/').unwrap_or(path);
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let is_folder = matches!(path.rsplit('/').next(), Some("." | ".."));
    format!("/{}{}", kept.join("/"), if is_folder && !kept.is_empty() { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::upstream::Url;

    fn resolved(reference: &str) -> Option<String> {
        let base: Url = "http://portal.example:81/auth/users/login?next=1".parse().expect("a URL");
        resolve(&base, reference).map(|url| url.to_string())
    }

    #[test]
    fn references_are_resolved_as_browsers_do() {
        for (reference, expected) in [
            ("", "http://portal.example:81/auth/users/login?next=1"),
            ("#top", "http://portal.example:81/auth/users/login?next=1"),
            ("?error", "http://portal.example:81/auth/users/login?error"),
            ("dashboard", "http://portal.example:81/auth/users/dashboard"),
            ("./dashboard?a=b:c#x", "http://portal.example:81/auth/users/dashboard?a=b:c"),
            ("../token/new", "http://portal.example:81/auth/token/new"),
            ("../../../..", "http://portal.example:81/"),
            ("..", "http://portal.example:81/auth/"),
            ("/users/x", "http://portal.example:81/users/x"),
            (" /users/x ", "http://portal.example:81/users/x"),
            ("//other.example/y", "http://other.example/y"),
            ("https://portal.example/z?q", "https://portal.example/z?q"),
        ] {
            assert_eq!(resolved(reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_no_url() {
        for reference in ["javascript:alert(1)", "mailto:me@example", "ftp://x/", "http://"] {
            assert_eq!(resolved(reference), None, "{reference}");
        }
    }
}
