//! Where a browser may be sent on to after a login. Anything else would be an open redirect: a link to
//! bearerd that ends at a stranger's page.

use crate::credential::consent::ConsentSpec;
use crate::upstream::Url;

/// The longest place to return to, in bytes.
const LONGEST: usize = 2048;

/// A place that may be returned to, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReturnTo(String);

impl ReturnTo {
    /// Checks a place: a path of the listener that the browser came back to, a URL of this machine, or
    /// one below a configured place.
    pub(super) fn check(text: &str, spec: &ConsentSpec) -> Result<Self, String> {
        let refused = |why: &str| format!("`return_to` cannot be used: {why}");
        if text.len() > LONGEST {
            return Err(refused("it is longer than 2048 bytes"));
        }
        // Browsers read a backslash as a slash, and drop line breaks.
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
            return Err(refused("it has blanks, backslashes or characters that are not percent-encoded"));
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return Ok(Self(text.to_owned()));
        }
        let url: Url = text.parse().map_err(refused)?;
        if url.origin.is_loopback() || spec.return_to.iter().any(|allowed| is_below(&url, allowed)) {
            return Ok(Self(text.to_owned()));
        }
        Err(refused("it leads to another machine, and the credential's `return_to` does not allow that"))
    }

    /// Where to send the browser. After a failure the query says which.
    pub(super) fn location(&self, failure: Option<&str>) -> String {
        let Some(code) = failure else { return self.0.clone() };
        let (place, fragment) = self.0.split_at(self.0.find('#').unwrap_or(self.0.len()));
        let joint = if place.contains('?') { '&' } else { '?' };
        format!("{place}{joint}error={code}{fragment}")
    }
}

/// Whether a URL is at the place or below it, by whole segments.
fn is_below(url: &Url, place: &Url) -> bool {
    let (path, prefix) = (url.path(), place.path().trim_end_matches('/'));
    let is_dotted = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(segment.as_str(), "." | "..")
    };
    url.origin == place.origin
        && !path.split('/').any(is_dotted)
        && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::ReturnTo;
    use crate::credential::consent::ConsentSpec;

    fn check(text: &str) -> Result<ReturnTo, String> {
        let allowed = ["https://app.example/done", "https://b.example:8443"];
        let return_to = allowed.map(|url| url.parse().expect("a URL")).to_vec();
        ReturnTo::check(text, &ConsentSpec { return_to, ..ConsentSpec::default() })
    }

    #[test]
    fn a_browser_is_sent_on_to_this_machine_or_to_a_configured_place_only() {
        for good in [
            "/",
            "/done?x=//evil.example",
            "http://localhost:3000/done",
            "http://127.0.0.1/",
            "https://[::1]:1/x",
            "https://app.example/done",
            "https://APP.example/done/x?y=1",
            "https://b.example:8443/any",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "done",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/done",
            "https://app.example/",
            "https://app.example/donex",
            "https://app.example/done/../x",
            "https://app.example/done/%2E%2e/x",
            "http://app.example/done",
            "https://app.example:444/done",
            "https://app.example.evil.example/done",
            "https://app.example@evil.example/done",
            "https://localhost.evil.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/x\r\nSet-Cookie: a=b",
            "https://b.example/any",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&format!("/{}", "x".repeat(2048))).is_err());
    }

    #[test]
    fn a_failure_is_told_in_the_query() {
        let at = |text: &str| check(text).expect("a place");
        assert_eq!(at("/done").location(None), "/done");
        assert_eq!(at("/done").location(Some("consent_denied")), "/done?error=consent_denied");
        assert_eq!(at("/done?a=b").location(Some("x")), "/done?a=b&error=x");
        assert_eq!(at("/done#step-2").location(Some("x")), "/done?error=x#step-2", "and not in the fragment");
    }
}
