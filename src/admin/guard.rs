//! Who may ask for what.
//!
//! ```text
//!                 /live /ready /metrics   reading           changing
//! TCP             anyone                  Host and Origin   Host and Origin, and the token (or a session)
//! Unix socket     our own uid, or root    the same          the same
//! ```
//!
//! A browser that comes to the Unix socket (through a tunnel of ssh, say) is held to Host and Origin too,
//! since its other pages could use the tunnel as well. The checks of `Host` and `Origin` keep web pages out: a page that a developer has open can send
//! requests to localhost, under its own name (DNS rebinding) or with its own origin.

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use crate::admin::answer::Refusal;
use crate::admin::session::{Attempt, SessionError, Sessions};
use crate::route::{Guesser, Rate};
use crate::secret::Secret;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Over TCP.
    Tcp {
        /// To this address of ours.
        to: SocketAddr,
        /// Should he guess.
        who: Guesser,
    },
    /// Over the Unix socket, as this user.
    Unix(u32),
}

/// Refuses what a web page of somebody else might have sent.
pub(super) fn check_source(caller: Caller, request: &Parts) -> Result<(), Refusal> {
    let Some(host) = own_host(caller, request)? else { return Ok(()) };
    let of_ours = |origin: &[u8]| {
        origin
            .strip_prefix(b"http://")
            .is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str().as_bytes()))
    };
    if !request.headers.get_all(ORIGIN).iter().all(|origin| of_ours(origin.as_bytes())) {
        return Err(Refusal::CallerDenied("the Origin is not this listener's own"));
    }
    let same = |site: &[u8]| matches!(site, b"same-origin" | b"none");
    if !request.headers.get_all(SITE).iter().all(|site| same(site.as_bytes())) {
        return Err(Refusal::CallerDenied("another site's page may not call this listener"));
    }
    Ok(())
}

/// Refuses a name that is not ours, and lets a browser come from any page: what is asked for carries a
/// proof of its own. It comes to look at the page, not to load it into another.
pub(super) fn check_host(caller: Caller, request: &Parts) -> Result<(), Refusal> {
    own_host(caller, request)?;
    let mode = HeaderName::from_static("sec-fetch-mode");
    if request.headers.get_all(mode).iter().all(|mode| mode == "navigate") {
        Ok(())
    } else {
        Err(Refusal::CallerDenied("this page is visited, not loaded by another"))
    }
}

/// The name under which a caller over TCP comes, if it is one of ours; a Unix socket has none.
fn own_host(caller: Caller, request: &Parts) -> Result<Option<Authority>, Refusal> {
    let local = match caller {
        Caller::Tcp { to, .. } => Some(to.ip().to_canonical()),
        Caller::Unix(_) if is_browser(request) => None,
        Caller::Unix(_) => return Ok(None),
    };
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let host = host.filter(|host| !host.as_str().contains('@') && names_us(host, local));
    host.map(Some).ok_or(Refusal::CallerDenied("the Host is not a name of this listener"))
}

/// Whether a request has what only browsers send: with everything that changes something, they send
/// its origin.
fn is_browser(request: &Parts) -> bool {
    request.headers.contains_key(ORIGIN) || request.headers.contains_key(SITE)
}

/// Whether a `Host` names the loopback, or the very address that the request came to: a literal
/// address cannot be rebound.
fn names_us(host: &Authority, local: Option<IpAddr>) -> bool {
    let name = host.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback() || Some(address) == local)
}

/// Refuses a change over TCP, or a question for people's names, that neither shows the configured token nor belongs to a session of the
/// console that was opened with it.
pub(super) fn check_change(
    caller: Caller,
    request: &Parts,
    configured: Option<&Secret>,
    sessions: &Sessions,
    most_wrong: Rate,
) -> Result<(), Refusal> {
    let Caller::Tcp { who, .. } = caller else { return Ok(()) };
    let configured = configured.ok_or(Refusal::NoTokenConfigured)?;
    if request.headers.contains_key(AUTHORIZATION) {
        let shown = shown_token(request);
        let attempt = Attempt { shown: shown.as_ref(), who, most_wrong };
        return Ok(sessions.check_token(&attempt, configured)?);
    }
    sessions.check(&request.headers, configured).map(drop).map_err(|error| match error {
        SessionError::None => Refusal::Unauthorized,
        SessionError::NoProof => Refusal::NotFromThePage,
    })
}

/// The token that a request shows, if it is one (RFC 6750, section 2.1).
pub(super) fn shown_token(request: &Parts) -> Option<Secret> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, shown) = field.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| Secret::new(shown.trim_ascii()))
}

/// Whether a user may call over the Unix socket: bearerd's own, or root, who could become it anyway.
pub(super) fn may_call(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Caller, Guesser, Refusal, check_change, check_source};
    use crate::admin::AdminSpec;
    use crate::admin::session::Sessions;
    use crate::clock::Clock;
    use crate::secret::Secret;

    fn tcp() -> Caller {
        Caller::Tcp { to: "127.0.0.1:9180".parse().expect("an address"), who: Guesser::Somebody }
    }

    fn request(fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_foreign_host_or_origin_is_refused_over_tcp() {
        for passes in [
            &[("host", "localhost")][..],
            &[("host", "LOCALHOST:1")],
            &[("host", "127.0.0.1:9180")],
            &[("host", "[::1]:9180")],
            &[("host", "localhost:9180"), ("origin", "http://localhost:9180")],
            &[("host", "localhost:9180"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:9180"), ("sec-fetch-site", "none")],
        ] {
            assert_eq!(check_source(tcp(), &request(passes)), Ok(()), "{passes:?}");
        }
        for refused in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "127.0.0.1.nip.io:9180")],
            &[("host", "a@localhost")],
            &[("host", "10.0.0.1")],
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "localhost:9180"), ("origin", "http://localhost:1")],
            &[("host", "localhost:9180"), ("origin", "https://localhost:9180")],
            &[("host", "localhost:9180"), ("origin", "null")],
            &[("host", "localhost:9180"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost:9180"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(
                matches!(check_source(tcp(), &request(refused)), Err(Refusal::CallerDenied(_))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn over_a_unix_socket_any_host_passes_but_a_page_of_another_site_does_not() {
        let check = |fields: &[(&str, &str)]| check_source(Caller::Unix(7), &request(fields));
        assert_eq!(check(&[("host", "anything")]), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("host", "localhost:8000"), ("origin", "http://localhost:8000")]), Ok(()));
        for refused in [
            &[("host", "localhost:8000"), ("origin", "https://evil.example")][..],
            &[("host", "evil.example:8000"), ("origin", "http://evil.example:8000")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(matches!(check(refused), Err(Refusal::CallerDenied(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_change_over_tcp_shows_the_token() {
        let token = Secret::from("s3cret-s3cret");
        let sessions = Sessions::new(&Clock::system());
        let check_with = |caller, fields: &[(&str, &str)], token: Option<&Secret>| {
            check_change(caller, &request(fields), token, &sessions, AdminSpec::MAX_WRONG_TOKENS)
        };
        let check = |fields: &[(&str, &str)]| check_with(tcp(), fields, Some(&token));
        assert_eq!(check(&[("authorization", "Bearer s3cret-s3cret")]), Ok(()));
        assert_eq!(check(&[("authorization", "bearer  s3cret-s3cret")]), Ok(()));
        for wrong in [
            &[][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer s3cret")],
            &[("authorization", "Basic s3cret-s3cret")],
            &[("authorization", "é")],
            &[("authorization", "Bearer s3cret-s3cret"), ("authorization", "Bearer s3cret-s3cret")],
        ] {
            assert_eq!(check(wrong), Err(Refusal::Unauthorized), "{wrong:?}");
        }
        assert_eq!(check_with(tcp(), &[], None), Err(Refusal::NoTokenConfigured));
        assert_eq!(check_with(Caller::Unix(7), &[], Some(&token)), Ok(()));
        let empty = check_with(tcp(), &[("authorization", "Bearer ")], Some(&Secret::from("")));
        assert_eq!(empty, Err(Refusal::Unauthorized));
    }
}
