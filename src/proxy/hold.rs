//! Holds requests back that lead to the server of an issuer which has not told its endpoints yet: each path
//! there could be its token endpoint, and no app is to reach that.
//!
//! ```text
//! told within the route's `wait` ──▶ judged by what was told, as any other request
//! not told ──▶ could it ask for tokens? ── no ──▶ passes: the API is not the issuer's to stop
//!                     └── yes ──▶ 503
//! ```

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::clock::Clock;
use crate::proxy::admit::Found;
use crate::proxy::record::Record;
use crate::proxy::upload::Caller;
use crate::proxy::{Code, Proxy, ProxyError, while_awaited};
use crate::route::policy::could_ask_for_tokens;
use crate::route::{Route, RouteTable};

/// When to try again, where the issuer cannot be asked.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a request may still be held; `None` if the time is over and it passes.
pub(super) fn left(
    held: Duration,
    route: &Route,
    method: &Method,
    found: &Found<'_>,
    has_body: bool,
) -> Result<Option<Duration>, ProxyError> {
    let left = route.spec.wait.saturating_sub(held);
    if !left.is_zero() {
        return Ok(Some(left));
    }
    if could_ask_for_tokens(method, found.query, has_body) {
        let detail = "the issuer on this server has not told yet where its token endpoint is; until then only GET, HEAD \
                      and OPTIONS without a body pass";
        return Err(ProxyError::new(Code::CredentialUnavailable, detail).retry_after(PAUSE));
    }
    Ok(None)
}

impl Proxy {
    /// Holds a request back until another table than the one that it has `seen` is in force, or the time is
    /// over. Says whether anybody waits for it still.
    pub(super) async fn hold<S: Caller>(
        &self,
        record: &mut Record,
        (seen, left): (*const RouteTable, Duration),
        (caller, has_body): (&mut S, bool),
    ) -> bool {
        let started = Clock::instant();
        let table = self.shared.table.load_full();
        let superseded = table.superseded();
        let is_in_force = Arc::ptr_eq(&table, &self.shared.table.load());
        let is_awaited = if is_in_force && Arc::as_ptr(&table) == seen {
            let news = tokio::time::timeout(left, superseded);
            while_awaited(caller, has_body, news).await.is_some()
        } else {
            true
        };
        record.held += started.elapsed();
        is_awaited
    }
}
