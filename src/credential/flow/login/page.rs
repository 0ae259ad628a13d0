//! Pages of a portal: how they are read, where they lead, and what is found on them by CSS selectors.

use http::header::CONTENT_TYPE;
use scraper::{ElementRef, Html, Selector};
use zeroize::Zeroizing;

use crate::credential::flow::login::link;
use crate::secret::{Secret, SecretBuffer};
use crate::upstream::Url;
use crate::upstream::exchange::Answer;

/// What pages call Latin-1, and what browsers take for it (Encoding, section 4.2).
const LATIN: [&str; 4] = ["iso-8859-1", "windows-1252", "latin1", "us-ascii"];

/// A page that goes on within so many seconds is a redirect.
const SOON: f64 = 5.0;

/// An element of a page, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The CSS selector (Selectors Level 4); the first element that matches counts.
    pub selector: String,
    /// Which attribute of it; `None` for its text.
    pub attribute: Option<String>,
}

/// A page that was answered.
pub(super) struct Page {
    /// Where it is.
    pub(super) url: Url,
    /// Its text.
    pub(super) text: Secret,
    /// It is written in Latin-1, and so is what it wants to be sent.
    pub(super) is_latin: bool,
}

impl Page {
    /// Takes an answer for a page. A text that is not UTF-8 is made it: nearly all other charsets of pages agree with
    /// Latin-1 in what is ASCII, as tags and tokens are.
    pub(super) fn of(url: Url, answer: &mut Answer) -> Self {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("text/html").to_ascii_lowercase();
        let is_page = kind.starts_with("text/") || kind.starts_with("application/xhtml");
        let is_broken = answer.body.expose_str().is_none();
        if is_page && is_broken {
            let mut text = SecretBuffer::with_capacity(answer.body.len() * 2);
            for byte in answer.body.expose() {
                text.push(char::from(*byte).encode_utf8(&mut [0; 2]).as_bytes());
            }
            answer.body = text.into();
        }
        let start = answer.body.expose_str().map(|text| text.chars().take(1024).collect::<String>());
        let start = Zeroizing::new(start.unwrap_or_default().to_ascii_lowercase());
        let says_latin = [kind.as_str(), &start].iter().any(|text| {
            LATIN.iter().any(|name| {
                text.contains(&format!("charset={name}")) || text.contains(&format!("charset=\"{name}"))
            })
        });
        Self { url, text: answer.body.clone(), is_latin: is_page && (is_broken || says_latin) }
    }

    /// The URL that its links start from: its own, or what `<base>` says (HTML, section 4.2.3).
    pub(super) fn base(&self) -> Url {
        let text = self.text.expose_str().unwrap_or_default();
        let href = attribute(text, "base[href]", "href");
        href.and_then(|href| link::resolve(&self.url, &href)).unwrap_or_else(|| self.url.clone())
    }

    /// Where the page goes on by itself, at once (HTML, section 4.2.5.3). One that goes somewhere after a while is not
    /// meant: that is the end of a session.
    pub(super) fn refresh(&self) -> Option<String> {
        let text = self.text.expose_str()?;
        let content = attribute(text, "meta[http-equiv=refresh i]", "content")?;
        let (delay, rest) = content.trim().split_once([';', ','])?;
        let rest = rest.trim();
        let is_url = rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("url"));
        let to = rest.get(3..).filter(|_| is_url)?.trim_start().strip_prefix('=')?;
        let is_at_once = delay.trim().parse::<f64>().is_ok_and(|delay| delay <= SOON);
        is_at_once.then(|| to.trim().trim_matches(['"', '\'']).to_owned())
    }

    /// A value as a form of this page is sent (HTML, section 4.10.21.5).
    pub(super) fn encoded(&self, value: &[u8]) -> Zeroizing<Vec<u8>> {
        let text = std::str::from_utf8(value).ok().filter(|_| self.is_latin);
        let Some(text) = text else { return Zeroizing::new(value.to_vec()) };
        let mut written = Zeroizing::new(Vec::with_capacity(value.len() * 8));
        for next in text.chars() {
            match u8::try_from(next) {
                Ok(byte) => written.push(byte),
                Err(_) => written.extend_from_slice(format!("&#{};", u32::from(next)).as_bytes()),
            }
        }
        written
    }
}

/// Whether a text is a CSS selector.
pub fn is_selector(text: &str) -> bool {
    Selector::parse(text).is_ok()
}

/// Whether any element of a page matches.
pub(super) fn has(page: &str, selector: &str) -> bool {
    first(&Html::parse_document(page), selector).is_some()
}

/// What a selection finds on a page; an error says why it finds nothing.
pub(in crate::credential::flow) fn find(page: &str, selection: &Selection) -> Result<Secret, String> {
    let Selection { selector, attribute } = selection;
    let page = Html::parse_document(page);
    let element = first(&page, selector).ok_or_else(|| unmatched(selector))?;
    match attribute {
        None => Ok(Secret::from(element.text().collect::<String>().trim())),
        Some(name) => {
            let value = element.value().attr(name).map(|value| Secret::from(value.trim()));
            value.ok_or_else(|| format!("what `{selector}` matches has no attribute `{name}`"))
        }
    }
}

/// An attribute of the first element that matches.
fn attribute(page: &str, selector: &str, name: &str) -> Option<String> {
    first(&Html::parse_document(page), selector)?.value().attr(name).map(str::to_owned)
}

/// What is told of a selector that finds nothing.
pub(super) fn unmatched(selector: &str) -> String {
    format!("nothing on the page matches `{selector}`: has the page changed?")
}

fn first<'a>(page: &'a Html, selector: &str) -> Option<ElementRef<'a>> {
    page.select(&Selector::parse(selector).ok()?).next()
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Page, Selection, find, has, is_selector};
    use crate::upstream::exchange::Answer;

    pub(in crate::credential::flow::login) const PAGE: &str = r#"<!doctype html><title>Login</title>
        <script>var a = "<form id=fake><input name=csrf value=no>";</script>
        <!-- <form id="old"><input type="hidden" name="csrf" value="old"></form> -->
        <form id=login action="/users/login?x=1&amp;y=2" method=post>
          <input type=hidden name=_csrf value="a&quot;b&#x2F;c"><INPUT TYPE="Hidden" NAME="empty">
          <input type=hidden name=off value=1 disabled><input type=hidden value=nameless>
          <input name=email><input type=password name=password>
        </form>
        <form id=search><p class="note big"> Your <b>token</b> &amp; more </p></form>"#;

    fn found(selector: &str, attribute: Option<&str>) -> Result<String, String> {
        let selection = Selection { selector: selector.to_owned(), attribute: attribute.map(str::to_owned) };
        find(PAGE, &selection).map(|value| value.expose_str().expect("text").to_owned())
    }

    #[test]
    fn a_selection_is_the_attribute_or_the_text_of_the_first_match() {
        assert_eq!(found("input[name=_csrf]", Some("value")).as_deref(), Ok("a\"b/c"));
        assert_eq!(found("form p.note", None).as_deref(), Ok("Your token & more"));
        assert_eq!(found("form:has(input[type=password])", Some("id")).as_deref(), Ok("login"));
        assert_eq!(found("#old, #fake", Some("id")), Err(super::unmatched("#old, #fake")));
        let error = found("#login", Some("target")).expect_err("there is no such attribute");
        assert!(error.contains("`#login`") && error.contains("`target`"), "{error}");
    }

    fn page(head: &str, body: &[u8]) -> Page {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, head.parse().expect("a field"));
        let body = crate::secret::Secret::new(body);
        let mut answer = Answer { status: http::StatusCode::OK, headers, body };
        Page::of("http://portal.example/a/b".parse().expect("a URL"), &mut answer)
    }

    #[test]
    fn a_page_that_goes_on_by_itself_says_where_to_and_when() {
        for (content, expected) in [
            ("0; url=/dashboard", Some("/dashboard")),
            ("0;URL='dashboard?a=1'", Some("dashboard?a=1")),
            ("2, url = https://portal.example/x", Some("https://portal.example/x")),
            ("900; url=/logout", None),
            ("0", None),
            ("soon; url=/x", None),
        ] {
            let text = format!("<head><meta http-equiv=Refresh content=\"{content}\"></head>");
            assert_eq!(page("text/html", text.as_bytes()).refresh().as_deref(), expected, "{content}");
        }
        assert_eq!(page("text/html", b"<p>none</p>").refresh(), None);
    }

    #[test]
    fn links_start_from_where_the_page_says() {
        assert_eq!(page("text/html", b"<p>").base().to_string(), "http://portal.example/a/b");
        assert_eq!(page("text/html", b"<base href='/c/'>").base().to_string(), "http://portal.example/c/");
    }

    #[test]
    fn a_page_in_latin_1_is_read_and_answered_in_latin_1() {
        let latin = page("text/html", b"<title>B\xfcro</title>");
        assert_eq!(latin.text.expose_str(), Some("<title>B\u{fc}ro</title>"));
        assert_eq!(latin.encoded("p\u{fc}\u{20ac}".as_bytes()).as_slice(), b"p\xfc&#8364;");
        for (kind, text) in [
            ("text/html; charset=ISO-8859-1", &b"<p>"[..]),
            ("text/html", b"<meta charset=\"windows-1252\"><p>"),
        ] {
            assert!(page(kind, text).is_latin, "{kind}");
        }
        let usual = page("text/html; charset=utf-8", "<p>\u{fc}".as_bytes());
        assert_eq!(usual.encoded("\u{fc}".as_bytes()).as_slice(), "\u{fc}".as_bytes());
        assert!(!usual.is_latin && !page("application/json", b"\xff").is_latin);
    }

    #[test]
    fn what_is_no_selector_matches_nothing() {
        assert!(is_selector("a:not([href])") && !is_selector("a[") && !is_selector(""));
        assert!(has(PAGE, "script") && !has(PAGE, "a["));
    }
}
