//! Where a browser comes back to from an issuer (RFC 6749, section 3.1.2; RFC 8252, section 7.3).

use crate::credential::consent::{ConsentError, ConsentSpec};
use crate::upstream::{Scheme, Url};

/// The path of bearerd's own redirect URIs.
const OWN_PATH: &str = "/oauth/callback";

/// The redirect URI of a login: the configured one, exactly as it is registered, or bearerd's `own`.
///
/// `port` is one of this machine at which whoever begins the login waits for the browser. It is used
/// where the issuer lets any be used, that is for a loopback URI that names none (RFC 8252, section 7.3),
/// and where there is no other way.
pub(super) fn redirect_uri(
    spec: &ConsentSpec,
    own: Option<&str>,
    port: Option<u16>,
) -> Result<String, ConsentError> {
    let at_port = |uri: &str| port.and_then(|port| with_port(uri, port));
    match (&spec.redirect_uri, own, port) {
        (Some(uri), ..) => Ok(at_port(uri).unwrap_or_else(|| uri.clone())),
        (None, Some(own), _) => Ok(own.to_owned()),
        (None, None, Some(port)) => Ok(format!("http://127.0.0.1:{port}{OWN_PATH}")),
        (None, None, None) => Err(ConsentError::Misconfigured(
            "the credential has no `redirect_uri`, and no browser can come back to an admin listener on a Unix \
             socket: name the URI that is registered with the issuer, or log in by `bearerd login`"
                .to_owned(),
        )),
    }
}

/// A loopback URI without a port, with this one.
fn with_port(uri: &str, port: u16) -> Option<String> {
    let origin = uri.parse::<Url>().ok()?.origin;
    let rest = uri.get("http://".len()..)?;
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let names_port = !authority.ends_with(']') && authority.contains(':') && *origin.host != *authority;
    let is_fit = origin.scheme == Scheme::Http && origin.is_loopback() && !names_port;
    is_fit.then(|| format!("http://{authority}:{port}{}", &rest[authority.len()..]))
}

#[cfg(test)]
mod tests {
    use super::{redirect_uri, with_port};
    use crate::credential::consent::ConsentSpec;

    #[test]
    fn a_loopback_uri_without_a_port_takes_any_and_no_other_uri_does() {
        for (uri, with) in [
            ("http://127.0.0.1/cb", Some("http://127.0.0.1:7/cb")),
            ("http://127.0.0.1", Some("http://127.0.0.1:7")),
            ("http://localhost/cb?a=b:c", Some("http://localhost:7/cb?a=b:c")),
            ("http://[::1]/cb", Some("http://[::1]:7/cb")),
            ("http://127.0.0.1:80/cb", None),
            ("http://[::1]:9/cb", None),
            ("https://localhost/cb", None),
            ("http://10.0.0.1/cb", None),
            ("https://app.example/cb", None),
            ("com.example.app:/cb", None),
        ] {
            assert_eq!(with_port(uri, 7).as_deref(), with, "{uri}");
        }
    }

    #[test]
    fn a_configured_uri_comes_before_the_admin_listeners_and_that_before_a_port() {
        let spec = |uri: Option<&str>| ConsentSpec {
            redirect_uri: uri.map(str::to_owned),
            ..ConsentSpec::default()
        };
        let of = |uri, own, port| redirect_uri(&spec(uri), own, port).ok();
        let own = "http://127.0.0.1:9180/oauth/callback";
        assert_eq!(of(Some("https://a/cb"), Some(own), Some(7)).as_deref(), Some("https://a/cb"));
        assert_eq!(of(None, Some(own), Some(7)).as_deref(), Some(own));
        assert_eq!(of(None, None, Some(7)).as_deref(), Some("http://127.0.0.1:7/oauth/callback"));
        assert_eq!(of(None, None, None), None);
    }
}
