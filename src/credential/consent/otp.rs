//! A person types a one-time password that the issuer has sent: a device authorization in which nothing
//! is polled.

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::credential::consent::authorization::{added, further, render};
use crate::credential::consent::device::{GRANT, lifetime, refused};
use crate::credential::consent::random::unguessable;
use crate::credential::consent::sessions::{Secrets, Session};
use crate::credential::consent::spec::{OtpBody, OtpSpec};
use crate::credential::consent::{Begun, ConsentError, Desk, Step, Wish, interactive};
use crate::credential::flow::Exchange;
use crate::credential::flow::classify::status_text;
use crate::credential::flow::form::{FORM, Form};
use crate::credential::flow::json::{Json, scalar_text};
use crate::credential::flow::oauth2::endpoints::Metadata;
use crate::credential::flow::oauth2::{Asked, OAuth2Flow, Occasion, error_of, post, take};
use crate::secret::Secret;
use crate::upstream::exchange::Request;

/// The longest answer of a person, in bytes.
const LONGEST_HINT: usize = 256;
/// The longest password, in bytes.
const LONGEST_PASSWORD: usize = 64;

/// Has the password sent.
pub(super) async fn begin(
    desk: &Desk,
    flow: &OAuth2Flow,
    otp: &OtpSpec,
    exchange: &Exchange<'_>,
    mut session: Session,
    mut wish: Wish,
) -> Result<Begun, ConsentError> {
    let (field, hint) = hint(otp, std::mem::take(&mut wish.hints))?;
    let metadata = flow.endpoints.resolve(exchange).await?;
    let url = Metadata::needed(metadata.device_authorization.as_ref(), "device_authorization_endpoint")?;
    let mut fields = vec![("client_id".to_owned(), render(&flow.client_id, exchange)?)];
    fields.extend(further(&otp.params, exchange)?);
    fields.extend(further(&flow.consent.params, exchange)?);
    fields.extend(added(flow, wish)?);
    fields.push((field, hint));
    let answer = exchange.ask(url, request(otp.body, fields)).await?;
    let said = format!("{} answered {}", url.origin, status_text(answer.status));
    let json = Json::parse(&answer.body).filter(Json::is_object);
    if !answer.status.is_success() {
        return Err(refused(&answer, json.as_ref(), exchange, &said));
    }
    let code = json.as_ref().and_then(|json| scalar_text(json.member("device_code")?));
    let (Some(json), Some(device_code)) = (json, code) else {
        return Err(ConsentError::Unusable(format!("{said}, without a `device_code`")));
    };
    let shown = |(name, pointer): &(String, String)| {
        let text = scalar_text(json.at(pointer)?)?;
        let fits = text.len() <= LONGEST_HINT && !text.chars().any(char::is_control);
        fits.then(|| (name.clone(), text))
    };
    let shown: BTreeMap<_, _> = otp.shows.iter().filter_map(shown).collect();
    session.secrets = Secrets::Otp { device_code: Secret::from(device_code) };
    let (state, lifetime) = (unguessable(&desk.clock), lifetime(&json));
    desk.sessions().insert(&state, session, lifetime)?;
    Ok(Begun { state, expires_in: lifetime, step: Step::Otp(shown) })
}

/// To whom the password is sent: exactly one of what the configuration asks for.
fn hint(otp: &OtpSpec, mut hints: BTreeMap<String, String>) -> Result<(String, String), ConsentError> {
    let mut given = otp.asks.iter().filter_map(|(name, field)| Some((field.clone(), hints.remove(name)?)));
    let (first, second) = (given.next(), given.next());
    drop(given);
    let names: Vec<_> = otp.asks.iter().map(|(name, _)| format!("`{name}`")).collect();
    match (first, second) {
        (Some((_, hint)), None) if hint.is_empty() || hint.len() > LONGEST_HINT => {
            Err(ConsentError::BadRequest(format!("it has 1 to {LONGEST_HINT} bytes")))
        }
        (Some(given), None) => Ok(given),
        _ => {
            let wanted = names.join(" or ");
            Err(ConsentError::BadRequest(format!("to whom the password is sent is said by one of {wanted}")))
        }
    }
}

fn request(body: OtpBody, fields: Vec<(String, String)>) -> Request {
    let (media_type, body) = match body {
        OtpBody::Form => {
            let mut form = Form::new();
            for (name, value) in &fields {
                form.field(name, value.as_bytes());
            }
            (FORM, form.finish())
        }
        OtpBody::Json => {
            let members: Map<_, _> =
                fields.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
            ("application/json", Secret::from(Value::Object(members).to_string()))
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Request { method: Method::POST, headers, body: Some(body) }
}

/// Redeems the password that a person has typed.
pub(super) async fn finish(
    desk: &Desk,
    session: &Session,
    device_code: &Secret,
    password: Option<&Secret>,
) -> Result<(), ConsentError> {
    let flow = interactive(&session.spec)?;
    let Some(otp) = &flow.consent.otp else { return Err(ConsentError::Reconfigured) };
    let fits = |password: &&Secret| !password.is_empty() && password.len() <= LONGEST_PASSWORD;
    // An unusable password costs a try, as a wrong one does.
    let Some(password) = password.filter(fits) else { return Err(ConsentError::WrongPassword { left: 0 }) };
    let inputs = desk.inputs(&session.spec).await?;
    let place = desk.places.acquire().await;
    let issuer = (desk.issuers)();
    let exchange = issuer.exchange(&session.spec, &inputs)?;
    let metadata = flow.endpoints.resolve(&exchange).await?;
    let fields = vec![("device_code", device_code.clone()), (otp.field.as_str(), password.clone())];
    let occasion = Occasion::Login { nonce: None };
    let asked = Asked { grant_type: GRANT, fields, occasion };
    let (url, answer) = post(flow, &exchange, &metadata, &asked).await?;
    match error_of(&answer).as_deref() {
        Some("expired_token") => return Err(ConsentError::TooLate),
        Some("access_denied") => {
            return Err(ConsentError::Denied("the issuer said no (`access_denied`)".to_owned()));
        }
        // What the issuer calls it is its own; what it means at this place is one thing.
        Some("invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_client_id")
        | None => {}
        Some(_) if answer.status.is_client_error() => return Err(ConsentError::WrongPassword { left: 0 }),
        Some(_) => {}
    }
    let minted = take(flow, &exchange, &metadata, occasion, (url, &answer)).await?;
    drop(place);
    desk.adopt(session, minted).await
}
