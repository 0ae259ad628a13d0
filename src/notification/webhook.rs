//! Notices by HTTP: a POST with the document, signed as Standard Webhooks has it (version 1.0.0), so that
//! libraries of many languages can tell a true one.
//!
//! What is signed is `ID.TIMESTAMP.BODY`, by HMAC-SHA256. A receiver refuses what is older than some minutes,
//! and takes each identifier once: then neither a forged nor a repeated message counts.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use crate::backoff::retry_after;
use crate::notification::{Failure, Notice};
use crate::secret::{Secret, SecretBuffer};
use crate::upstream::Url;
use crate::upstream::connect::Connector;
use crate::upstream::exchange::{Limits, Request, exchange};

/// Of an answer so much is read: nobody looks at it.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What begins a key that is written in base64.
const ENCODED: &[u8] = b"whsec_";

/// The shortest key, in bytes.
const SHORTEST_KEY: usize = 16;

/// Sends a notice. It has arrived if the answer is any 2xx.
pub(super) async fn send(
    url: &Url,
    key: &Secret,
    notice: &Notice,
    connector: &Connector,
    limit: Duration,
    now: Timestamp,
) -> Result<(), Failure> {
    let body = serde_json::to_vec(notice).map_err(|error| Failure::for_good(error.to_string()))?;
    let headers = headers(notice, key, &body, now)?;
    let request = Request { method: Method::POST, headers, body: Some(Secret::new(body.as_slice())) };
    let limits = Limits { connect: limit, whole: limit, body: LARGEST_ANSWER };
    let answer = exchange(connector, url, request, limits).await;
    let answer = answer.map_err(|error| Failure::for_now(error.message))?;
    let message = || format!("{} answered {}", url.origin, answer.status.as_u16());
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(again(message(), &answer.headers, now))
        }
        status if status.is_server_error() => Err(again(message(), &answer.headers, now)),
        _ => Err(Failure::for_good(message())),
    }
}

fn again(message: String, headers: &HeaderMap, now: Timestamp) -> Failure {
    let pause = headers.get(RETRY_AFTER).and_then(|field| retry_after(field.as_bytes(), now));
    Failure { pause, ..Failure::for_now(message) }
}

fn headers(notice: &Notice, key: &Secret, body: &[u8], now: Timestamp) -> Result<HeaderMap, Failure> {
    let seconds = now.as_second();
    let signed = [format!("{}.{seconds}.", notice.id).as_bytes(), body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key_bytes(key)?.expose());
    let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)));
    let value =
        |text: &str| HeaderValue::try_from(text).map_err(|error| Failure::for_good(error.to_string()));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("webhook-id"), value(&notice.id)?);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(seconds));
    headers.insert(HeaderName::from_static("webhook-signature"), value(&signature)?);
    Ok(headers)
}

/// The bytes of a key: those that `whsec_` announces in base64, or the text itself.
fn key_bytes(key: &Secret) -> Result<Secret, Failure> {
    let bytes = match key.expose().strip_prefix(ENCODED) {
        None => key.clone(),
        Some(encoded) => {
            let mut decoded = STANDARD.decode(encoded).map_err(|_| {
                Failure::for_good("the `key` begins with `whsec_`, and what follows is not base64".to_owned())
            })?;
            let mut buffer = SecretBuffer::with_capacity(decoded.len());
            buffer.push(&decoded);
            zeroize::Zeroize::zeroize(&mut decoded);
            buffer.into()
        }
    };
    if bytes.len() < SHORTEST_KEY {
        let message = format!("the `key` has {} bytes, and less than {SHORTEST_KEY} are no key", bytes.len());
        return Err(Failure::for_good(message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::headers;
    use crate::notification::{Event, Notice};
    use crate::secret::Secret;

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        // The example of the specification's libraries.
        let notice = Notice {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            event: Event::Test,
            name: String::new(),
            others: Vec::new(),
            number: 1,
            message: String::new(),
            advice: None,
            was: None,
            since: Timestamp::UNIX_EPOCH,
            at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            reminder: 0,
            host: String::new(),
        };
        let key = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let now = Timestamp::from_second(1_614_265_330).expect("a time");
        let headers = headers(&notice, &key, b"{\"test\": 2432232314}", now).expect("headers");
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }
}
