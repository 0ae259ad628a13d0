//! TLS of listeners. The files are read here too, so that a reload with a broken pair changes nothing.

use crate::certificate::{self, CertificateError, Identity};
use crate::clock::Clock;
use crate::config::raw::listener::Tls;
use crate::config::tree::Place;
use crate::config::validate::callers::check_names;
use crate::config::validate::context::Context;
use crate::config::validate::secret;
use crate::server::tls::TlsSpec;
use crate::server::{Address, Bind};

/// `tls` of a listener at `bind`.
pub(crate) fn spec(
    raw: &Tls,
    bind: Option<&Bind>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<TlsSpec> {
    if matches!(bind, Some(Bind::To(Address::Unix(_)))) {
        let message = "a Unix socket does not speak `tls`: it knows its callers by their uid";
        context
            .findings
            .error_at(place.key_span(), message)
            .help("`allow = { uids = [..] }` says who may call");
    }
    let cert = raw.cert.as_deref().map(|path| context.path(path));
    if cert.is_none() {
        context.findings.missing(place, "cert", "a PEM file with the certificate that the listener shows");
    }
    let key = raw.key.as_ref().map(|key| secret::at_hand(key, place.key("key"), context));
    if key.is_none() {
        context.findings.missing(place, "key", "the private key of the certificate");
    }
    let client_ca = raw.client_ca.as_deref().map(|path| context.path(path));
    if let Some(path) = &client_ca
        && let Err(error) = certificate::authorities(path)
    {
        context.findings.error(place.key("client_ca"), error.to_string());
    }
    let allow_names = allow_names(raw, place, context);
    let (cert, key) = (cert?, key??);
    match Identity::read(&cert, &key) {
        Ok(identity) if identity.ends_at < Clock::system().wall() => {
            let message = format!("this certificate ended at {}: no caller will take it", identity.ends_at);
            context.findings.warning(place.key("cert"), message);
        }
        Ok(_) => {}
        Err(error) => {
            let at = if let CertificateError::Key(_) = error { "key" } else { "cert" };
            context.findings.error(place.key(at), error.to_string());
        }
    }
    Some(TlsSpec { cert, key, client_ca, allow_names })
}

fn allow_names(raw: &Tls, place: Place<'_>, context: &mut Context<'_>) -> Vec<String> {
    let Some(names) = &raw.allow_names else { return Vec::new() };
    let place = place.key("allow_names");
    if names.is_empty() {
        context.findings.error(place, "an empty list lets nobody call");
    } else if raw.client_ca.is_none() {
        let message =
            "names are looked for in callers' certificates, which nobody has to show without `client_ca`";
        context.findings.error_at(place.key_span(), message);
    }
    check_names(names, place, context);
    names.clone()
}
