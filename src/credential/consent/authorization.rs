//! The authorization request (RFC 6749, section 4.1.1; RFC 7636; OpenID Connect Core, section 3.1.2.1):
//! where the browser is sent, directly or with a request that was pushed before (RFC 9126).

use crate::credential::consent::random::{challenge, unguessable};
use crate::credential::consent::redirect::redirect_uri;
use crate::credential::consent::sessions::{LIFETIME, Secrets, Session};
use crate::credential::consent::{Begun, ConsentError, Desk, Step, Wish};
use crate::credential::flow::classify::{by_status, quote, status_text};
use crate::credential::flow::form::Form;
use crate::credential::flow::json::{Json, scalar_text};
use crate::credential::flow::oauth2::endpoints::Metadata;
use crate::credential::flow::oauth2::{ClientAuth, OAuth2Flow, client_request, dpop};
use crate::credential::flow::{Exchange, MintError};
use crate::secret::Secret;
use crate::template::Template;
use crate::upstream::Url;

/// Parameters by name.
pub(super) type Parameters = Vec<(String, String)>;

/// Makes the request and the session that waits for its answer.
pub(super) async fn begin(
    desk: &Desk,
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    mut session: Session,
    wish: Wish,
) -> Result<Begun, ConsentError> {
    let metadata = flow.endpoints.resolve(exchange).await?;
    let url = Metadata::needed(metadata.authorization.as_ref(), "authorization_endpoint")?;
    let own = desk.callback.load();
    let redirect_uri = redirect_uri(&flow.consent, own.as_deref().map(String::as_str), wish.loopback_port)?;
    let told = wish.loopback_port.map(|_| redirect_uri.clone());
    let state = unguessable(&desk.clock);
    let asks_for_id_token = flow.scopes.iter().any(|scope| scope == "openid");
    let nonce = asks_for_id_token.then(|| unguessable(&desk.clock));
    let verifier = Secret::from(unguessable(&desk.clock));

    let mut parameters: Parameters = Vec::new();
    let mut put = |name: &str, value: String| parameters.push((name.to_owned(), value));
    put("response_type", "code".to_owned());
    put("redirect_uri", redirect_uri.clone());
    if !flow.scopes.is_empty() {
        put("scope", flow.scopes.join(" "));
    }
    put("state", state.clone());
    if let Some(nonce) = &nonce {
        put("nonce", nonce.clone());
    }
    put("code_challenge", challenge(&verifier));
    put("code_challenge_method", "S256".to_owned());
    if let Some(dpop) = &flow.dpop {
        // The code is of use to nobody who has not the key of the tokens (RFC 9449, section 10).
        put("dpop_jkt", dpop::thumbprint(dpop, exchange)?);
    }
    parameters.extend(further(&flow.consent.params, exchange)?);
    parameters.extend(added(flow, wish)?);

    let location = if let Some(endpoint) = pushes(flow, &metadata)? {
        push(flow, exchange, endpoint, &parameters, url).await?
    } else {
        let client_id = render(&flow.client_id, exchange)?;
        with_query(url, [("client_id".to_owned(), client_id)].into_iter().chain(parameters))
    };
    session.secrets = Secrets::Browser {
        verifier,
        nonce: nonce.map(Secret::from),
        redirect_uri,
        issuer: metadata.issuer,
        promises_iss: metadata.promises_iss,
    };
    desk.sessions().insert(&state, session, LIFETIME)?;
    Ok(Begun { state, expires_in: LIFETIME, step: Step::Browse { url: location, redirect_uri: told } })
}

/// Configured parameters, filled in.
pub(super) fn further(
    params: &[(String, Template)],
    exchange: &Exchange<'_>,
) -> Result<Parameters, MintError> {
    params.iter().map(|(name, value)| Ok((name.clone(), render(value, exchange)?))).collect()
}

/// Parameters of whoever begins the login, as far as the configuration lets them.
pub(super) fn added(flow: &OAuth2Flow, wish: Wish) -> Result<Parameters, ConsentError> {
    for name in wish.params.keys() {
        if !flow.consent.accepts.contains(name) {
            let message =
                format!("the parameter `{name}` may not be added: `authorize_accepts` does not name it");
            return Err(ConsentError::BadRequest(message));
        }
    }
    Ok(wish.params.into_iter().collect())
}

/// A template as text.
pub(super) fn render(template: &Template, exchange: &Exchange<'_>) -> Result<String, MintError> {
    let input = |name: &str| exchange.inputs.values.get(name).cloned();
    let bytes = template.render(&input, &exchange.clock)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the request is pushed to, if it is.
fn pushes<'a>(flow: &OAuth2Flow, metadata: &'a Metadata) -> Result<Option<&'a Url>, MintError> {
    let endpoint = metadata.pushed_authorization.as_ref();
    let must = flow.consent.par || metadata.requires_pushed_authorization;
    if must {
        Metadata::needed(endpoint, "pushed_authorization_request_endpoint").map(Some)
    } else {
        Ok(endpoint)
    }
}

/// Pushes the request (RFC 9126, section 2); the browser then carries a reference to it only.
async fn push(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    endpoint: &Url,
    parameters: &Parameters,
    authorization: &Url,
) -> Result<String, ConsentError> {
    let mut form = Form::new();
    for (name, value) in parameters {
        form.field(name, value.as_bytes());
    }
    let client_id = render(&flow.client_id, exchange)?;
    if flow.client_auth == ClientAuth::Basic {
        // It is a parameter of the request also where a header says it.
        form.field("client_id", client_id.as_bytes());
    }
    let answer = exchange.ask(endpoint, client_request(flow, exchange, form, &[])?).await?;
    let said = format!("{} answered the pushed request with {}", endpoint.origin, status_text(answer.status));
    let json = Json::parse(&answer.body);
    if !answer.status.is_success() {
        let error = json.as_ref().and_then(|json| scalar_text(json.member("error")?));
        let error = error.and_then(|error| quote(&error, exchange.inputs));
        let said = error.map_or(said.clone(), |error| format!("{said} and the error `{error}`"));
        return Err(by_status(&answer, exchange.clock.wall(), said).into());
    }
    let reference = json.as_ref().and_then(|json| scalar_text(json.member("request_uri")?));
    let reference =
        reference.ok_or_else(|| ConsentError::Unusable(format!("{said}, without a `request_uri`")))?;
    let query = [("client_id".to_owned(), client_id), ("request_uri".to_owned(), reference)];
    Ok(with_query(authorization, query))
}

/// An endpoint with parameters behind those that it has by itself (RFC 6749, section 3.1).
fn with_query(endpoint: &Url, parameters: impl IntoIterator<Item = (String, String)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        query.append_pair(&name, &value);
    }
    let text = endpoint.to_string();
    let joint = if text.contains('?') { "&" } else { "?" };
    format!("{text}{joint}{}", query.finish())
}
