//! Keeps what callers are known by in step: bearers and keys in files, and the keys of issuers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::caller::Rule;
use crate::caller::account::{Accounts, KeysAt};
use crate::config::Config;
use crate::jose::verify::KeySet;
use crate::upstream::Url;
use crate::upstream::connect::Connectors;
use crate::upstream::exchange::{Limits, Request, exchange};

/// How long keys are believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// The least time between two questions to one issuer.
const PAUSE: Duration = Duration::from_secs(10);

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(10), body: 256 * 1024 };

/// All rules over callers of a configuration.
fn rules(config: &Config) -> impl Iterator<Item = &Rule> {
    let of_listeners = config.listeners.iter().filter_map(|listener| listener.allow.as_deref());
    of_listeners.chain(config.routes.iter().flat_map(|route| route.callers.iter()))
}

/// The files that they are read from, and what is shown to issuers.
pub(super) fn files(config: &Config) -> BTreeSet<Arc<Path>> {
    let mut files = BTreeSet::new();
    for rule in rules(config) {
        let bearers = rule.bearers.iter().flat_map(|bearers| bearers.files());
        let keys = rule.accounts.iter().flat_map(|accounts| accounts.files());
        files.extend(bearers.chain(keys).map(|file| Arc::from(file.as_path())));
    }
    files
}

/// Reads again what lies in `changed` files. What cannot be used is told, and the old stays. Blocks on the
/// file system.
pub(super) fn renew(config: &Config, changed: &[PathBuf]) {
    for rule in rules(config) {
        if let Some(bearers) = &rule.bearers
            && bearers.files().any(|file| changed.contains(file))
        {
            match bearers.renew() {
                Ok(false) => {}
                Ok(true) => tracing::info!("the bearers of callers have changed: the new ones count"),
                Err(error) => {
                    tracing::error!(error, "the old bearers of callers stay: the new cannot be used");
                }
            }
        }
        if let Some(accounts) = &rule.accounts
            && accounts.file().is_some_and(|file| changed.contains(file))
        {
            match accounts.read_keys() {
                Ok(()) => tracing::info!("the keys of service accounts were read"),
                Err(error) => {
                    tracing::error!(error, "the old keys of service accounts stay: the new cannot be used");
                }
            }
        }
    }
}

/// The service accounts of a configuration whose keys are asked for.
pub(super) fn asked(config: &Config) -> Vec<Arc<Accounts>> {
    let accounts = rules(config).filter_map(|rule| rule.accounts.clone());
    accounts.filter(|accounts| accounts.file().is_none()).collect()
}

/// Takes over what is known of service accounts that a new configuration has as the old had them.
pub(super) fn inherit(new: &[Arc<Accounts>], old: &[Arc<Accounts>]) {
    for accounts in new {
        if let Some(before) = old.iter().find(|before| *before == accounts) {
            accounts.inherit(before);
        }
    }
}

/// Asks for keys: at once, each hour, and when a token names one that is not there.
pub(super) async fn keep_asking(
    mut accounts: watch::Receiver<Vec<Arc<Accounts>>>,
    connectors: watch::Receiver<Connectors>,
) {
    loop {
        let mut tasks = JoinSet::new();
        for one in accounts.borrow_and_update().iter() {
            tasks.spawn(keep_asking_for(Arc::clone(one), connectors.clone()));
        }
        if accounts.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_asking_for(accounts: Arc<Accounts>, connectors: watch::Receiver<Connectors>) {
    let KeysAt::Url(url) = accounts.spec().keys.clone() else { return };
    loop {
        let connectors = connectors.borrow().clone();
        let next = match ask(&accounts, &url, &connectors).await {
            Ok(keys) => {
                accounts.set_keys(keys);
                tracing::info!(%url, "the keys of service accounts were asked for");
                BELIEVED
            }
            Err(error) => {
                tracing::error!(%url, error, "the keys of service accounts cannot be had");
                PAUSE
            }
        };
        tokio::time::sleep(PAUSE).await;
        // Either is a reason to ask again.
        let _ = tokio::time::timeout(next.saturating_sub(PAUSE), accounts.keys_are_wanted()).await;
    }
}

async fn ask(accounts: &Accounts, url: &Url, connectors: &Connectors) -> Result<KeySet, String> {
    let spec = accounts.spec();
    let connector = connectors.get(&spec.egress).ok_or("its egress is gone")?;
    let mut headers = HeaderMap::new();
    if let Some(source) = spec.token.clone() {
        let read = tokio::task::spawn_blocking(move || source.read());
        let token = read.await.map_err(|_| "bearerd is shutting down")??;
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())
            .map_err(|_| "the token to show has a control character")?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let request = Request { method: Method::GET, headers, body: None };
    let answer = exchange(connector, url, request, LIMITS).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("it answered {}", answer.status));
    }
    KeySet::parse(answer.body.expose()).map_err(|what| format!("the answer {what}"))
}
