//! The answer of a step: is it a success, what does it bring, and if not, what does that mean.

use regex_lite::Regex;

use crate::credential::flow::classify::{by_status, quote, status_text, transient, warning};
use crate::credential::flow::json::{Json, means_same, scalar_text};
use crate::credential::flow::login::visit::Haul;
use crate::credential::flow::login::{Condition, Extract, HttpStep, cookies, page, shown};
use crate::credential::flow::{Exchange, MintError};
use crate::secret::Secret;
use crate::upstream::exchange::Answer;

/// The longest output that is taken, in bytes.
const LONGEST_OUTPUT: usize = 16 * 1024;

/// Adds what the answer of `step` brings to `haul`, or says what its failure means. `who` names
/// the step in messages.
pub(super) fn read(
    step: &HttpStep,
    exchange: &Exchange<'_>,
    answer: &Answer,
    who: &str,
    haul: &mut Haul,
) -> Result<(), MintError> {
    let json = Json::parse(&answer.body);
    let json = json.as_ref();
    let status = status_text(answer.status);
    if let Some(reason) = rejected(&step.reject, exchange, answer, json) {
        return Err(MintError::Rejected { message: format!("{who} answered {status}: {reason}") });
    }
    if let Some(reason) = failed(&step.success, exchange, answer, json) {
        let message = format!("{who} answered {status}: {reason}");
        return Err(by_status(answer, exchange.clock.wall(), message));
    }
    for (name, extract) in &step.outputs {
        let value = find(extract, answer, json)
            .and_then(usable)
            .map_err(|what| transient(format!("{who} answered {status}, but output `{name}`: {what}")))?;
        haul.minted.outputs.insert(name.clone(), value);
    }
    // Which step tells it is not said: one that has nothing there says nothing.
    if let Some(json) = json {
        let elsewhere =
            |what| MintError::Stubborn { message: format!("{who} answered {status}, but {what}") };
        exchange.check_upstream(json).map_err(elsewhere)?;
    }
    haul.note_end(&step.expiry, json);
    let said = step.warn.as_ref().and_then(|pointer| json?.at(pointer)).and_then(scalar_text);
    let told = said.and_then(|text| warning(&text, exchange.inputs, &haul.minted.outputs));
    haul.minted.warnings.extend(told);
    Ok(())
}

/// Why the answer means "the input is wrong", if any test of `reject` holds.
fn rejected(
    reject: &Condition,
    exchange: &Exchange<'_>,
    answer: &Answer,
    json: Option<&Json>,
) -> Option<String> {
    if reject.status.contains(&answer.status.as_u16()) {
        return Some(format!("the input is wrong{}", code(json, exchange)));
    }
    let by_json = reject.json.iter().find_map(|(pointer, wanted)| {
        let found = json?.at(pointer)?;
        let holds = wanted.iter().any(|wanted| means_same(found, wanted));
        holds.then(|| format!("`{pointer}` is {}, so the input is wrong", shown(found, exchange)))
    });
    // A page of errors is not a page without something.
    let page = answer.body.expose_str().filter(|_| answer.status.is_success());
    let has = |selector: &&String| page.is_some_and(|page| page::has(page, selector));
    let lacks = |selector: &&String| page.is_some_and(|page| !page::has(page, selector));
    let body = answer.body.expose_str().unwrap_or_default();
    by_json
        .or_else(|| {
            let found = reject.regex.iter().find(|pattern| matched(pattern, body).is_some())?;
            Some(format!("its body has what `{found}` matches, so the input is wrong"))
        })
        .or_else(|| {
            let found = reject.css.iter().find(has)?;
            Some(format!("the page has what `{found}` matches, so the input is wrong"))
        })
        .or_else(|| {
            let missed = reject.css_absent.iter().find(lacks)?;
            Some(format!("the page has nothing that `{missed}` matches, so the input is wrong"))
        })
}

/// Why the answer is no success, if any test of `success` fails. Without a test of the status, any
/// 2xx will do.
fn failed(
    success: &Condition,
    exchange: &Exchange<'_>,
    answer: &Answer,
    json: Option<&Json>,
) -> Option<String> {
    let status_fits = if success.status.is_empty() {
        answer.status.is_success()
    } else {
        success.status.contains(&answer.status.as_u16())
    };
    if !status_fits {
        return Some(format!("that is no success{}", code(json, exchange)));
    }
    let by_json = success.json.iter().find_map(|(pointer, wanted)| {
        let Some(json) = json else {
            return Some("its body is not JSON".to_owned());
        };
        match json.at(pointer) {
            None => Some(format!("there is no `{pointer}` in its body")),
            Some(found) if wanted.iter().any(|wanted| means_same(found, wanted)) => None,
            Some(found) => Some(format!("`{pointer}` is {}, which is no success", shown(found, exchange))),
        }
    });
    let page = answer.body.expose_str().unwrap_or_default();
    by_json
        .or_else(|| {
            success.css.iter().find(|selector| !page::has(page, selector)).map(|it| page::unmatched(it))
        })
        .or_else(|| {
            let found = success.css_absent.iter().find(|selector| page::has(page, selector))?;
            Some(format!("the page has what `{found}` matches, which is no success"))
        })
        .or_else(|| {
            let missed = success.regex.iter().find(|pattern| matched(pattern, page).is_none())?;
            Some(format!("nothing in its body matches `{missed}`"))
        })
}

/// The issuer's own error code, as a part of a message.
fn code(json: Option<&Json>, exchange: &Exchange<'_>) -> String {
    json.and_then(Json::error_code)
        .and_then(|code| quote(&code, exchange.inputs))
        .map(|code| format!(" (error code `{code}`)"))
        .unwrap_or_default()
}

/// The value of an output; an error says where it was looked for.
fn find(extract: &Extract, answer: &Answer, json: Option<&Json>) -> Result<Secret, String> {
    match extract {
        Extract::Json(pointer) => {
            let json = json.ok_or_else(|| "the body is not JSON".to_owned())?;
            let found = json.at(pointer).ok_or_else(|| format!("there is no `{pointer}` in the body"))?;
            let text = scalar_text(found).filter(|_| !found.is_boolean());
            text.map(Secret::from).ok_or_else(|| format!("`{pointer}` is neither a text nor a number"))
        }
        Extract::Header(name) => {
            let found = answer.headers.get(name).ok_or_else(|| format!("there is no header `{name}`"))?;
            Ok(Secret::new(found.as_bytes()))
        }
        Extract::Cookie(name) => {
            cookies::set_by(&answer.headers, name).ok_or_else(|| format!("no cookie `{name}` is set"))
        }
        Extract::Regex(pattern) => {
            matched(pattern, text(answer)?).ok_or_else(|| format!("nothing in the body matches `{pattern}`"))
        }
        Extract::Css(selection) => page::find(text(answer)?, selection),
    }
}

fn text(answer: &Answer) -> Result<&str, String> {
    answer.body.expose_str().ok_or_else(|| "the body is not text".to_owned())
}

/// The first group of a pattern in a text, or all that it matches if it has none.
pub(in crate::credential::flow) fn matched(pattern: &str, text: &str) -> Option<Secret> {
    let groups = Regex::new(pattern).ok()?;
    let groups = groups.captures(text)?;
    groups.get(1).or_else(|| groups.get(0)).map(|found| Secret::from(found.as_str()))
}

/// An output must be fit for a header or another template.
pub(in crate::credential::flow) fn usable(value: Secret) -> Result<Secret, String> {
    if value.is_empty() {
        Err("it is empty".to_owned())
    } else if value.len() > LONGEST_OUTPUT {
        Err(format!("it is longer than {LONGEST_OUTPUT} bytes"))
    } else if value.expose().iter().any(u8::is_ascii_control) {
        Err("it has control characters in it".to_owned())
    } else {
        Ok(value)
    }
}
