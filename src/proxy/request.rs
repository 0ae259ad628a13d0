//! A request on its way to an upstream.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::credential::slot::{Current, Slot};
use crate::http1::Framing;
use crate::inject::{Content, Prepared};
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::exchange::Exchange;
use crate::proxy::lent::Lent;
use crate::proxy::sanitize::{Outbound, Sanitized};
use crate::proxy::subject::Claim;
use crate::proxy::upload::{Upload, UploadLimits};
use crate::proxy::watch::Watch;
use crate::route::Route;
use crate::upstream::http1::Asked;
use crate::upstream::http2::Http2Link;
use crate::upstream::link::Link;
use crate::upstream::pool::{Pool, Ready};

/// A request that may be sent.
pub(super) struct Request<'a> {
    pub(super) sanitized: Sanitized<'a>,
    pub(super) route: &'a Arc<Route>,
    pub(super) slot: &'a Arc<Slot<Prepared>>,
    pub(super) claim: &'a Claim<'a>,
    pub(super) framing: Framing,
    /// What the app sends, where it has to be there before the head goes on.
    pub(super) content: Option<Content>,
    /// How long it was held back.
    pub(super) held: Duration,
    pub(super) watch: &'a Rc<Watch>,
    pub(super) body_timeout: Duration,
}

impl Request<'_> {
    /// Puts the head, with the token on it, on a connection.
    pub(super) fn begin(
        &self,
        current: &Current<Prepared>,
        ready: Ready,
        pool: Rc<Pool>,
    ) -> Result<Lent, ProxyError> {
        let route = self.route;
        let unusable = |why: String| {
            ProxyError::new(Code::CredentialUnavailable, "the token cannot be put on this request")
                .because(why)
        };
        let outbound =
            Outbound::new(self.sanitized, &current.value, self.content.as_ref()).map_err(unusable)?;
        let content = outbound.content().cloned();
        let framing = content.as_ref().map_or(self.framing, |made| Framing::Length(made.len() as u64));
        route.metrics.injections.increment();
        let link = match ready {
            Ready::Http1(mut link) => {
                outbound.write(framing, link.output());
                link.count_for(&route.metrics);
                link.begin(framing);
                Link::Http1(link)
            }
            Ready::Http2(place) => {
                place.connection().count_for(&route.metrics);
                let head = outbound.request(framing).map_err(unusable)?;
                Link::Http2(Box::new(Http2Link::new(place, head, framing)))
            }
        };
        let asked = Asked {
            head: *self.sanitized.method() == Method::HEAD,
            upgrade: self.sanitized.upgrades(),
            max_interim: route.limits.max_interim_answers,
        };
        // A refusal of the token, or of the stream, must be possible.
        let may_repeat = self.slot.is_renewable() || matches!(link, Link::Http2(_));
        let limits = &route.limits;
        let limits = UploadLimits {
            max_body: limits.max_body,
            replay_body: if may_repeat { limits.replay_body } else { 0 },
            body_timeout: self.body_timeout,
            stall_timeout: limits.stall_timeout,
            answer_timeout: limits.answer_timeout,
        };
        let upload = match content {
            Some(content) => Upload::of_content(limits, content),
            None => Upload::new(limits, framing),
        };
        let watch = self.watch.clone();
        let verifier = current.value.verifier().cloned();
        Ok(Lent::new(|| Exchange::new(route.clone(), pool, watch, link, asked, upload, verifier)))
    }
}
