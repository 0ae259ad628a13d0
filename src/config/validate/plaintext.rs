//! What would be sent in plain text: told, or refused.

use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::endpoint::Endpoint;
use crate::credential::Flow;
use crate::credential::flow::mail::{Imap, Mailbox};
use crate::upstream::{Origin, Scheme};

/// Tells where a credential sends its secrets so that others could read them. `allowed` is `allow_plaintext`.
pub(crate) fn check(
    endpoints: &[Endpoint],
    flow: Option<&Flow>,
    (egress, allowed): (Option<&str>, bool),
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    let mailbox = flow.and_then(|flow| plain_mailbox(flow, egress, context));
    if let Some(mailbox) = &mailbox {
        if allowed {
            let message = format!("the password of the mailbox is sent to {mailbox} in plain text");
            context.findings.warning(place.key("steps"), message).help("`allow_plaintext` permits it");
        } else {
            let message = format!("{mailbox} is plain text: everyone on the way could read the password");
            let help = "write imaps://, or leave `starttls` on";
            context.findings.error(place.key("steps"), message).help(help);
        }
    }
    let is_mailbox =
        |origin: &Origin| flow.is_some_and(|flow| mailboxes(flow).any(|imap| imap.origin == *origin));
    let exposed = endpoints
        .iter()
        .find(|endpoint| is_exposed(&endpoint.origin, egress, context) && !is_mailbox(&endpoint.origin));
    let Some(plain) = exposed else { return };
    let url_place = ["base_url", "issuer", "token_url", "steps"].iter().find(|key| place.has(key));
    let place = url_place.map_or(place, |key| place.key(key));
    if allowed {
        let message = format!("secrets are sent to {} over plain HTTP", plain.origin);
        context.findings.warning(place, message).help("`allow_plaintext` permits it");
    } else {
        let message = format!("{} is plain HTTP: everyone on the way could read the secrets", plain.origin);
        let help = "use https://, or say `allow_plaintext = true` if the issuer has nothing else";
        context.findings.error(place, message).help(help);
    }
}

/// The mailboxes of a login that are at servers.
fn mailboxes(flow: &Flow) -> impl Iterator<Item = &Imap> {
    let login = if let Flow::Login(login) = flow { Some(login) } else { None };
    login.into_iter().flat_map(|login| login.mails()).filter_map(|mail| match &mail.mailbox {
        Mailbox::Imap(imap) => Some(imap),
        Mailbox::Maildir(_) => None,
    })
}

/// The first mailbox whose password anybody on the way could read.
fn plain_mailbox<'a>(flow: &'a Flow, egress: Option<&str>, context: &Context<'_>) -> Option<&'a Imap> {
    mailboxes(flow).find(|imap| imap.is_plain() && is_exposed(&imap.origin, egress, context))
}

/// Whether what is sent there could be read on the way. A proxy elsewhere makes a way of what would
/// have stayed on this machine.
pub(crate) fn is_exposed(origin: &Origin, egress: Option<&str>, context: &Context<'_>) -> bool {
    match origin.scheme {
        Scheme::Https | Scheme::Unix => false,
        Scheme::Http | Scheme::H2c => {
            !origin.is_loopback() || egress.is_some_and(|name| context.remote_proxies.contains(name))
        }
    }
}
