//! What callers show: bearers, and tokens of service accounts. What is read from files is read here too, so
//! that a reload with a broken one changes nothing.

use std::sync::Arc;

use crate::caller::account::{Accounts, AccountsSpec, KeysAt};
use crate::caller::bearer::Bearers;
use crate::certificate::KeySource;
use crate::config::raw::choice::Several;
use crate::config::raw::listener::ServiceAccounts;
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::secret;
use crate::upstream::{Scheme, Url};

/// Shorter ones can be guessed, in bytes.
const SHORTEST: usize = 16;

/// `bearer` of a rule.
pub(super) fn bearers(
    Several(references): &Several<SecretReference>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Arc<Bearers>> {
    if references.is_empty() {
        context.findings.error(place, "an empty list lets nobody call");
        return None;
    }
    let mut sources: Vec<KeySource> = Vec::with_capacity(references.len());
    for (index, reference) in references.iter().enumerate() {
        let source = secret::at_hand(&TextOr::Table(reference.clone()), place.item(index), context)?;
        if source.read().is_ok_and(|secret| secret.len() < SHORTEST) {
            let message = format!("this bearer has less than {SHORTEST} bytes: it can be guessed");
            context.findings.warning(place.item(index), message).help("`openssl rand -hex 32` makes one");
        }
        sources.push(source);
    }
    match Bearers::read(sources) {
        Ok(bearers) => Some(Arc::new(bearers)),
        Err((index, why)) => {
            context.findings.error(place.item(index), why);
            None
        }
    }
}

/// `service_accounts` of a rule.
pub(super) fn accounts(
    raw: &ServiceAccounts,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Arc<Accounts>> {
    for (key, is_there, why) in [
        ("issuer", raw.issuer.is_some(), "who signs the tokens: their `iss`"),
        ("audience", raw.audience.is_some(), "whom the tokens are for: one of their `aud`"),
        ("accounts", raw.accounts.is_some(), "such as [\"shop/app\"]: NAMESPACE/NAME"),
        ("jwks", raw.jwks.is_some(), "a URL or a file of the keys that sign the tokens"),
    ] {
        if !is_there {
            context.findings.missing(place, key, why);
        }
    }
    let allowed = raw.accounts.as_deref().unwrap_or_default();
    if allowed.is_empty() && raw.accounts.is_some() {
        context.findings.error(place.key("accounts"), "an empty list lets nobody call");
    }
    for (index, account) in allowed.iter().enumerate() {
        let is_part = |part: &str| part == "*" || !part.is_empty() && !part.contains(['/', ':', '*']);
        if !account.split_once('/').is_some_and(|(namespace, name)| is_part(namespace) && is_part(name)) {
            let problem =
                context.findings.error(place.key("accounts").item(index), "this is not NAMESPACE/NAME");
            problem.help("such as \"shop/app\"; `*` stands for any namespace, or for any name");
        }
    }
    let keys = raw.jwks.as_deref().map(|text| keys(text, place.key("jwks"), context));
    let token =
        raw.token.clone().map(|raw| secret::at_hand(&TextOr::Table(raw), place.key("token"), context));
    let egress = context.egress(raw.egress.as_deref(), place.key("egress"));
    let accounts = Accounts::new(AccountsSpec {
        issuer: raw.issuer.clone()?,
        audience: raw.audience.clone()?,
        accounts: allowed.to_vec(),
        keys: keys??,
        token: token.map_or(Some(None), |token| token.map(Some))?,
        egress,
    });
    if let Err(why) = accounts.read_keys() {
        context.findings.error(place.key("jwks"), why);
    }
    Some(Arc::new(accounts))
}

/// Where keys are: whoever changes them on the way can be anybody.
fn keys(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<KeysAt> {
    if !text.contains("://") {
        return Some(KeysAt::File(context.path(text)));
    }
    let mistake = match text.parse::<Url>() {
        Ok(url) if url.origin.scheme == Scheme::Https || url.origin.is_loopback() => {
            return Some(KeysAt::Url(url));
        }
        Ok(_) => "keys are asked for over https: whoever changes them on the way could be any caller",
        Err(why) => why,
    };
    context.findings.error(place, mistake);
    None
}
