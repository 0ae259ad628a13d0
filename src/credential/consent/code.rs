//! What a person brings back, and what it is exchanged for.

use crate::credential::consent::sessions::{Secrets, Session};
use crate::credential::consent::{ConsentError, Desk, interactive, otp};
use crate::credential::flow::classify::quote;
use crate::credential::flow::oauth2::{Asked, Occasion, ask};
use crate::credential::input::Inputs;
use crate::secret::Secret;

/// What came back from the issuer by way of a browser or a person.
#[derive(Debug, Clone, Default)]
pub struct Returned {
    /// Which login it belongs to.
    pub state: String,
    /// The authorization code (RFC 6749, section 4.1.2).
    pub code: Option<Secret>,
    /// Why there is none (RFC 6749, section 4.1.2.1).
    pub error: Option<String>,
    /// The same in the issuer's words.
    pub error_description: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// The one-time password that a person typed.
    pub otp: Option<Secret>,
}

/// Ends a login that was taken.
pub(super) async fn finish(desk: &Desk, session: &Session, returned: &Returned) -> Result<(), ConsentError> {
    match &session.secrets {
        Secrets::Browser { verifier, nonce, redirect_uri, issuer, promises_iss } => {
            check_issuer(returned.iss.as_deref(), issuer.as_deref(), *promises_iss)?;
            if let Some(error) = &returned.error {
                return Err(denied(error, returned.error_description.as_deref()));
            }
            let code = returned.code.as_ref().filter(|code| !code.is_empty());
            let code = code.ok_or_else(|| ConsentError::BadRequest("there is no `code`".to_owned()))?;
            let fields = vec![
                ("code", code.clone()),
                ("redirect_uri", Secret::from(redirect_uri.as_str())),
                ("code_verifier", verifier.clone()),
            ];
            let occasion = Occasion::Login { nonce: nonce.as_ref() };
            exchange(desk, session, &Asked { grant_type: "authorization_code", fields, occasion }).await
        }
        Secrets::Otp { device_code } => otp::finish(desk, session, device_code, returned.otp.as_ref()).await,
        Secrets::Device | Secrets::None => Err(ConsentError::UnknownState),
    }
}

/// Asks for tokens, and has them kept.
async fn exchange(desk: &Desk, session: &Session, asked: &Asked<'_>) -> Result<(), ConsentError> {
    let flow = interactive(&session.spec)?;
    let inputs = desk.inputs(&session.spec).await?;
    let place = desk.places.acquire().await;
    let issuer = (desk.issuers)();
    let exchange = issuer.exchange(&session.spec, &inputs)?;
    let metadata = flow.endpoints.resolve(&exchange).await?;
    let minted = ask(flow, &exchange, &metadata, asked).await?;
    drop(place);
    desk.adopt(session, minted).await
}

/// Whether the answer is of the issuer that was asked (RFC 9207, section 2.4): an attacker's issuer
/// could otherwise send its own codes, or collect those of another.
fn check_issuer(said: Option<&str>, asked: Option<&str>, promised: bool) -> Result<(), ConsentError> {
    match (said, asked) {
        (Some(said), Some(asked)) if said != asked => {
            let said = quote(said, &Inputs::default()).unwrap_or_default();
            Err(ConsentError::IssuerMismatch(format!(
                "the answer is of the issuer `{said}`, and `{asked}` was asked: begin again, and look who sent it"
            )))
        }
        (None, _) if promised => Err(ConsentError::IssuerMismatch(
            "the issuer promises to name itself in its answers (`iss`), and this one does not".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// An error of the redirect in words (RFC 6749, section 4.1.2.1; OpenID Connect Core, section 3.1.2.6).
fn denied(error: &str, description: Option<&str>) -> ConsentError {
    let clean = |text: &str| quote(text, &Inputs::default());
    let meaning = match error {
        "access_denied" => "the person or the issuer said no",
        "login_required" | "interaction_required" | "account_selection_required" | "consent_required" => {
            "the issuer wants to ask the person, and `prompt` does not let it"
        }
        "invalid_request" => {
            "the issuer finds the request malformed: compare the parameters with its documents"
        }
        "unauthorized_client" => "this client may not use this grant",
        "unsupported_response_type" => "the issuer offers no authorization codes",
        "invalid_scope" => "a scope is unknown, or this client may not ask for it",
        "server_error" | "temporarily_unavailable" => "the issuer is out of order: try again later",
        _ => "the issuer gave no code",
    };
    let code = clean(error).unwrap_or_else(|| "(not shown)".to_owned());
    let words = description.and_then(clean).map(|words| format!("; it says: {words}")).unwrap_or_default();
    ConsentError::Denied(format!("the login was ended with `{code}`: {meaning}{words}"))
}

#[cfg(test)]
mod tests {
    use super::{check_issuer, denied};

    #[test]
    fn the_issuer_of_an_answer_is_compared_where_it_is_said_and_required_where_it_is_promised() {
        let asked = Some("https://issuer.example");
        assert!(check_issuer(asked, asked, true).is_ok());
        assert!(check_issuer(None, asked, false).is_ok());
        // Nobody can tell: no metadata names the issuer.
        assert!(check_issuer(Some("https://any.example"), None, false).is_ok());
        assert!(check_issuer(None, asked, true).is_err());
        for other in ["https://issuer.example/", "https://ISSUER.example", "https://evil.example", ""] {
            assert!(check_issuer(Some(other), asked, false).is_err(), "{other}");
        }
    }

    #[test]
    fn errors_of_the_redirect_are_told_in_words_and_on_one_line() {
        let told = denied("access_denied", Some("The user\r\n said <no>")).to_string();
        assert_eq!(
            told,
            "the login was ended with `access_denied`: the person or the issuer said no; it says: The user said <no>"
        );
        assert!(denied("odd\u{1b}", None).to_string().contains("`odd`: the issuer gave no code"));
    }
}
