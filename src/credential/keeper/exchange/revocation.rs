//! What is forgotten here, the issuer may forget too (RFC 7009).

use std::sync::Arc;
use std::time::Duration;

use crate::credential::flow::TokenHint;
use crate::credential::keeper::exchange::Exchange;
use crate::credential::shared::Published;
use crate::credential::store::Record;

/// How long the issuer may take to be told of one token.
const LIMIT: Duration = Duration::from_secs(2);

impl Exchange {
    /// Tells the issuer that the tokens of an owner are not needed any more: first what renews, then what
    /// was renewed. What comes of it is logged.
    pub(super) async fn revoke(&self, record: &Record, published: Option<&Published>) {
        // Without its inputs the client cannot show who it is.
        let Ok(question) = self.question(record.clone()).await else { return };
        let refresh = question.inputs.values.get("refresh_token");
        let kept = || record.current.as_ref().map(|current| &current.outputs);
        let outputs = published.map(|published| &published.outputs).or_else(kept);
        let access = outputs.and_then(|outputs| outputs.get("access_token"));
        for (token, hint) in [(refresh, TokenHint::RefreshToken), (access, TokenHint::AccessToken)] {
            let Some(token) = token else { continue };
            let inputs = question.inputs.clone();
            let told = self.mint.revoke(Arc::clone(&self.spec), inputs, token.clone(), hint);
            let told = tokio::time::timeout(LIMIT, told).await;
            let (credential, token) = (self.shared.owner(), hint.as_str());
            match told {
                Ok(Ok(true)) => tracing::info!(%credential, token, "revoked"),
                // The issuer has no endpoint for it.
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%credential, token, reason = error.message(), "not revoked");
                }
                Err(_) => tracing::warn!(%credential, token, reason = "no answer came", "not revoked"),
            }
        }
    }
}
