//! Answers of issuers: what is taken for a token can stand in a field, its end lies ahead or is unknown, and
//! no message shows a value.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bearerd::clock::{Clock, Moment};
use bearerd::config::{self, Environment};
use bearerd::credential::flow::{Issuer, Mint, MintError};
use bearerd::credential::input::Inputs;
use bearerd::credential::{CredentialSpec, Expiry, Minted, schedule};
use bearerd::secret::Secret;
use bearerd::upstream::exchange::Answer;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

const CONFIGURATION: &str = r#"
[listeners.app]
bind = "127.0.0.1:8080"
[credentials.grant]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "c"
client_secret = { value = "s3cret-of-the-client" }
scopes = ["one"]
outputs = { account = "/account/id" }
[credentials.refresh]
flow = "oauth2"
grant = "refresh_token"
token_url = "https://issuer.example/token"
client_id = "c"
client_secret = { value = "s3cret-of-the-client" }
refresh_token = { value = "refresh-of-the-client" }
[credentials.login]
flow = "login"
secrets.pin = { value = "s3cret-of-the-client" }
[[credentials.login.steps]]
url = "https://issuer.example/login"
json = { pin = "{pin}" }
outputs = { token = "/token" }
expires_at = { json = "/expires", format = "epoch_s" }
[routes.r]
path = "/r"
upstream = "https://api.example"
credential = "grant"
"#;

const STATUSES: &[u16] = &[200, 200, 200, 201, 400, 401, 403, 429, 500, 503, 302];
const TYPES: &[&str] = &["application/json", "application/json;charset=utf-8", "text/html", "text/plain", ""];

thread_local! {
    /// One for all inputs: to make one takes longer than to read an answer.
    static RUNTIME: Runtime = {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime")
    };
}

fn credentials() -> &'static [Arc<CredentialSpec>] {
    static CREDENTIALS: OnceLock<Vec<Arc<CredentialSpec>>> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        match config::load_text("fuzz.toml", CONFIGURATION, &Environment::of_process()) {
            Ok(loaded) => loaded.config.credentials,
            Err(problems) => panic!("{problems}"),
        }
    })
}

/// Which credential, which status, which content type, and the body.
pub(crate) fn run(bytes: &[u8]) {
    let [which, status, content_type, body @ ..] = bytes else { return };
    let pick = |of: usize, by: u8| usize::from(by) % of;
    let spec = &credentials()[pick(credentials().len(), *which)];
    let status = STATUSES[pick(STATUSES.len(), *status)];
    let content_type = TYPES[pick(TYPES.len(), *content_type)];
    let now = Timestamp::constant(1_700_000_000, 0);
    let mint = async {
        let clock = Clock::simulated(now, 1);
        let body = Secret::new(body);
        let answers = move |_, _| {
            let answer = Answer {
                status: StatusCode::from_u16(status).expect("a status"),
                headers: HeaderMap::from_iter([(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(content_type),
                )]),
                body: body.clone(),
            };
            Box::pin(async move { Ok(answer) }) as _
        };
        let values = [
            ("client_secret", "s3cret-of-the-client"),
            ("pin", "s3cret-of-the-client"),
            ("refresh_token", "refresh-of-the-client"),
        ];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), Secret::from(value)));
        let inputs = Inputs { values: values.collect(), ..Inputs::default() };
        Issuer::direct(Arc::new(answers), clock).mint(Arc::clone(spec), inputs).await
    };
    match RUNTIME.with(|runtime| runtime.block_on(mint)) {
        Ok(minted) => check(spec, &minted, now),
        Err(error) => check_message(&error),
    }
}

fn check(spec: &CredentialSpec, minted: &Minted, now: Timestamp) {
    let token = minted.outputs.get("access_token").or(minted.outputs.get("token")).expect("a token came");
    let value = HeaderValue::from_bytes(token.expose()).expect("a token can stand in a field");
    assert!(!value.is_empty(), "a token is not empty");
    let received = Moment { wall: now, boot: Duration::from_secs(1000) };
    let (lifetime, warning) = schedule::lifetime(spec, minted.lifetime, received);
    let expiry = Expiry::new(received, lifetime);
    let end = expiry.left(received).expect("a token that an issuer gives has an end");
    assert!(!end.is_zero() && end <= schedule::LONGEST_LIFETIME, "it lies ahead, and not too far");
    assert!(expiry.is_usable(received), "a token that came can be used");
    for fraction in [0.0, 0.5, 0.999_999] {
        let renewal = schedule::renewal(spec, &expiry, fraction).expect("it is renewed");
        let until = expiry.usable_until().expect("it ends");
        assert!(renewal.left(received) < until.left(received) || until.left(received).is_zero(), "in time");
    }
    if let Some(warning) = &warning {
        check_text(warning);
    }
    for warning in &minted.warnings {
        check_text(warning);
        let token = token.expose_str().unwrap_or_default();
        assert!(token.len() < 8 || !warning.contains(token), "no warning shows the token");
    }
}

fn check_message(error: &MintError) {
    check_text(&format!("{error:?}"));
}

fn check_text(text: &str) {
    assert!(text.len() < 4096, "a message is short");
    assert!(!text.contains("s3cret-of-the-client") && !text.contains("refresh-of-the-client"), "{text}");
    assert!(!text.contains(|letter: char| letter.is_control()), "a message is one line: {text:?}");
}
