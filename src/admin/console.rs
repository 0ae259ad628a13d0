//! The console: one page at `/`, with all its style and script inside.
//!
//! The page holds no data; its script reads `/v1/overview` and `/v1/events`. Its policy names the
//! digests of that one style and that one script, so that nothing else can run in it, whatever the
//! texts that it shows say.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::admin::answer::{Answer, typed};

const PAGE: &str = include_str!("console/page.html");
const STYLE: &str = include_str!("console/page.css");
/// In the order in which they build on each other.
const SCRIPTS: [&str; 9] = [
    include_str!("console/element.js"),
    include_str!("console/time.js"),
    include_str!("console/session.js"),
    include_str!("console/credentials.js"),
    include_str!("console/list.js"),
    include_str!("console/routes.js"),
    include_str!("console/login.js"),
    include_str!("console/subjects.js"),
    include_str!("console/live.js"),
];

/// What browsers may do beside showing the page: nothing.
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

struct Console {
    page: String,
    policy: HeaderValue,
}

static CONSOLE: LazyLock<Console> = LazyLock::new(|| {
    let script = SCRIPTS.concat();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(&script),
        source(STYLE),
    );
    Console {
        page: PAGE.replace("{style}", STYLE).replace("{script}", &script),
        policy: HeaderValue::try_from(policy).expect("base64 and fixed text are a field value"),
    }
});

/// A hash source (Content Security Policy Level 3, section 2.3.1).
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// The page.
pub(super) fn page() -> Answer {
    let mut answer = typed(StatusCode::OK, "text/html; charset=utf-8", CONSOLE.page.as_str());
    let fields = answer.headers_mut();
    fields.insert(CONTENT_SECURITY_POLICY, CONSOLE.policy.clone());
    for (name, value) in [
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (PERMISSIONS, "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::{CONSOLE, SCRIPTS, STYLE, source};

    /// What stands between two texts.
    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        let rest = text.split_once(start).expect("a start").1;
        rest.split_once(end).expect("an end").0
    }

    #[test]
    fn the_policy_names_the_digests_of_what_stands_in_the_page() {
        let policy = CONSOLE.policy.to_str().expect("text");
        let script = between(&CONSOLE.page, "<script type=\"module\">", "</script>");
        assert!(policy.contains(&format!("script-src {};", source(script))));
        let style = between(&CONSOLE.page, "<style>", "</style>");
        assert!(policy.contains(&format!("style-src {};", source(style))));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere_and_no_text_becomes_markup() {
        let page = CONSOLE.page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["://", "src=\"", "@import", "url(", "style=\"", "onclick"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for risk in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPTS.iter().any(|script| script.contains(risk)), "{risk}");
        }
        assert!(!STYLE.contains("</") && SCRIPTS.iter().all(|script| !script.contains("</script")));
    }
}
