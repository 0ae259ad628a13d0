//! The plain pages that a browser sees on its way to an issuer and back. Everything is in the page: no
//! script, no image, nothing from elsewhere.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The style of all pages; light and dark by the browser's wish.
const STYLE: &str = "\
:root{color-scheme:light dark;font:17px/1.5 system-ui,sans-serif}\
body{max-width:34rem;margin:15vh auto;padding:0 1.5rem}\
h1{font-size:1.4rem}\
code{font-size:1.6rem;letter-spacing:.1em}";

/// What the pages may do: show themselves. The style is named by its digest (Content Security Policy
/// Level 3, section 2.3.1).
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// A person has consented.
pub fn done() -> String {
    page("You are logged in", "<p>bearerd has what it needs. You can close this window.</p>")
}

/// A login came to nothing.
pub fn failed(why: &str) -> String {
    let why = escaped(why.trim_end_matches('.'));
    page("The login came to nothing", &format!("<p>{why}.</p><p>Close this window and begin again.</p>"))
}

/// A person goes on at another device, or at this one.
pub fn device(user_code: &str, verification_uri: &str, complete: Option<&str>) -> String {
    let (code, uri) = (escaped(user_code), escaped(verification_uri));
    let link = escaped(complete.unwrap_or(verification_uri));
    page(
        "Confirm on any device",
        &format!(
            "<p>Open <a href=\"{link}\" rel=\"noreferrer\">{uri}</a> and type this code:</p><p><code>{code}</code></p>"
        ),
    )
}

/// A person has to be asked by the app itself.
pub fn elsewhere() -> String {
    page("Log in from the app", "<p>This login takes a one-time password, for which the app asks.</p>")
}

fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>{content}</main></html>\n"
    )
}

/// A text of somebody else's, so that it stays text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for next in text.chars() {
        match next {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{POLICY, device, failed};

    #[test]
    fn what_others_say_stays_text_on_a_page() {
        let page = failed("<script>alert('x')</script>");
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
        let page = device("\"><img>", "https://a/?b=\"c\"", None);
        assert!(!page.contains("<img") && page.contains("href=\"https://a/?b=&quot;c&quot;\""), "{page}");
    }

    #[test]
    fn the_policy_lets_a_page_load_and_run_nothing() {
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!POLICY.contains("unsafe") && !failed("too late").contains("src="));
    }
}
