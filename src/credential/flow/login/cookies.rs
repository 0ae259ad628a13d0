//! The cookies that the steps of one login carry from answer to request (RFC 6265): names, values,
//! domains, paths, `Secure` and early ends. They are forgotten when the login is done.

use http::HeaderMap;
use http::header::SET_COOKIE;
use jiff::Timestamp;

use crate::secret::{Secret, SecretBuffer};
use crate::upstream::{Scheme, Url};

/// So many cookies are kept; more are not learned.
const MOST_COOKIES: usize = 50;

/// The cookies of one login.
#[derive(Default)]
pub(super) struct Cookies(Vec<Cookie>);

struct Cookie {
    name: String,
    value: Secret,
    /// The host, or the domain that its subdomains share.
    domain: String,
    host_only: bool,
    path: String,
    secure: bool,
}

impl Cookies {
    /// Learns what an answer from `url` sets, and forgets what it ends (section 5.3).
    pub(super) fn learn(&mut self, url: &Url, headers: &HeaderMap, now: Timestamp) {
        for field in headers.get_all(SET_COOKIE) {
            let Some((cookie, ended)) = field.to_str().ok().and_then(|field| parse(field, url, now)) else {
                continue;
            };
            self.0.retain(|known| {
                (&known.name, &known.domain, &known.path) != (&cookie.name, &cookie.domain, &cookie.path)
            });
            if !ended && self.0.len() < MOST_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// The `Cookie` field for a request to `url` (section 5.4); `None` if there is nothing to send.
    pub(super) fn for_request(&self, url: &Url) -> Option<SecretBuffer> {
        let mut sent: Vec<_> = self.0.iter().filter(|cookie| cookie.matches(url)).collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut field = SecretBuffer::default();
        for cookie in sent {
            if !field.is_empty() {
                field.push(b"; ");
            }
            field.push(cookie.name.as_bytes());
            field.push(b"=");
            field.push(cookie.value.expose());
        }
        (!field.is_empty()).then_some(field)
    }
}

/// The value of the cookie `name` that an answer sets.
pub(super) fn set_by(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let mut pairs = headers.get_all(SET_COOKIE).iter().filter_map(|field| pair(field.to_str().ok()?));
    pairs.rfind(|(found, _)| *found == name).map(|(_, value)| Secret::from(value))
}

impl Cookie {
    fn matches(&self, url: &Url) -> bool {
        let host = &url.origin.host;
        let domain = if self.host_only { **host == *self.domain } else { is_within(host, &self.domain) };
        let path = url.path();
        // Section 5.1.4: a prefix, and at the border of a segment.
        let on_path = path
            .strip_prefix(&self.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'));
        domain && on_path && (!self.secure || url.origin.scheme == Scheme::Https)
    }
}

/// Whether `host` is `domain` or one of its subdomains (section 5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Name and value.
fn pair(field: &str) -> Option<(&str, &str)> {
    let (name, value) = field.split(';').next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then_some((name, value))
}

/// One `Set-Cookie` field, and whether it ends the cookie instead of setting it. `None` if it is to
/// be ignored.
fn parse(field: &str, url: &Url, now: Timestamp) -> Option<(Cookie, bool)> {
    let (name, value) = pair(field)?;
    let host = &url.origin.host;
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: Secret::from(value),
        domain: host.to_string(),
        host_only: true,
        path: default_path(url.path()).to_owned(),
        secure: false,
    };
    let (mut expired, mut max_age) = (false, None);
    for attribute in field.split(';').skip(1) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                if domain.is_empty() || *domain == **host {
                    continue;
                }
                // A cookie for all of a top-level domain is nobody's.
                if !domain.contains('.') || !is_within(host, &domain) {
                    return None;
                }
                cookie.domain = domain;
                cookie.host_only = false;
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
            "expires" => {
                expired = httpdate::parse_http_date(value)
                    .ok()
                    .and_then(|end| Timestamp::try_from(end).ok())
                    .is_some_and(|end| end <= now);
            }
            _ => {}
        }
    }
    // Section 4.1.2.2: `Max-Age` wins over `Expires`.
    let ended = max_age.map_or(expired, |seconds| seconds <= 0);
    Some((cookie, ended))
}

/// The folder of the path (section 5.1.4).
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::SET_COOKIE;
    use jiff::Timestamp;

    use super::{Cookies, set_by};
    use crate::upstream::Url;

    const FROM: &str = "https://login.vendor.example/auth/start";

    fn learned(fields: &[&str]) -> Cookies {
        let mut cookies = Cookies::default();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(SET_COOKIE, field.parse().expect(field));
        }
        cookies.learn(&url(FROM), &headers, Timestamp::UNIX_EPOCH);
        cookies
    }

    fn url(text: &str) -> Url {
        text.parse().expect(text)
    }

    fn sent(cookies: &Cookies, to: &str) -> String {
        let field = cookies.for_request(&url(to));
        field.map(|field| String::from_utf8(field.expose().to_vec()).expect("text")).unwrap_or_default()
    }

    #[test]
    fn a_cookie_goes_back_to_its_host_and_folder_only() {
        let cookies = learned(&["SID=a=b; HttpOnly", "T=1; Path=/", "U=\"q\"; path=/other"]);
        assert_eq!(sent(&cookies, FROM), "SID=a=b; T=1");
        assert_eq!(sent(&cookies, "https://login.vendor.example/author"), "T=1");
        assert_eq!(sent(&cookies, "https://login.vendor.example/other/x"), "U=\"q\"; T=1");
        assert_eq!(sent(&cookies, "https://api.vendor.example/auth/start"), "");
    }

    #[test]
    fn a_domain_shares_a_cookie_with_its_subdomains_and_no_others() {
        let cookies = learned(&["A=1; Domain=.Vendor.Example; Path=/", "B=1; Domain=other.example; Path=/"]);
        assert_eq!(sent(&cookies, "https://api.vendor.example/"), "A=1");
        assert_eq!(sent(&cookies, "https://evilvendor.example/"), "");
        assert_eq!(sent(&learned(&["C=1; Domain=example; Path=/"]), FROM), "");
    }

    #[test]
    fn a_secure_cookie_is_not_sent_in_plain_text() {
        let cookies = learned(&["S=1; Secure; Path=/"]);
        assert_eq!(sent(&cookies, "https://login.vendor.example/"), "S=1");
        assert_eq!(sent(&cookies, "http://login.vendor.example/"), "");
    }

    #[test]
    fn a_later_cookie_replaces_an_earlier_one_and_an_ended_one_is_forgotten() {
        assert_eq!(sent(&learned(&["A=1", "A=2"]), FROM), "A=2");
        assert_eq!(sent(&learned(&["A=1", "A=; Max-Age=0"]), FROM), "");
        assert_eq!(sent(&learned(&["A=1", "A=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]), FROM), "");
        assert_eq!(sent(&learned(&["A=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60"]), FROM), "A=x");
    }

    #[test]
    fn the_value_that_an_answer_sets_is_found_by_name() {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, "SID=abc; Path=/".parse().expect("a field"));
        assert_eq!(set_by(&headers, "SID").expect("set").expose(), b"abc");
        assert!(set_by(&headers, "sid").is_none());
    }
}
