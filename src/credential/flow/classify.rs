//! What a failed exchange means for the next one: the same for every flow.
//!
//! ```text
//! no connection, or a time-out before any byte left   transient
//! the request was sent and its answer is lost         unanswered
//! any 401                                             rejected
//! 408, 429, 5xx, an answer that cannot be read        transient, with the issuer's Retry-After
//! any other 4xx, a redirect                           stubborn
//! ```

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use jiff::Timestamp;

use crate::backoff;
use crate::credential::Outputs;
use crate::credential::flow::MintError;
use crate::credential::input::Inputs;
use crate::secret::Secret;
use crate::upstream::exchange::{Answer, ExchangeError};

/// The longest error code that a message quotes.
const LONGEST_QUOTE: usize = 64;

/// The longest warning that is taken over from an issuer.
const LONGEST_WARNING: usize = 200;

/// Values shorter than this are not looked for in quotes: they would be found everywhere.
const SHORTEST_VALUE: usize = 4;

impl From<ExchangeError> for MintError {
    fn from(error: ExchangeError) -> Self {
        if error.sent {
            Self::Unanswered { message: error.message }
        } else {
            Self::Transient { message: error.message, retry_after: None }
        }
    }
}

/// The class of an answer that is no success, by its status alone; `message` says what it was.
pub(in crate::credential) fn by_status(answer: &Answer, now: Timestamp, message: String) -> MintError {
    match answer.status.as_u16() {
        401 => MintError::Rejected { message },
        408 | 429 | 500.. => MintError::Transient { message, retry_after: retry_after(answer, now) },
        300..=399 => MintError::Stubborn {
            message: format!("{message}: redirects are never followed, so the URL must be the final one"),
        },
        400..=499 => MintError::Stubborn { message },
        _ => transient(message),
    }
}

/// A transient failure without any wish of the issuer.
pub(in crate::credential) fn transient(message: impl Into<String>) -> MintError {
    MintError::Transient { message: message.into(), retry_after: None }
}

/// A status in words: `503 Service Unavailable`.
pub(in crate::credential) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    backoff::retry_after(answer.headers.get(RETRY_AFTER)?.as_bytes(), now)
}

/// An issuer's error code, fit for a message: the characters that RFC 6749, section 5.2, allows,
/// cut, and nothing at all of one that repeats an input.
pub(in crate::credential) fn quote(code: &str, inputs: &Inputs) -> Option<String> {
    if repeats_one_of(code, inputs.values.values()) {
        return None;
    }
    let clean: String = code
        .chars()
        .filter(|next| matches!(next, ' '..='~') && !matches!(next, '"' | '\\' | '`'))
        .take(LONGEST_QUOTE)
        .collect();
    (!clean.trim().is_empty()).then(|| clean.trim().to_owned())
}

/// A text of an issuer as a warning: on one line, cut, and nothing at all of one that repeats an
/// input or an output.
pub(in crate::credential) fn warning(text: &str, inputs: &Inputs, outputs: &Outputs) -> Option<String> {
    if repeats_one_of(text, inputs.values.values().chain(outputs.values())) {
        return None;
    }
    let clean: String = text.chars().filter(|next| !next.is_control()).take(LONGEST_WARNING).collect();
    (!clean.trim().is_empty()).then(|| format!("the issuer says: {}", clean.trim()))
}

fn repeats_one_of<'a>(text: &str, values: impl Iterator<Item = &'a Secret>) -> bool {
    let mut texts = values.filter_map(Secret::expose_str);
    texts.any(|value| value.len() >= SHORTEST_VALUE && text.contains(value))
}

#[cfg(test)]
mod tests {
    use super::{quote, warning};
    use crate::credential::Outputs;
    use crate::credential::input::Inputs;
    use crate::secret::Secret;

    #[test]
    fn quotes_are_short_clean_and_never_a_secret() {
        let mut inputs = Inputs::default();
        inputs.values.insert("password".to_owned(), Secret::from("hunter2"));
        assert_eq!(quote("invalid_grant", &inputs).as_deref(), Some("invalid_grant"));
        assert_eq!(quote("a\r\nb\u{1b}[31m\"`\\c", &inputs).as_deref(), Some("ab[31mc"));
        assert_eq!(quote(&"x".repeat(1000), &inputs).map(|quote| quote.len()), Some(64));
        assert_eq!(quote("bad password hunter2", &inputs), None);
        assert_eq!(quote("\r\n", &inputs), None);
        let outputs = Outputs::from([("token".to_owned(), Secret::from("tok-1"))]);
        assert_eq!(warning("use\nhunter2", &inputs, &outputs), None);
        assert_eq!(warning("use tok-1", &inputs, &outputs), None);
        assert_eq!(
            warning("secret\nexpires", &inputs, &outputs).as_deref(),
            Some("the issuer says: secretexpires")
        );
    }
}
