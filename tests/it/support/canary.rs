//! Values that must never be seen, and the check that they were not.

use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bearerd::clock::Clock;
use bearerd::credential::store::seal::StoreKey;

static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A token: only the upstream may see it.
pub fn token() -> String {
    new(&TOKENS, "tkn")
}

/// A password, client secret or refresh token: only the issuer may see it.
pub fn secret() -> String {
    new(&SECRETS, "scr")
}

/// A key of a store, in hexadecimal: nobody may see it.
pub fn store_key() -> String {
    let key = StoreKey::generate(&Clock::system());
    let key = key.expose_str().expect("hexadecimal digits").to_owned();
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
    key
}

/// Fails if bytes that went to an app, a log or a terminal show a token or a secret.
#[track_caller]
pub fn assert_unseen(bytes: &[u8], place: &str) {
    let seen = find(&TOKENS, bytes).or_else(|| find(&SECRETS, bytes));
    assert_eq!(seen, None, "{place} shows it:\n{}", String::from_utf8_lossy(bytes));
}

/// Notes the secrets in bytes that went to an upstream, which may see tokens only. A server's thread
/// cannot fail a test, so that [`assert_no_secret_found`] does.
pub fn look_for_secrets(bytes: &[u8]) {
    if let Some(secret) = find(&SECRETS, bytes) {
        FOUND.lock().unwrap_or_else(PoisonError::into_inner).push(secret);
    }
}

/// Fails if an upstream was shown a secret.
#[track_caller]
pub fn assert_no_secret_found() {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(found.is_empty(), "an upstream was shown {found:?}");
}

fn new(canaries: &Mutex<Vec<String>>, kind: &str) -> String {
    let canary = format!("cnry-{kind}-{}", Clock::system().uuid());
    canaries.lock().unwrap_or_else(PoisonError::into_inner).push(canary.clone());
    canary
}

fn find(canaries: &Mutex<Vec<String>>, bytes: &[u8]) -> Option<String> {
    let canaries = canaries.lock().unwrap_or_else(PoisonError::into_inner).clone();
    canaries.into_iter().find(|canary| {
        // All canaries begin alike: the end of the value stands for it.
        let end = &canary[9..];
        [end.to_owned(), STANDARD.encode(canary), URL_SAFE_NO_PAD.encode(end)]
            .iter()
            .any(|form| memchr::memmem::find(bytes, form.as_bytes()).is_some())
    })
}

#[test]
fn a_canary_is_seen_raw_and_encoded() {
    let canary = secret();
    assert_unseen(b"nothing here", "a test");
    for shown in [canary.clone(), STANDARD.encode(&canary), format!("Bearer {canary}\r\n")] {
        let caught = std::panic::catch_unwind(|| assert_unseen(shown.as_bytes(), "a test"));
        assert!(caught.is_err(), "{shown}");
    }
}
