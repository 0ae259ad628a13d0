//! The flow `static`.

use jiff::Timestamp;

use crate::config::raw;
use crate::config::raw::credential::Expires as RawExpires;
use crate::config::raw::scalar::TextOr;
use crate::config::suggest::nearest;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::credential::flow::StaticFlow;
use crate::credential::flow::fixed::Expires;

pub(crate) fn flow(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) -> Option<StaticFlow> {
    match &raw.token {
        Some(token) => inputs.add("token", token, place.key("token"), context),
        // It was there and wrong: what the credential would be is not known.
        None if place.is_spoiled("token") => return None,
        None if raw.secrets.is_empty() && place.key("secrets").spoiled().is_empty() => {
            context.findings.missing(place, "token", "this flow has a token that somebody else made");
        }
        None => {}
    }
    let expires = match &raw.expires {
        None => Expires::Unsaid,
        Some(raw) => expires(raw, place.key("expires"), context)?,
    };
    Some(StaticFlow { expires })
}

fn expires(raw: &TextOr<RawExpires>, place: Place<'_>, context: &mut Context<'_>) -> Option<Expires> {
    match raw {
        TextOr::Text(word) => match word.as_str() {
            "jwt" => Some(Expires::Jwt),
            "never" => Some(Expires::Never),
            word => {
                let message =
                    "this is not `jwt`, `never`, { after = \"180d\" } or { at = \"2026-12-31T00:00:00Z\" }";
                context.findings.error(place, message).meant(nearest(word, ["jwt", "never"]));
                None
            }
        },
        TextOr::Table(RawExpires { after: Some(after), at: None }) if after.0.is_zero() => {
            context.findings.error(place.key("after"), "a token lives longer than nothing");
            None
        }
        TextOr::Table(RawExpires { after: Some(after), at: None }) => Some(Expires::After(after.0)),
        TextOr::Table(RawExpires { after: None, at: Some(at) }) => {
            let at = at.parse::<Timestamp>().ok();
            if at.is_none() {
                let message = "this is not a time with its zone (RFC 3339)";
                let problem = context.findings.error(place.key("at"), message);
                problem.help("such as \"2026-12-31T00:00:00+05:30\"");
            }
            at.map(Expires::At)
        }
        TextOr::Table(_) if place.is_spoiled("after") || place.is_spoiled("at") => None,
        TextOr::Table(_) => {
            context.findings.error(place, "`expires` says either `after` or `at`");
            None
        }
    }
}
