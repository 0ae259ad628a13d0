//! Where in an answer, on a page or in a message an output is.

use crate::config::raw::scalar::TextOr;
use crate::config::raw::step::Extract as RawExtract;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::inject::check_pointer;
use crate::config::validate::names::Names;
use crate::credential::flow::login::Extract;
use crate::credential::flow::login::page::{Selection, is_selector};

pub(super) fn extract(
    raw: &TextOr<RawExtract>,
    place: Place<'_>,
    names: &Names,
    context: &mut Context<'_>,
) -> Option<Extract> {
    let raw = match raw {
        TextOr::Text(pointer) => {
            check_pointer(pointer, place, context);
            return Some(Extract::Json(pointer.clone()));
        }
        TextOr::Table(raw) => raw,
    };
    if raw.attribute.is_some() && raw.css.is_none() && !place.is_spoiled("css") {
        context
            .findings
            .error_at(place.key("attribute").key_span(), "an attribute is that of what `css` matches");
        return None;
    }
    match (&raw.json, &raw.header, &raw.cookie, &raw.regex, &raw.css) {
        (Some(pointer), None, None, None, None) => {
            check_pointer(pointer, place.key("json"), context);
            Some(Extract::Json(pointer.clone()))
        }
        (None, Some(header), None, None, None) => {
            if let Ok(name) = header.parse() {
                return Some(Extract::Header(name));
            }
            context.findings.error(place.key("header"), "this is not the name of a header field");
            None
        }
        (None, None, Some(cookie), None, None) => Some(Extract::Cookie(cookie.clone())),
        (None, None, None, Some(text), None) => {
            pattern(&names.plainly(text)?, place.key("regex"), context).map(Extract::Regex)
        }
        (None, None, None, None, Some(text)) => {
            let selector = selector(&names.plainly(text)?, place.key("css"), context)?;
            let attribute = raw.attribute.as_ref().map(|text| names.plainly(text));
            Some(Extract::Css(Selection { selector, attribute: attribute.flatten() }))
        }
        _ => {
            let message = "an output is at one place: `json`, `header`, `cookie`, `regex` or `css`";
            context.findings.error(place, message);
            None
        }
    }
}

/// A pattern with one group; tells it if it is none.
fn pattern(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    match regex_lite::Regex::new(text) {
        Ok(regex) if regex.captures_len() == 2 => return Some(text.to_owned()),
        Ok(_) => {
            let problem = context.findings.error(place, "the pattern has one group: what is taken");
            problem.help("such as \"code (\\\\d+)\"");
        }
        Err(_) => {
            context.findings.error(place, "this is not a regular expression");
        }
    }
    None
}

/// A CSS selector; tells it if it is none.
pub(super) fn selector(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    if is_selector(text) {
        return Some(text.to_owned());
    }
    let problem = context.findings.error(place, "this is not a CSS selector");
    problem.help("such as \"form#login\" or \"input[name=csrf]\"");
    None
}
