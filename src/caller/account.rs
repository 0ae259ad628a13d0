//! Service accounts of Kubernetes: tokens that the cluster signs for its pods, and that name their account
//! (projected service-account tokens).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::certificate::KeySource;
use crate::jose::verify::{KeySet, SignedToken, Unverified};
use crate::upstream::Url;

/// How much clocks may differ.
const LEEWAY: i64 = 60;

/// How long a request waits for keys that are being asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `sub` begins with.
const SUBJECT: &str = "system:serviceaccount:";

/// `service_accounts` of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsSpec {
    /// Who signs: exactly the `iss` of its tokens.
    pub issuer: String,
    /// Whom tokens are for: one of their `aud`.
    pub audience: String,
    /// Which accounts may call, each `NAMESPACE/NAME`, of which either may be `*`.
    pub accounts: Vec<String>,
    /// Where the keys of the signatures are.
    pub keys: KeysAt,
    /// What is shown to whoever has the keys.
    pub token: Option<KeySource>,
    /// The egress by which keys are asked for; empty for the default.
    pub egress: String,
}

/// Where keys are (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// They are asked for.
    Url(Url),
    /// They lie in a file.
    File(PathBuf),
}

/// Service accounts that may call, and the keys by which they are known.
pub struct Accounts {
    spec: AccountsSpec,
    keys: watch::Sender<Option<Arc<KeySet>>>,
    wanted: Notify,
}

/// An account that was known by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Until when the token counts.
    pub until: Timestamp,
}

/// Why a token is nobody's that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is no key of the name that it says; there may be soon.
    NoKey,
    /// It does not count, for people.
    Wrong(String),
}

impl Accounts {
    /// Accounts whose keys are not at hand yet.
    pub fn new(spec: AccountsSpec) -> Self {
        Self { spec, keys: watch::Sender::new(None), wanted: Notify::new() }
    }

    /// What the configuration says.
    pub fn spec(&self) -> &AccountsSpec {
        &self.spec
    }

    /// Reads the keys if they lie in a file. Blocks on the file system; if they cannot be used, all stays
    /// as it is.
    pub fn read_keys(&self) -> Result<(), String> {
        let KeysAt::File(path) = &self.spec.keys else { return Ok(()) };
        let text = KeySource::File(path.clone()).read()?;
        let keys = KeySet::parse(text.expose());
        self.set_keys(keys.map_err(|what| format!("the file {} {what}", path.display()))?);
        Ok(())
    }

    /// The file of the keys, if they lie in one.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.spec.keys {
            KeysAt::File(path) => Some(path),
            KeysAt::Url(_) => None,
        }
    }

    /// All files that are read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.file().into_iter().chain(self.spec.token.as_ref().and_then(KeySource::file))
    }

    /// Puts keys in force.
    pub fn set_keys(&self, keys: KeySet) {
        self.keys.send_replace(Some(Arc::new(keys)));
    }

    /// Takes the keys of another over that is for the same.
    pub fn inherit(&self, before: &Self) {
        self.keys.send_replace(before.keys.borrow().clone());
    }

    /// Waits until a token names a key that is not there.
    pub async fn keys_are_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whose token it is, at `now`. Waits a moment for keys that are being asked for.
    pub async fn recognise(&self, token: &[u8], now: Timestamp) -> Result<Known, String> {
        let text = std::str::from_utf8(token).map_err(|_| "it is not text".to_owned())?;
        let token = SignedToken::parse(text).map_err(|what| format!("it {what}"))?;
        let mut news = self.keys.subscribe();
        let first = self.judge(&token, now);
        if first != Err(Unknown::NoKey) {
            return first.map_err(Unknown::told);
        }
        self.wanted.notify_one();
        // Whether they came or not: what is there then decides.
        let _ = tokio::time::timeout(PATIENCE, news.changed()).await;
        self.judge(&token, now).map_err(Unknown::told)
    }

    fn judge(&self, token: &SignedToken<'_>, now: Timestamp) -> Result<Known, Unknown> {
        let wrong = |what: String| Err(Unknown::Wrong(what));
        let text = |name: &str| token.claim(name).and_then(Value::as_str);
        // Before anything is verified: another issuer's token is not worth a new key.
        if text("iss") != Some(&self.spec.issuer) {
            return wrong("its issuer is another".to_owned());
        }
        match self.keys.borrow().as_ref().map(|keys| keys.verify(token)) {
            Some(Ok(())) => {}
            Some(Err(Unverified::Forged)) => return wrong("its signature is not the issuer's".to_owned()),
            Some(Err(Unverified::UnknownKey)) | None => return Err(Unknown::NoKey),
        }
        let is_for_us = match token.claim("aud") {
            Some(Value::String(only)) => *only == self.spec.audience,
            Some(Value::Array(several)) => {
                several.iter().any(|one| one.as_str() == Some(&self.spec.audience))
            }
            _ => false,
        };
        if !is_for_us {
            return wrong("it is for another audience".to_owned());
        }
        let time = |name: &str| token.claim(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        let (at, leeway) = (now.as_second() as f64, LEEWAY as f64);
        let Some(end) = time("exp").filter(|end| end.is_finite()) else {
            return wrong("it never ends: only projected tokens count, which do".to_owned());
        };
        if at >= end + leeway {
            return wrong("it has ended".to_owned());
        }
        if token.claim("nbf").is_some() && time("nbf").is_none_or(|begin| at + leeway < begin) {
            return wrong("it does not count yet".to_owned());
        }
        let account = text("sub").and_then(|subject| subject.strip_prefix(SUBJECT));
        let Some((namespace, name)) = account.and_then(|account| account.split_once(':')) else {
            return wrong("it names no service account".to_owned());
        };
        if !self.spec.accounts.iter().any(|allowed| takes(allowed, namespace, name)) {
            return wrong(format!("its account is {:?}", format!("{namespace}/{name}")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "an end beyond all time is cut to the last")]
        let until = Timestamp::from_second((end + leeway) as i64).unwrap_or(Timestamp::MAX);
        Ok(Known { until })
    }
}

impl Unknown {
    fn told(self) -> String {
        match self {
            Self::NoKey => "the issuer shows no key of the name that it says".to_owned(),
            Self::Wrong(what) => what,
        }
    }
}

/// Whether `NAMESPACE/NAME` means an account.
fn takes(allowed: &str, namespace: &str, name: &str) -> bool {
    let fits = |wanted: &str, has: &str| wanted == "*" || wanted == has;
    !name.contains(':')
        && allowed.split_once('/').is_some_and(|(of, this)| fits(of, namespace) && fits(this, name))
}

impl PartialEq for Accounts {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for Accounts {}

impl fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Accounts").field("spec", &self.spec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
