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
use zeroize::Zeroizing;

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
    let is_fit = |next: &char| matches!(next, ' '..='~') && !matches!(next, '"' | '\\' | '`');
    shown(code, is_fit, LONGEST_QUOTE, inputs.values.values())
}

/// A text of an issuer as a warning: on one line, cut, and nothing at all of one that repeats an
/// input or an output.
pub(in crate::credential) fn warning(text: &str, inputs: &Inputs, outputs: &Outputs) -> Option<String> {
    let values = inputs.values.values().chain(outputs.values());
    let text = shown(text, |next| !next.is_control(), LONGEST_WARNING, values)?;
    Some(format!("the issuer says: {text}"))
}

/// The characters of a text that are fit to be shown, and no more than so many of them; nothing if a value
/// stands in it, or would stand in what is left when the others are gone.
fn shown<'a>(
    text: &str,
    is_fit: impl Fn(&char) -> bool,
    longest: usize,
    values: impl Iterator<Item = &'a Secret>,
) -> Option<String> {
    let fit = |text: &str| -> String { text.chars().filter(&is_fit).collect() };
    let left = fit(text);
    let mut values = values.filter_map(Secret::expose_str).filter(|value| value.len() >= SHORTEST_VALUE);
    let repeats = |value: &str| {
        let value_left = Zeroizing::new(fit(value));
        text.contains(value) || (value_left.len() >= SHORTEST_VALUE && left.contains(value_left.as_str()))
    };
    if values.any(repeats) {
        return None;
    }
    let left: String = left.chars().take(longest).collect();
    (!left.trim().is_empty()).then(|| left.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::RETRY_AFTER;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use jiff::Timestamp;

    use super::{by_status, quote, status_text, warning};
    use crate::credential::Outputs;
    use crate::credential::flow::MintError;
    use crate::credential::input::Inputs;
    use crate::secret::Secret;
    use crate::upstream::exchange::{Answer, ExchangeError};

    #[test]
    fn only_401_rejects_what_may_pass_is_transient_and_what_a_person_has_to_mend_is_stubborn() {
        let class = |status: u16| {
            let answer = Answer {
                status: StatusCode::from_u16(status).expect("a status"),
                headers: HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]),
                body: Secret::from(""),
            };
            by_status(&answer, Timestamp::UNIX_EPOCH, "the issuer answered".to_owned())
        };
        for status in 100..=999 {
            let error = class(status);
            let is_right = match status {
                401 => matches!(error, MintError::Rejected { .. }),
                408 | 429 | 500.. => matches!(
                    error,
                    MintError::Transient { retry_after: Some(pause), .. } if pause == Duration::from_secs(7)
                ),
                300..=499 => matches!(error, MintError::Stubborn { .. }),
                _ => matches!(error, MintError::Transient { retry_after: None, .. }),
            };
            assert!(is_right, "{status}: {error:?}");
            let tells_of_redirect = format!("{error:?}").contains("redirects are never followed");
            assert_eq!(tells_of_redirect, (300..400).contains(&status), "{status}");
        }
    }

    #[test]
    fn a_lost_answer_may_have_used_something_up_and_a_lost_connection_not() {
        let error = |sent| MintError::from(ExchangeError { sent, message: "it broke".to_owned() });
        assert!(matches!(error(true), MintError::Unanswered { message } if message == "it broke"));
        assert!(matches!(error(false), MintError::Transient { message, .. } if message == "it broke"));
    }

    #[test]
    fn a_status_is_told_with_its_reason_if_it_has_one() {
        let text = |status: u16| status_text(StatusCode::from_u16(status).expect("a status"));
        assert_eq!((text(503).as_str(), text(599).as_str()), ("503 Service Unavailable", "599"));
    }

    #[test]
    fn quotes_are_short_clean_and_never_a_secret() {
        let mut inputs = Inputs::default();
        inputs.values.insert("password".to_owned(), Secret::from("hunter2"));
        assert_eq!(quote("invalid_grant", &inputs).as_deref(), Some("invalid_grant"));
        assert_eq!(quote("a\r\nb\u{1b}[31m\"`\\c", &inputs).as_deref(), Some("ab[31mc"));
        assert_eq!(quote(&"x".repeat(1000), &inputs).map(|quote| quote.len()), Some(64));
        assert_eq!(quote("bad password hunter2", &inputs), None);
        assert_eq!(quote("\r\n", &inputs), None);
        assert_eq!(quote("bad password hun`ter\"2", &inputs), None, "nor what it becomes");
        inputs.values.insert("key".to_owned(), Secret::from("k\\e\ny-1"));
        assert_eq!(quote("wrong: key-1", &inputs), None, "nor what is left of a value");
        inputs.values.insert("pin".to_owned(), Secret::from("inv"));
        assert!(quote("invalid_grant", &inputs).is_some(), "what is so short stands everywhere");
        inputs.values.insert("pin".to_owned(), Secret::from("inva"));
        assert!(quote("invalid_grant", &inputs).is_none());
        inputs.values.remove("pin");
        let outputs = Outputs::from([("token".to_owned(), Secret::from("tok-1"))]);
        assert_eq!(warning("use\nhunter2", &inputs, &outputs), None);
        assert_eq!(warning("use tok-1", &inputs, &outputs), None);
        assert_eq!(warning("use tok\r\n-1", &inputs, &outputs), None);
        assert_eq!(
            warning("secret\nexpires", &inputs, &outputs).as_deref(),
            Some("the issuer says: secretexpires")
        );
        assert_eq!(warning(" \r\n", &inputs, &outputs), None);
        let longest = warning(&"x".repeat(1000), &inputs, &outputs).map(|warning| warning.len());
        assert_eq!(longest, Some("the issuer says: ".len() + 200));
    }
}
