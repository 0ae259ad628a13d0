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
    canaries.into_iter().find(|canary| form_in(canary, bytes).is_some())
}

/// All canaries that there are.
pub fn known() -> Vec<String> {
    let known =
        |canaries: &Mutex<Vec<String>>| canaries.lock().unwrap_or_else(PoisonError::into_inner).clone();
    [known(&TOKENS), known(&SECRETS)].concat()
}

fn form_in(canary: &str, bytes: &[u8]) -> Option<&'static str> {
    let is_in = |form: &str| memchr::memmem::find(bytes, form.as_bytes()).is_some();
    forms(canary).into_iter().find_map(|(name, form)| is_in(&form).then_some(name))
}

/// All canaries begin alike: the end of the value stands for it.
fn own_part(canary: &str) -> &str {
    &canary[9..]
}

/// What a canary looks like in every encoding that something on its way may give it.
pub fn forms(canary: &str) -> Vec<(&'static str, String)> {
    forms_of(own_part(canary))
}

/// The same for any text.
pub fn forms_of(end: &str) -> Vec<(&'static str, String)> {
    let each = |write: fn(u8) -> String| end.bytes().map(write).collect::<String>();
    let mut forms = vec![
        ("raw", end.to_owned()),
        ("upper case", end.to_uppercase()),
        ("hexadecimal", each(|byte| format!("{byte:02x}"))),
        ("hexadecimal in capitals", each(|byte| format!("{byte:02X}"))),
        ("percent escapes", each(|byte| format!("%{byte:02x}"))),
        ("percent escapes in capitals", each(|byte| format!("%{byte:02X}"))),
        ("percent escapes of what is no letter", end.replace('-', "%2D")),
        ("small percent escapes of what is no letter", end.replace('-', "%2d")),
        ("JSON escapes", each(|byte| format!("\\u{byte:04x}"))),
        ("JSON escapes in capitals", each(|byte| format!("\\u{byte:04X}"))),
        ("reversed", end.chars().rev().collect()),
        ("two bytes a letter", list(end, "\0", |byte| char::from(byte).to_string())),
        ("escapes of Rust", each(|byte| format!("\\u{{{byte:x}}}"))),
        ("escapes of C", each(|byte| format!("\\x{byte:02x}"))),
        ("escapes of HTML", each(|byte| format!("&#{byte};"))),
        ("escapes of HTML in hexadecimal", each(|byte| format!("&#x{byte:x};"))),
    ];
    for between in [", ", ",", " "] {
        forms.push(("bytes as a list", list(end, between, |byte| byte.to_string())));
    }
    for between in [" ", ":", ", "] {
        forms.push(("hexadecimal as a list", list(end, between, |byte| format!("{byte:02x}"))));
    }
    forms.push(("hexadecimal as a list of Rust", list(end, ", ", |byte| format!("0x{byte:02x}"))));
    // What stands before it moves the bits: there are three alignments. The digits at the ends belong to
    // the neighbours, too.
    for before in 0..3 {
        let moved = [&[b' '; 2][..before], end.as_bytes()].concat();
        let (first, last) = ([0, 2, 3][before], moved.len() * 4 / 3);
        forms.push(("base64", STANDARD.encode(&moved)[first..last].to_owned()));
        forms.push(("base64 for URLs", URL_SAFE_NO_PAD.encode(&moved)[first..last].to_owned()));
    }
    forms
}

fn list(text: &str, between: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect::<Vec<_>>().join(between)
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
