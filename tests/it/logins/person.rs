//! An issuer with a person before it, who consents to whatever a browser is sent with: its rules are
//! those of RFC 6749, 7636, 8628, 9126 and 9207, and it complains about whatever breaks them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::support::message::Message;
use crate::support::{Reply, Upstream, canary};

/// A query or a form by name.
pub type Fields = BTreeMap<String, String>;

#[derive(Clone)]
pub struct Person {
    server: Upstream,
    api: Upstream,
    book: Arc<Mutex<Book>>,
}

/// What the issuer remembers, and how it differs from the usual one.
#[derive(Default)]
pub struct Book {
    /// Members that its metadata has in place of the usual ones.
    pub metadata: Map<String, Value>,
    /// Claims that its ID tokens have in place of the usual ones.
    pub claims: Map<String, Value>,
    /// What each token answer has in place of the usual members.
    pub answer: Map<String, Value>,
    /// Errors of the token endpoint that come first.
    pub errors: Vec<&'static str>,
    /// Authorization requests by code.
    codes: BTreeMap<String, Fields>,
    /// Pushed requests by reference.
    pushed: BTreeMap<String, Fields>,
    /// The refresh token that is good.
    refresh_token: Option<String>,
    /// The one-time password.
    pub otp: Option<String>,
    /// What the device shows the issuer.
    pub device_code: String,
    pub tokens: Vec<String>,
}

impl Person {
    pub fn new() -> Self {
        let book = Book { device_code: canary::secret(), ..Book::default() };
        let book = Arc::new(Mutex::new(book));
        let (shared, live) = (Arc::clone(&book), Arc::clone(&book));
        let server = Upstream::issuer(move |request| answer(&mut lock(&shared), request));
        let api = Upstream::answering(move |request| {
            let shown = request.field("authorization").unwrap_or_default();
            let is_live = lock(&live).tokens.last().is_some_and(|token| shown == format!("Bearer {token}"));
            if is_live { Reply::text("hello") } else { Reply::status(401, "text/plain", "no") }
        });
        Self { server, api, book }
    }

    pub fn origin(&self) -> String {
        self.server.origin()
    }

    pub fn api(&self) -> String {
        self.api.origin()
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// What was sent to a path.
    pub fn requests_to(&self, path: &str) -> Vec<Message> {
        let is_there = |request: &Message| request.target().split('?').next() == Some(path);
        self.server.requests().into_iter().filter(is_there).collect()
    }

    /// Follows the URL that a browser was sent to, and consents: what the browser brings back.
    #[track_caller]
    pub fn consent(&self, url: &str) -> Fields {
        let (request, redirect_uri) = self.visit(url);
        let mut book = self.book();
        let code = canary::secret();
        let state = request["state"].clone();
        book.codes.insert(code.clone(), request);
        let issuer = self.origin();
        drop(book);
        assert!(
            redirect_uri.ends_with("/oauth/callback")
                || redirect_uri.contains("app.example")
                || redirect_uri.ends_with("/back"),
            "{redirect_uri}"
        );
        [("code", code), ("state", state), ("iss", issuer)]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// What a browser is sent with, and where it is to come back.
    #[track_caller]
    pub fn visit(&self, url: &str) -> (Fields, String) {
        let (place, query) = url.split_once('?').expect("a query");
        assert_eq!(place, format!("{}/authorize", self.origin()));
        let mut request = fields(query);
        if let Some(reference) = request.get("request_uri") {
            assert_eq!(request.len(), 2, "a pushed request is named, and not repeated: {url}");
            request = self.book().pushed.remove(reference).expect("a pushed request");
        }
        assert_eq!(request["response_type"], "code");
        assert_eq!(request["client_id"], "app");
        assert_eq!(request["code_challenge_method"], "S256");
        assert_eq!((request["state"].len(), request["code_challenge"].len()), (43, 43));
        let redirect_uri = request["redirect_uri"].clone();
        (request, redirect_uri)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn fields(query: &str) -> Fields {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn answer(book: &mut Book, request: &Message) -> Reply {
    let origin = &format!("http://{}", request.field("host").expect("a host"));
    match request.target().split('?').next().unwrap_or_default() {
        "/.well-known/openid-configuration" => {
            let mut metadata = json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "device_authorization_endpoint": format!("{origin}/device"),
                "authorization_response_iss_parameter_supported": true,
            });
            overlay(&mut metadata, &book.metadata);
            Reply::json(200, &metadata)
        }
        "/par" => {
            let reference = format!("urn:ietf:params:oauth:request_uri:{}", book.pushed.len());
            book.pushed.insert(reference.clone(), request.form());
            Reply::json(201, &json!({"request_uri": reference, "expires_in": 60}))
        }
        "/device" => Reply::json(
            200,
            &json!({"device_code": book.device_code, "user_code": "WDJB-MJHT", "verification_uri": format!("{origin}/d"),
                "verification_uri_complete": format!("{origin}/d?c=WDJB-MJHT"), "expires_in": 300, "interval": 0.05,
                "masked": "XXXXXX1234"}),
        ),
        "/token" => token(book, origin, &request.form())
            .unwrap_or_else(|error| Reply::json(400, &json!({"error": error}))),
        _ => Reply::json(404, &json!({"error": "not_found"})),
    }
}

fn token(book: &mut Book, origin: &str, form: &Fields) -> Result<Reply, &'static str> {
    if !book.errors.is_empty() {
        return Err(book.errors.remove(0));
    }
    let mut nonce = None;
    match form["grant_type"].as_str() {
        "authorization_code" => {
            let request = book.codes.remove(&form["code"]).ok_or("invalid_grant")?;
            let verifier = form.get("code_verifier").ok_or("invalid_grant")?;
            let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
            let is_same = BASE64_URL_SAFE_NO_PAD.encode(challenge) == request["code_challenge"]
                && form.get("redirect_uri") == request.get("redirect_uri");
            is_same.then_some(()).ok_or("invalid_grant")?;
            nonce = request.get("nonce").cloned();
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            (form["device_code"] == book.device_code).then_some(()).ok_or("invalid_grant")?;
            (book.otp.as_ref() == form.get("dl_otp")).then_some(()).ok_or("otp_mismatch")?;
        }
        "refresh_token" => {
            let good = book.refresh_token.take().ok_or("invalid_grant")?;
            (form["refresh_token"] == good).then_some(()).ok_or("invalid_grant")?;
        }
        _ => return Err("unsupported_grant_type"),
    }
    let (access, refresh) = (canary::token(), canary::secret());
    book.tokens.push(access.clone());
    book.refresh_token = Some(refresh.clone());
    let mut claims = json!({"iss": origin, "aud": "app", "sub": "me", "iat": 1_700_000_000, "exp": 4_000_000_000_u64, "nonce": nonce});
    overlay(&mut claims, &book.claims);
    let id_token = format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": refresh});
    if nonce.is_some() {
        answer["id_token"] = id_token.into();
    }
    overlay(&mut answer, &book.answer);
    Ok(Reply::json(200, &answer))
}

/// Replaces members; null takes one away.
fn overlay(document: &mut Value, over: &Map<String, Value>) {
    let members = document.as_object_mut().expect("an object");
    for (name, value) in over {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}
