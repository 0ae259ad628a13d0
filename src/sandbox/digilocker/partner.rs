//! What a partner asks in its own name: no token, but a digest that begins with its secret.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::{CLIENT_ID, CLIENT_SECRET};
use crate::clock::Clock;
use crate::sandbox::{Answer, Received};

/// Each call, with what it takes beside `clientid`, `ts` and `hmac`.
const CALLS: [(&str, &[&str]); 5] = [
    ("/public/oauth2/1/pull/issuers", &[]),
    ("/public/oauth2/1/pull/doctype", &["orgid"]),
    ("/public/oauth2/1/pull/parameters", &["orgid", "doctype"]),
    ("/public/statistics/1/counts", &[]),
    ("/public/account/2/verify", &["mobile"]),
];

/// How old a call may be, in seconds.
const OLDEST: i64 = 30 * 60;

/// Whether a path is one of these calls.
pub(super) fn is_call(path: &str) -> bool {
    CALLS.iter().any(|(call, _)| *call == path)
}

/// Answers one of these calls.
pub(super) fn answer(request: &Received, clock: &Clock) -> Result<Answer, Answer> {
    let invalid = |complaint: String| {
        let description = "One or more of the mandatory parameters is missing or invalid";
        error(400, "invalid_parameter", description).because(complaint)
    };
    let further = CALLS.iter().find(|(call, _)| *call == request.path()).map_or(&[][..], |(_, own)| own);
    let names = [&["clientid", "ts", "hmac"], further].concat();
    let fields = request
        .form(&names, &[])
        .or_else(|complaint| match request.json(&names, &[]) {
            Ok(members) => {
                let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).unwrap_or_default();
                Ok(members.iter().map(|(name, value)| (name.clone(), text(value))).collect())
            }
            Err(_) => Err(complaint),
        })
        .map_err(invalid)?;
    if fields["clientid"] != CLIENT_ID {
        let description = "The client_id parameter is invalid";
        return Err(error(401, "invalid_client_id", description).because("`clientid` is wrong"));
    }
    let age = fields["ts"].parse().map(|at: i64| clock.wall().as_second() - at);
    if !age.is_ok_and(|age| (-60..=OLDEST).contains(&age)) {
        return Err(invalid("`ts` is not of the last 30 minutes".into()));
    }
    let part = |name: &str| fields.get(name).map_or("", String::as_str);
    let text = [CLIENT_SECRET, CLIENT_ID, part("orgid"), part("doctype"), part("ts")].concat();
    if part("hmac") != hex(digest(&SHA256, text.as_bytes()).as_ref()) {
        return Err(invalid("`hmac` is wrong".into()));
    }
    Ok(Answer::json(
        200,
        &json!({"issuers": [{"name": "Income Tax Department", "orgid": "001891", "issuerid": "in.gov.pan",
            "categories": "Central Government", "description": "PAN"}]}),
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn error(status: u16, code: &str, description: &str) -> Answer {
    Answer::json(status, &json!({"error": code, "error_description": description}))
}
