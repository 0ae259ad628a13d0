//! What is asked, as it comes: queries and JSON bodies.

use serde_json::{Map, Value};

use crate::control::{Query, Refusal};
use crate::credential::Subject;
use crate::credential::consent::{ConsentError, Returned, Wish};
use crate::secret::Secret;

/// The request itself is wrong.
pub(super) fn wrong(what: &str) -> Refusal {
    ConsentError::BadRequest(what.to_owned()).into()
}

/// A query by name; of several values the first counts.
pub(super) fn query(query: &str) -> Query {
    let mut all = Query::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        all.entry(name.into_owned()).or_insert_with(|| value.into_owned());
    }
    all
}

/// `true` or `false`, and false where nothing is said.
pub(super) fn flag(query: &Query, name: &str) -> Result<bool, Refusal> {
    match query.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(&format!("`{name}` is true or false"))),
    }
}

/// What `authorize` is asked for.
pub(super) struct Authorize {
    pub(super) subject: Option<Subject>,
    pub(super) wish: Wish,
}

impl Authorize {
    /// `{"subject", "return_to", "params", "loopback_port", ..}`; the rest is to whom a password is sent.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut members = members(body)?;
        let subject = subject(&mut members)?;
        let mut wish = Wish { return_to: text(&mut members, "return_to")?, ..Wish::default() };
        wish.loopback_port = match members.remove("loopback_port") {
            None | Some(Value::Null) => None,
            Some(port) => Some(
                port.as_u64()
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port != 0)
                    .ok_or_else(|| wrong("`loopback_port` is a number from 1 to 65535"))?,
            ),
        };
        match members.remove("params") {
            None | Some(Value::Null) => {}
            Some(Value::Object(params)) => {
                for (name, value) in params {
                    let value = scalar(value).ok_or_else(|| wrong("the values of `params` are texts"))?;
                    wish.params.insert(name, value);
                }
            }
            Some(_) => return Err(wrong("`params` is an object")),
        }
        for (name, value) in members {
            if value.is_null() {
                continue;
            }
            let value = scalar(value).ok_or_else(|| wrong(&format!("`{}` is a text", shown(&name))))?;
            wish.hints.insert(name, value);
        }
        Ok(Self { subject, wish })
    }
}

/// What `logout` is asked for.
pub(super) struct Logout {
    pub(super) subject: Option<Subject>,
}

impl Logout {
    /// `{"subject"}`, or nothing.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut members = members(body)?;
        let subject = subject(&mut members)?;
        none_left(&members)?;
        Ok(Self { subject })
    }
}

/// `{"state", "code" | "error" | "otp", "iss", "subject"}`: what came back, and for whom it has to be.
pub(super) fn callback(body: &[u8]) -> Result<(Returned, Option<Subject>), Refusal> {
    let mut members = members(body)?;
    let subject = subject(&mut members)?;
    let mut secret = |name: &str| Ok::<_, Refusal>(text(&mut members, name)?.map(Secret::from));
    let (code, otp) = (secret("code")?, secret("otp")?);
    let mut text = |name: &str| text(&mut members, name);
    let state = text("state")?.ok_or_else(|| wrong("`state` says which login is meant"))?;
    let (error, error_description) = (text("error")?, text("error_description")?);
    let iss = text("iss")?;
    Ok((Returned { state, code, error, error_description, iss, otp }, subject))
}

/// What a browser brought back in the query (RFC 6749, section 4.1.2). A parameter may stand there once
/// only (section 3.1).
pub fn returned(query: &str) -> Result<Returned, Refusal> {
    let mut returned = Returned::default();
    let mut state = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let twice = match &*name {
            "state" => state.replace(value.into_owned()).is_some(),
            "code" => returned.code.replace(Secret::from(value.into_owned())).is_some(),
            "error" => returned.error.replace(value.into_owned()).is_some(),
            "error_description" => returned.error_description.replace(value.into_owned()).is_some(),
            "iss" => returned.iss.replace(value.into_owned()).is_some(),
            _ => false,
        };
        if twice {
            return Err(wrong(&format!("`{name}` stands there twice")));
        }
    }
    returned.state = state.ok_or_else(|| wrong("there is no `state`: this is no answer to a login"))?;
    Ok(returned)
}

/// The members of a JSON object; nothing is an empty one.
fn members(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(wrong("the body is a JSON object")),
    }
}

fn subject(members: &mut Map<String, Value>) -> Result<Option<Subject>, Refusal> {
    let text = text(members, "subject")?;
    text.map(|text| Subject::new(&text)).transpose().map_err(|error| wrong(&error.to_string()))
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => scalar(value).map(Some).ok_or_else(|| wrong(&format!("`{name}` is a text"))),
    }
}

/// A text, or a number as one: passwords are digits.
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn none_left(members: &Map<String, Value>) -> Result<(), Refusal> {
    match members.keys().next() {
        None => Ok(()),
        Some(name) => Err(wrong(&format!("`{}` means nothing here", shown(name)))),
    }
}

/// A name of somebody else's, fit for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|next| !next.is_control()).take(64).collect()
}
