//! Logins as JSON: what the admin listener and, with `control = true`, a listener for apps let ask of
//! the grants with a person.
//!
//! ```text
//! GET    NAME                        the state of the token that the credential has by itself (apps)
//! POST   NAME/authorize              begin a login; the answer says what the person does
//! GET    NAME/authorize?state=STATE  what has come of it; &wait=true waits for its end
//! POST   NAME/callback               end it with what came back: code, error or one-time password
//! POST   NAME/logout                 forget the tokens of a credential or of one subject
//! GET    NAME/subjects               who has tokens; ?after= and &limit=
//! GET    NAME/subjects/SUBJECT       the state of one
//! DELETE NAME/subjects/SUBJECT       log it out
//! ```
//!
//! Each listener has its own guard before this. States and times leave it, values never do.

pub mod page;
pub mod place;
pub mod refusal;
mod request;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::credential::consent::{Begun, ConsentError, Consents, Meant, Progress, Step};
use crate::credential::keeper::{Keeper, SetError};
use crate::credential::store::StoreError;
use crate::credential::{CredentialName, Owner, Subject};
pub use place::Place;
pub use refusal::Refusal;
pub use request::returned;
use view::SubjectView;

/// The longest body of a request, in bytes.
pub const LONGEST_BODY: usize = 64 * 1024;
/// How long `wait=true` waits; whoever wants to know asks again.
const WAIT: Duration = Duration::from_secs(25);
/// Subjects in one answer: the most, and where nothing is said.
const MOST_SUBJECTS: usize = 1000;
const USUAL_SUBJECTS: usize = 100;

/// What is asked of logins; cloning shares it.
#[derive(Clone)]
pub struct Control {
    /// The credentials.
    pub keeper: Keeper,
    /// The logins.
    pub consents: Consents,
    /// Time.
    pub clock: Clock,
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Control")
    }
}

/// A status and a JSON document; `Null` is no body.
pub type Reply = (StatusCode, Value);

impl Control {
    /// Answers what is asked at a place, with a query and a body as they came.
    pub async fn answer(
        &self,
        place: &Place,
        method: &Method,
        query: &str,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        if self.keeper.spec(place.credential()).is_none() {
            return Err(ConsentError::UnknownCredential.into());
        }
        match (place, method) {
            (Place::Authorize(name), &Method::POST) => self.authorize(name, body).await,
            (Place::Authorize(name), _) => self.progress(name, query).await,
            (Place::Callback(name), _) => self.callback(name, body).await,
            (Place::Own(name), _) => self.state(&name.into()).await,
            (Place::Logout(name), _) => {
                let subject = request::Logout::read(body)?.subject;
                self.logout(Owner { credential: name.clone(), subject }).await
            }
            (Place::Subjects(name), _) => self.subjects(name, query).await,
            (Place::Subject(name, subject), &Method::DELETE) => {
                self.logout(Owner::subject(name.clone(), subject.clone())).await
            }
            (Place::Subject(name, subject), _) => {
                self.state(&Owner::subject(name.clone(), subject.clone())).await
            }
        }
    }

    async fn authorize(&self, name: &CredentialName, body: &[u8]) -> Result<Reply, Refusal> {
        let asked = request::Authorize::read(body)?;
        let owner = Owner { credential: name.clone(), subject: asked.subject };
        let begun = self.consents.authorize(owner, asked.wish).await?;
        Ok((StatusCode::OK, begun_document(begun)))
    }

    async fn progress(&self, name: &CredentialName, query: &str) -> Result<Reply, Refusal> {
        let query = request::query(query);
        let state = query.get("state").ok_or_else(|| request::wrong("`state` says which login is meant"))?;
        let limit = if request::flag(&query, "wait")? { WAIT } else { Duration::ZERO };
        let progress = self.consents.progress(name, state, limit).await.ok_or(ConsentError::UnknownState)?;
        let document = match progress {
            Progress::Pending => json!({ "outcome": "pending" }),
            Progress::Done => json!({ "outcome": "ok" }),
            Progress::Failed(error) => {
                json!({ "outcome": "failed", "code": error.code(), "detail": error.to_string() })
            }
        };
        Ok((StatusCode::OK, document))
    }

    async fn callback(&self, name: &CredentialName, body: &[u8]) -> Result<Reply, Refusal> {
        let (returned, subject) = request::callback(body)?;
        let meant = Meant { credential: name.clone(), subject };
        let finished = self.consents.callback(Some(meant), returned).await;
        finished.result?;
        // Whoever succeeded has an owner.
        let owner = finished.owner.unwrap_or_else(|| name.into());
        self.state(&owner).await
    }

    async fn logout(&self, owner: Owner) -> Result<Reply, Refusal> {
        self.consents.abandon(&owner);
        match self.keeper.forget(&owner).await {
            Ok(()) => Ok((StatusCode::ACCEPTED, Value::Null)),
            Err(SetError::Unusable(message)) => Err(ConsentError::Local(message).into()),
            Err(SetError::NotStatic) => Err(ConsentError::NotInteractive.into()),
            Err(SetError::NoSubject) => Err(request::wrong("`subject` says who logs out")),
            Err(SetError::Unknown) => Err(ConsentError::UnknownCredential.into()),
        }
    }

    async fn state(&self, owner: &Owner) -> Result<Reply, Refusal> {
        let status = self.keeper.look(owner).await.map_err(unreadable)?;
        let status = status.ok_or(ConsentError::UnknownCredential)?;
        Ok((StatusCode::OK, json!(SubjectView::from(status))))
    }

    async fn subjects(&self, name: &CredentialName, query: &str) -> Result<Reply, Refusal> {
        let query = request::query(query);
        let after = query.get("after").filter(|after| !after.is_empty());
        let after = after.map(|after| Subject::new(after)).transpose();
        let after = after.map_err(|error| request::wrong(&error.to_string()))?;
        let limit = match query.get("limit") {
            None => USUAL_SUBJECTS,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=MOST_SUBJECTS).contains(limit))
                .ok_or_else(|| request::wrong("`limit` is from 1 to 1000"))?,
        };
        let found = self.keeper.subject_statuses(name, after.as_ref(), limit).await.map_err(unreadable)?;
        let last = found.last().and_then(|status| status.owner.subject.as_ref());
        let next = last.filter(|_| found.len() == limit).map(|subject| subject.as_str().to_owned());
        let subjects: Vec<_> = found.into_iter().map(SubjectView::from).collect();
        Ok((StatusCode::OK, json!({ "subjects": subjects, "next": next })))
    }
}

fn unreadable(StoreError(why): StoreError) -> ConsentError {
    ConsentError::Local(format!("the store cannot be read: {why}"))
}

/// What `authorize` answers: what the person does, and what the login is called.
pub fn begun_document(begun: Begun) -> Value {
    let mut document = Map::new();
    match begun.step {
        Step::Browse { url, redirect_uri } => {
            document.insert("url".to_owned(), url.into());
            document.extend(redirect_uri.map(|uri| ("redirect_uri".to_owned(), uri.into())));
        }
        Step::Device { user_code, verification_uri, verification_uri_complete } => {
            document.insert("user_code".to_owned(), user_code.into());
            document.insert("verification_uri".to_owned(), verification_uri.into());
            document.insert("verification_uri_complete".to_owned(), verification_uri_complete.into());
        }
        Step::Otp(shown) => document.extend(shown.into_iter().map(|(name, text)| (name, text.into()))),
    }
    document.insert("state".to_owned(), begun.state.into());
    document.insert("expires_in".to_owned(), begun.expires_in.as_secs().into());
    Value::Object(document)
}

/// A query by name; of several values the first counts.
type Query = BTreeMap<String, String>;
