//! Client certificates: what a client shows to its issuer, and to the upstreams of tokens that are
//! bound to it (RFC 8705).

use crate::config::raw;
use crate::config::raw::credential::ClientAuth as RawAuth;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::egress;
use crate::credential::flow::oauth2::ClientAuth;
use crate::upstream::{EgressSpec, Scheme, Url};

/// How exchanges of a credential leave: by its egress, or by one of its own that differs from that by
/// the certificate. Tells what cannot be.
pub(crate) fn egress(
    name: &str,
    raw: &raw::Credential,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> String {
    let base = context.egress(raw.egress.as_deref(), place.key("egress"));
    let own = egress::certificate(raw.client_cert.as_deref(), raw.client_key.as_ref(), place, context);
    let Some(certificate) = own else { return base };
    let base = context.egresses.iter().find(|egress| egress.name == base).cloned().unwrap_or_default();
    // No egress of the file is called so: a name has no dot.
    let name = format!("credentials.{name}");
    context.egresses.push(EgressSpec { name: name.clone(), certificate: Some(certificate), ..base });
    name
}

/// Whether the tokens of a credential are bound to the certificate that the client shows.
pub(crate) fn is_bound(raw: &raw::Credential) -> bool {
    raw.certificate_bound.unwrap_or(raw.client_auth == Some(RawAuth::Tls))
}

/// Tells a client that is known by its certificate and shows none.
pub(super) fn check_client_auth(
    raw: &raw::Credential,
    client_auth: ClientAuth,
    token_url: Option<&Url>,
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    let is_shown = raw.client_cert.is_some()
        || raw.client_key.is_some()
        || raw.egress.as_deref().is_some_and(|name| {
            // One with mistakes of its own may have meant to.
            context
                .egresses
                .iter()
                .find(|egress| egress.name == name)
                .is_none_or(|it| it.certificate.is_some())
        });
    if client_auth == ClientAuth::Tls {
        if !is_shown {
            let why = "the issuer knows the client by its certificate: `client_cert` and `client_key` stand \
                       here, or on the credential's `egress`";
            context.findings.missing(place, "client_cert", why);
        }
        if token_url.is_some_and(|url| url.origin.scheme != Scheme::Https) {
            let message = "a client certificate is shown over https:// only";
            context.findings.error(place.key("token_url"), message);
        }
    }
    if raw.certificate_bound == Some(true) && !is_shown {
        let message = "tokens are bound to a certificate, and none is shown to the issuer";
        let problem = context.findings.error(place.key("certificate_bound"), message);
        problem.help("`client_cert` and `client_key` stand here, or on the credential's `egress`");
    }
}

/// How a route with a bound token leaves: as its token was obtained, unless it says another way with
/// the same certificate.
pub(crate) fn egress_of_route(
    said: Option<&str>,
    of_credential: &str,
    upstream: Option<&Url>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> String {
    if let Some(upstream) = upstream
        && upstream.origin.scheme != Scheme::Https
    {
        let message = "the token is bound to a client certificate, which is not shown without TLS";
        let problem = context.findings.warning(place.key("upstream"), message);
        problem.help("use https://, or say `certificate_bound = false` on the credential");
    }
    let Some(said) = said else { return of_credential.to_owned() };
    let certificate =
        |name: &str| context.egresses.iter().find(|egress| egress.name == name).map(|it| &it.certificate);
    if let (Some(here), Some(there)) = (certificate(said), certificate(of_credential))
        && here != there
    {
        let message = "the token is bound to the certificate that its issuer was shown, and this egress shows \
                       another or none";
        let problem = context.findings.error(place.key("egress"), message);
        problem.help(
            "without `egress` the route leaves as its token was obtained; if the issuer binds nothing, say \
             `certificate_bound = false` on the credential",
        );
    }
    said.to_owned()
}
