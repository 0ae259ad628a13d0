//! A person consents: the page of the browser, the code of a device, and the password that comes by SMS.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::{CLIENT_ID, OTP, error};
use crate::clock::Clock;
use crate::sandbox::{Answer, Received, token};

/// Consents that were begun and not redeemed.
#[derive(Debug, Default)]
pub(super) struct Consents {
    /// Authorization requests by the code that the page hands out.
    codes: HashMap<String, Asked>,
    /// Device codes whose password was sent.
    devices: HashSet<String>,
}

/// What a code is bound to.
#[derive(Debug)]
struct Asked {
    redirect_uri: String,
    challenge: String,
}

/// What an authorization request has to have, and what else it may have.
const REQUIRED: [&str; 6] =
    ["response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"];
const OPTIONAL: [&str; 14] = [
    "scope",
    "nonce",
    "dl_flow",
    "verified_mobile",
    "purpose",
    "service_name",
    "acr",
    "amr",
    "req_doctype",
    "pla",
    "plsignup",
    "consent_valid_till",
    "prompt",
    "login_hint",
];

impl Consents {
    /// The page that asks the person. Both answers are links back to the client.
    pub(super) fn page(&mut self, request: &Received, clock: &Clock) -> Result<Answer, Answer> {
        let refused =
            |complaint: String| error("invalid_request", "The request is malformed").because(complaint);
        let query = request.target.query().unwrap_or_default();
        let fields: BTreeMap<String, String> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let Some(name) = REQUIRED.iter().find(|name| !fields.contains_key(**name)) {
            return Err(refused(format!("`{name}` is missing in the query")));
        }
        let is_known = |name: &str| REQUIRED.contains(&name) || OPTIONAL.contains(&name);
        if let Some(name) = fields.keys().find(|name| !is_known(name)) {
            return Err(refused(format!("`{name}` does not belong in the query")));
        }
        for (name, value) in
            [("response_type", "code"), ("client_id", CLIENT_ID), ("code_challenge_method", "S256")]
        {
            if fields[name] != value {
                return Err(refused(format!("`{name}` is not `{value}`")));
            }
        }
        let code = token::opaque(clock);
        let back = |answer: &[(&str, &str)]| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(answer).append_pair("state", &fields["state"]);
            // In an attribute, `&` is written so.
            format!("{}?{}", fields["redirect_uri"], query.finish()).replace('&', "&amp;")
        };
        let (allow, deny) = (back(&[("code", &code)]), back(&[("error", "access_denied")]));
        let page = format!(
            "<!doctype html><title>DigiLocker sandbox</title><h1>Share your documents?</h1>\
             <p><a href=\"{allow}\">Allow</a></p><p><a href=\"{deny}\">Deny</a></p>\n"
        );
        let asked = Asked {
            redirect_uri: fields["redirect_uri"].clone(),
            challenge: fields["code_challenge"].clone(),
        };
        self.codes.insert(code, asked);
        Ok(Answer::page(page))
    }

    /// Redeems the code of the page.
    pub(super) fn redeem_code(&mut self, form: &BTreeMap<String, String>) -> Result<(), String> {
        let field = |name: &str| form.get(name).ok_or(format!("`{name}` is missing in the body"));
        let asked = self.codes.remove(field("code")?).ok_or("the code is unknown or was used before")?;
        if *field("redirect_uri")? != asked.redirect_uri {
            return Err("`redirect_uri` is not that of the authorization request".into());
        }
        let verifier = digest::digest(&digest::SHA256, field("code_verifier")?.as_bytes());
        let is_same = BASE64_URL_SAFE_NO_PAD.encode(verifier) == asked.challenge;
        is_same.then_some(()).ok_or_else(|| "`code_verifier` does not fit the challenge".into())
    }

    /// Sends a password, as it were.
    pub(super) fn send_password(&mut self, request: &Received, clock: &Clock) -> Result<Answer, Answer> {
        let refused =
            |code: &str, complaint: &str| error(code, "The request is malformed").because(complaint);
        let members = request
            .json(&["client_id", "response_type"], &["dl_username", "dl_mobile"])
            .map_err(|complaint| refused("invalid_request", &complaint))?;
        if members["response_type"] != "device_code" {
            return Err(refused("invalid_response_type", "`response_type` is not `device_code`"));
        }
        if members["client_id"] != CLIENT_ID {
            let answer = Answer::json(401, &json!({"error": "invalid_client_id"}));
            return Err(answer.because("`client_id` is wrong"));
        }
        let mobile = members.get("dl_mobile").and_then(|mobile| mobile.as_str());
        let is_mobile = |mobile: &str| mobile.len() == 10 && mobile.bytes().all(|byte| byte.is_ascii_digit());
        match (mobile, members.get("dl_username")) {
            (Some(mobile), None) if !is_mobile(mobile) => {
                return Err(refused("invalid_mobile", "`dl_mobile` has not ten digits"));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err(refused("invalid_username", "one of `dl_username` and `dl_mobile` is sent")),
        }
        let code = token::opaque(clock);
        self.devices.insert(code.clone());
        let shown = mobile.map_or("XXXXXX3210".to_owned(), |mobile| format!("XXXXXX{}", &mobile[6..]));
        Ok(Answer::json(
            200,
            &json!({"device_code": code, "dl_masked_mobile": shown, "dl_masked_email": "s****@e******.in",
                "expires_in": 600}),
        ))
    }

    /// Redeems a device's code by its password.
    pub(super) fn redeem_password(&mut self, form: &BTreeMap<String, String>) -> Result<(), String> {
        let field = |name: &str| form.get(name).ok_or(format!("`{name}` is missing in the body"));
        let code = field("device_code")?;
        if !self.devices.contains(code) {
            return Err("the device's code is unknown or was used before".into());
        }
        if field("dl_otp")? != OTP {
            return Err("the password is wrong".into());
        }
        self.devices.remove(code);
        Ok(())
    }
}
