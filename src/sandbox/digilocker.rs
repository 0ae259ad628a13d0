//! DigiLocker: OAuth 2.0 with opaque tokens and refresh tokens that rotate.
//!
//! A person consents on a page (with PKCE), or types a one-time password, which here is always [`OTP`].
//! Every refresh replaces the refresh token. Whoever shows an old one loses the grant, with all its
//! tokens, as RFC 9700, section 4.14.2 advises. Files come and go with a digest by the client's secret, and
//! so do the calls that a partner makes in its own name. Trouble with a document's issuer is HTTP 530, which
//! says nothing about the token.

mod consent;
mod files;

mod partner;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use self::consent::Consents;
use super::grants::Grants;
use super::token::{self, TokenBook};
use super::{Answer, Exchange, Received, Simulator, Tour};
use crate::clock::Clock;

/// The client that was registered.
pub const CLIENT_ID: &str = "DEMO7A31";
/// Its secret.
pub const CLIENT_SECRET: &str = "digilocker-demo-secret";
/// The refresh token of the grant that a person has given. It works once, then it is replaced.
pub const REFRESH_TOKEN: &str = "5eed0c0ffee5eed0c0ffee5eed0c0ffee5eed0c0";

/// The one-time password that everybody is sent.
pub const OTP: &str = "123456";

const AUTHORIZE: &str = "/public/oauth2/1/authorize";
const CODE: &str = "/public/oauth2/1/code";
const REVOKE: &str = "/public/oauth2/1/revoke";
const TOKEN: &str = "/public/oauth2/1/token";
const USER: &str = "/public/oauth2/1/user";
const ISSUED: &str = "/public/oauth2/2/files/issued";
/// A document whose issuer is out of order: HTTP 530.
const BROKEN_FILE: &str = "/public/oauth2/1/file/in.gov.transport-DRVLC-UNREACHABLE";
/// The grant of RFC 8628, section 3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const LIFETIME: Duration = Duration::from_secs(3600);

/// The simulator.
#[derive(Debug)]
pub struct Digilocker {
    tokens: TokenBook,
    clock: Clock,
    book: Mutex<Book>,
}

/// What people were asked, and what they granted.
#[derive(Debug)]
struct Book {
    consents: Consents,
    grants: Grants,
}

impl Digilocker {
    /// A vendor with one grant, whose refresh token is [`REFRESH_TOKEN`].
    pub fn new(tokens: TokenBook, clock: Clock) -> Self {
        let book = Book { consents: Consents::default(), grants: Grants::with(REFRESH_TOKEN) };
        Self { tokens, clock, book: Mutex::new(book) }
    }

    /// A person consents once more: the first refresh token of that.
    #[cfg(test)]
    pub(super) fn consent(&self) -> String {
        let first = token::opaque(&self.clock);
        self.book().grants.add(first.clone());
        first
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, request: &Received) -> Result<Answer, Answer> {
        let invalid = |complaint| error("invalid_request", "The request is malformed").because(complaint);
        let optional = [
            "client_id",
            "client_secret",
            "refresh_token",
            "code",
            "redirect_uri",
            "code_verifier",
            "device_code",
            "dl_otp",
        ];
        let form = request.form(&["grant_type"], &optional).map_err(invalid)?;
        authenticate(request, &form)
            .map_err(|complaint| error("invalid_client", "The client is unknown").because(complaint))?;
        let refused = |complaint: String| {
            error("invalid_grant", "What was granted is invalid or has expired").because(complaint)
        };
        let mut book = self.book();
        let (grant, refresh_token) = match form["grant_type"].as_str() {
            "refresh_token" => {
                let shown = form.get("refresh_token");
                let shown = shown.ok_or_else(|| invalid("`refresh_token` is missing in the body".into()))?;
                book.grants.rotate(shown, &self.clock).map_err(|complaint| refused(complaint.into()))?
            }
            kind @ ("authorization_code" | DEVICE_GRANT) => {
                let redeemed = if kind == DEVICE_GRANT {
                    book.consents.redeem_password(&form)
                } else {
                    book.consents.redeem_code(&form)
                };
                redeemed.map_err(refused)?;
                let first = token::opaque(&self.clock);
                (book.grants.add(first.clone()), first)
            }
            _ => {
                return Err(error("invalid_grant_type", "The grant type is not supported")
                    .because("`grant_type` is none that this vendor knows"));
            }
        };
        drop(book);
        let lifetime = self.tokens.lifetime(LIFETIME);
        let access_token = token::opaque(&self.clock);
        self.tokens.issue(&access_token, lifetime, &grant.to_string());
        Ok(Answer::json(
            200,
            &json!({
                "access_token": access_token,
                "expires_in": lifetime.as_secs().max(1),
                "token_type": "Bearer",
                "scope": "files.issueddocs userdetails",
                "refresh_token": refresh_token,
                "consent_valid_till": self.clock.wall().as_second() + 31 * 86_400,
                "digilockerid": "d8b3a4f2-5c1e-4f7a-9e0b-1a2b3c4d5e6f",
                "name": "Sunil Kumar",
                "dob": "31121970",
                "gender": "M",
                "eaadhaar": "Y",
                "reference_key": "2a33349e7e606a8ad2e30e3c84521f9377450cf0",
            }),
        ))
    }

    fn revoke(&self, request: &Received) -> Result<Answer, Answer> {
        let invalid = |complaint| error("invalid_request", "The request is malformed").because(complaint);
        let form =
            request.form(&["token"], &["token_type_hint", "client_id", "client_secret"]).map_err(invalid)?;
        authenticate(request, &form)
            .map_err(|complaint| error("invalid_client", "The client is unknown").because(complaint))?;
        let name = self.tokens.check(&form["token"]).ok();
        self.book().grants.revoke(&form["token"], name.as_deref());
        Ok(Answer::json(200, &json!({"revoked": true})))
    }

    fn data(&self, request: &Received, status: u16, body: &serde_json::Value) -> Result<Answer, Answer> {
        self.authorize(request)?;
        Ok(Answer::json(status, body))
    }

    /// Whether the token on a request is good.
    fn authorize(&self, request: &Received) -> Result<(), Answer> {
        let unauthorized = || {
            let description = "The access token is invalid";
            Answer::json(401, &json!({"error": "invalid_token", "error_description": description}))
        };
        let token = request.bearer().map_err(|complaint| unauthorized().because(complaint))?;
        let grant = self.tokens.check(token).map_err(|dead| unauthorized().because(dead))?;
        if !self.book().grants.is_alive(&grant) {
            return Err(unauthorized().because("the grant is dead"));
        }
        Ok(())
    }
}

impl Simulator for Digilocker {
    fn answer(&self, request: &Received) -> Answer {
        let answer = match (request.method.as_str(), request.path()) {
            ("GET", AUTHORIZE) => self.book().consents.page(request, &self.clock),
            ("POST", CODE) => self.book().consents.send_password(request, &self.clock),
            ("POST", TOKEN) => self.token(request),
            ("POST", REVOKE) => self.revoke(request),
            ("GET", USER) => self.data(
                request,
                200,
                &json!({"digilockerid": "d8b3a4f2-5c1e-4f7a-9e0b-1a2b3c4d5e6f", "name": "Sunil Kumar",
                        "dob": "31121970", "gender": "M", "eaadhaar": "Y"}),
            ),
            ("GET", ISSUED) => self.data(
                request,
                200,
                &json!({"items": [{"name": "PAN Verification Record", "doctype": "PANCR",
                        "issuer": "Income Tax Department", "uri": "in.gov.pan-PANCR-ABCPK1234D"}]}),
            ),
            ("GET", BROKEN_FILE) => self.data(
                request,
                530,
                &json!({"error": "repository_service_unavailable",
                        "error_description": "The issuer of the document did not answer"}),
            ),
            ("POST", files::UPLOAD) => self.authorize(request).and_then(|()| files::upload(request)),
            ("POST", path) if partner::is_call(path) => partner::answer(request, &self.clock),
            (method, path) => match files::download(path).filter(|_| method == "GET") {
                Some(file) => self.authorize(request).map(|()| file),
                None => Err(Answer::json(404, &json!({"error": "uri_not_found"}))
                    .because("there is no such endpoint")),
            },
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn is_issuer(&self, path: &str) -> bool {
        [AUTHORIZE, CODE, TOKEN, REVOKE].contains(&path)
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }
}

/// What there is to see here: a refresh token that is replaced each time.
pub(super) fn tour() -> Tour {
    Tour {
        method: Method::GET,
        app_path: "/digilocker/oauth2/1/user",
        path: USER,
        body: "",
        exchanges: &[Exchange { path: TOKEN, shows: "client and refresh token", brings: "access token" }],
        rotating: Some("refresh_token"),
        refusal: "HTTP 401",
        lifetime: Some(Duration::from_secs(4)),
    }
}

/// The client shows its secret in the form or as Basic authentication, never both (RFC 6749,
/// section 2.3).
fn authenticate(request: &Received, form: &BTreeMap<String, String>) -> Result<(), String> {
    let in_form = (form.get("client_id").map(String::as_str), form.get("client_secret").map(String::as_str));
    if !request.headers.contains_key("authorization") {
        let right = in_form == (Some(CLIENT_ID), Some(CLIENT_SECRET));
        return right.then_some(()).ok_or_else(|| "the client in the form is wrong".into());
    }
    if in_form.1.is_some() {
        return Err("the client shows its secret twice: in the form and in `Authorization`".into());
    }
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
    let right = request.field("authorization")? == format!("Basic {basic}");
    right.then_some(()).ok_or_else(|| "the client in `Authorization` is wrong".into())
}

fn error(code: &str, description: &str) -> Answer {
    Answer::json(400, &json!({"error": code, "error_description": description}))
}

#[cfg(test)]
mod tests {
    use super::{BROKEN_FILE, CLIENT_ID, CLIENT_SECRET, Digilocker, REFRESH_TOKEN, TOKEN, USER};
    use crate::clock::Clock;
    use crate::sandbox::received::tests::request;
    use crate::sandbox::{Answer, Simulator, TokenBook};

    fn vendor() -> Digilocker {
        let clock = Clock::system();
        Digilocker::new(TokenBook::new(clock.clone(), None), clock)
    }

    fn refresh(vendor: &Digilocker, refresh_token: &str) -> Answer {
        let form = format!(
            "grant_type=refresh_token&refresh_token={refresh_token}\
             &client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}"
        );
        vendor.answer(&request("POST", TOKEN).posting_form(&form))
    }

    #[test]
    fn a_refresh_token_works_once_and_its_second_use_kills_the_grant() {
        let vendor = vendor();
        let first = refresh(&vendor, REFRESH_TOKEN).value();
        let second = refresh(&vendor, first["refresh_token"].as_str().expect("text")).value();
        assert_eq!(vendor.answer(&request("GET", USER).with_bearer(&second["access_token"])).status(), 200);
        assert_eq!(refresh(&vendor, REFRESH_TOKEN).value()["error"], "invalid_grant");
        let newest = second["refresh_token"].as_str().expect("text");
        assert_eq!(refresh(&vendor, newest).value()["error"], "invalid_grant");
        let refused = vendor.answer(&request("GET", USER).with_bearer(&second["access_token"]));
        assert_eq!((refused.status().as_u16(), &refused.value()["error"]), (401, &"invalid_token".into()));
    }

    #[test]
    fn the_client_shows_its_secret_once_in_either_place() {
        let basic = "Basic REVNTzdBMzE6ZGlnaWxvY2tlci1kZW1vLXNlY3JldA==";
        let form = format!("grant_type=refresh_token&refresh_token={REFRESH_TOKEN}");
        let posted = || request("POST", TOKEN).with("authorization", basic);
        let both = format!("{form}&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
        assert_eq!(vendor().answer(&posted().posting_form(&form)).status(), 200);
        assert_eq!(vendor().answer(&posted().posting_form(&both)).value()["error"], "invalid_client");
        assert_eq!(
            vendor().answer(&request("POST", TOKEN).posting_form(&form)).value()["error"],
            "invalid_client"
        );
    }

    #[test]
    fn trouble_behind_the_vendor_is_status_530() {
        let vendor = vendor();
        let token = refresh(&vendor, REFRESH_TOKEN).value()["access_token"].clone();
        let answer = vendor.answer(&request("GET", BROKEN_FILE).with_bearer(&token));
        assert_eq!((answer.status().as_u16(), answer.complaint()), (530, None));
    }
}
