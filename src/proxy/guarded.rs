//! The guard between an upstream's answer and the app.
//!
//! The head is looked through at once. A body gets a [`Sentry`], which looks away if it has no text, and a tunnel a
//! [`Screen`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;

use crate::body::splice::WORTH_WHILE;
use crate::body::{BodyError, Fill, Source};
use crate::credential::slot::Slot;
use crate::guard::{Coding, Handling, Mode, Orders, Patience, Patterns, Screen, Sentry, Shown, mask_fields};
use crate::http1::field::members;
use crate::http1::{AnswerHead, Framing, Kind};
use crate::inject::Prepared;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::exchange::Exchange;
use crate::proxy::upload::Caller;
use crate::proxy::verified;
use crate::route::Route;

/// Looks through the head of an answer, and sees to what becomes of its body. True if the head has to wait
/// for [`first_piece`].
pub(super) fn begin(
    exchange: &mut Exchange,
    head: &mut AnswerHead,
    slot: &Arc<Slot<Prepared>>,
) -> Result<bool, ProxyError> {
    let Some(patterns) = patterns(&exchange.route, slot) else { return Ok(false) };
    let mut count = Count { route: exchange.route.clone(), masked: 0 };
    let masked = mask_fields(&patterns, &mut head.fields);
    if masked > 0 && count.route.guard == Mode::Block {
        return Err(blocked("the fields of the upstream's answer hold a secret"));
    }
    count.note(masked, "fields");
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let screen = Screen::new(patterns, Patience::Lively);
        count.masked = 0;
        exchange.tunnel_guard = Some(Box::new(TunnelGuard { screen, count, slot: slot.clone() }));
        return Ok(false);
    }
    if exchange.framing() == Framing::NONE {
        return Ok(false);
    }
    let handling = handling(head);
    let (blocks, allows_token_answers) = (count.route.guard == Mode::Block, count.route.allows_token_answers);
    let (coding, is_legible) = match coding(head) {
        Ok(coding) => (coding, true),
        // What has no text needs not be read.
        Err(_) if handling == Handling::Unseen => (None, false),
        Err(error) => return Err(error),
    };
    let length = if let Framing::Length(length) = exchange.framing() { Some(length) } else { None };
    let mut sentry = Sentry::new(Orders { patterns, handling, coding, blocks, allows_token_answers, length });
    if !is_legible {
        sentry.look_away();
    }
    let lasting = (handling == Handling::Lively).then(|| slot.clone());
    count.masked = 0;
    exchange.body_guard = Some(BodyGuard { sentry, count, lasting, is_begun: false });
    Ok(match handling {
        // Whether it passes unseen is known before the way is chosen that it takes.
        Handling::Unseen => length.is_some_and(|length| length >= WORTH_WHILE),
        Handling::Json => !allows_token_answers,
        Handling::Scanned | Handling::Lively => false,
    } || blocks
        || coding.is_some())
}

/// Waits, if `waits`, until it is known whether the beginning of the body may pass: what may not is answered
/// with an error as long as the head has not gone. What is left of the request is sent meanwhile. False if
/// the app does not wait any more.
pub(super) async fn first_piece<S: Caller>(
    exchange: &mut Exchange,
    caller: &mut S,
    waits: bool,
) -> Result<bool, ProxyError> {
    let is_awaited = poll_fn(|context| {
        if waits && !exchange.is_sent() {
            // How it ends is seen when the answer has ended.
            let _ = exchange.poll_upload(caller, context);
        }
        match exchange.poll_known(context) {
            Poll::Ready(Err(BodyError::Withheld)) => {
                let detail = "the upstream's answer holds a secret or a token, or cannot be looked into";
                return Poll::Ready(Err(blocked(detail)));
            }
            Poll::Ready(Err(BodyError::Unverified)) => return Poll::Ready(Err(verified::unfit())),
            // A break is told again when the body is passed on.
            Poll::Ready(_) => return Poll::Ready(Ok(true)),
            Poll::Pending if !waits => return Poll::Ready(Ok(true)),
            Poll::Pending => {}
        }
        if exchange.is_sent() && caller.poll_gone(context).is_ready() {
            return Poll::Ready(Ok(false));
        }
        exchange.poll_stalled(context).map(Err)
    })
    .await?;
    if let Some(guard) = &mut exchange.body_guard {
        guard.is_begun = true;
        if guard.sentry.looks_away() && exchange.has_no_trailers() {
            exchange.body_guard = None;
        }
    }
    Ok(is_awaited)
}

fn blocked(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::LeakBlocked, detail)
}

/// What is done with the body, by its media type. If several are named, nobody knows which an app believes.
fn handling(head: &AnswerHead) -> Handling {
    let mut handling = None;
    for list in head.fields.all(Kind::ContentType) {
        for media_type in members(list) {
            let of_type = Handling::of(Some(media_type));
            if *handling.get_or_insert(of_type) != of_type {
                return Handling::Json;
            }
        }
    }
    handling.unwrap_or(Handling::Scanned)
}

/// How the body is compressed.
fn coding(head: &AnswerHead) -> Result<Option<Coding>, ProxyError> {
    let names = head.fields.all(Kind::ContentEncoding).flat_map(members);
    let mut codings = names.filter(|name| !name.eq_ignore_ascii_case(b"identity")).map(Coding::of);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(None),
        (Some(Some(coding)), None) => Ok(Some(coding)),
        _ => Err(blocked("the upstream's answer is compressed in a way that cannot be looked into")),
    }
}

/// Counts and tells what was masked.
struct Count {
    route: Arc<Route>,
    masked: u64,
}

impl Count {
    /// So many values were masked so far.
    fn note(&mut self, masked: u64, place: &'static str) {
        if masked == self.masked {
            return;
        }
        self.route.metrics.masked.add(masked - self.masked);
        if self.masked == 0
            && let Some(untold) = self.route.metrics.tell_mask()
        {
            let (route, credential) = (&*self.route.spec.name, self.route.spec.credential.as_str());
            tracing::warn!(route, credential, place, untold, "a secret was masked in an answer");
        }
        self.masked = masked;
    }
}

/// What is in play now, and what is made of it for requests.
fn patterns(route: &Route, slot: &Slot<Prepared>) -> Option<Arc<Patterns>> {
    let in_play = slot.patterns()?;
    if !route.derives {
        return Some(in_play);
    }
    let newest = slot.newest();
    let derived = newest.as_ref().and_then(|newest| newest.value.derived());
    Some(match derived {
        Some(derived) => derived.patterns(&in_play),
        None => in_play,
    })
}

/// The guard of a body.
pub(super) struct BodyGuard {
    sentry: Sentry,
    count: Count,
    /// Where the values come from, if it lasts longer than they do.
    lasting: Option<Arc<Slot<Prepared>>>,
    /// The head has gone to the app.
    is_begun: bool,
}

impl BodyGuard {
    /// See [`Sentry::poll_known`].
    pub(super) fn poll_known<S: Source>(
        &mut self,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        self.sentry.poll_known(source, context)
    }

    /// See [`Sentry::poll_fill`].
    pub(super) fn poll_fill<'a, S: Source>(
        &'a mut self,
        source: &'a mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<Fill<'a>, BodyError>> {
        if let Some(patterns) = self.lasting.as_deref().and_then(|slot| patterns(&self.count.route, slot)) {
            self.sentry.renew(&patterns);
        }
        self.sentry.poll_fill(source, context)
    }

    /// See [`Sentry::consume`].
    pub(super) fn consume<S: Source>(&mut self, source: &mut S, count: usize) {
        self.sentry.consume(source, count);
        self.count.note(self.sentry.masked(), "body");
    }
}

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.count.note(self.sentry.masked(), "trailers");
        if self.is_begun && self.sentry.is_withheld() {
            let Route { spec, metrics, .. } = &*self.count.route;
            metrics.refused(Code::LeakBlocked as usize);
            let code = Code::LeakBlocked.as_str();
            tracing::warn!(
                route = spec.name,
                credential = spec.credential.as_str(),
                code,
                "answer broken off"
            );
        }
    }
}

/// The guard of what comes from an upstream after a 101.
pub struct TunnelGuard {
    screen: Screen,
    count: Count,
    slot: Arc<Slot<Prepared>>,
}

impl TunnelGuard {
    /// What of `fresh` may go on, and nothing follows it if `is_last`; an error ends the tunnel.
    pub fn show<'a>(&'a mut self, fresh: &'a [u8], is_last: bool) -> Result<Shown<'a>, BodyError> {
        if let Some(patterns) = patterns(&self.count.route, &self.slot) {
            self.screen.renew(&patterns);
        }
        // Twice, since what is shown cannot be asked how much was found; the second time nothing is done.
        if self.count.route.guard == Mode::Block && self.screen.sees_value(fresh, is_last) {
            return Err(BodyError::Withheld);
        }
        let _ = self.screen.show(fresh, is_last);
        self.count.note(self.screen.found(), "tunnel");
        Ok(self.screen.show(fresh, is_last))
    }

    /// See [`Screen::take`].
    pub fn take(&mut self, count: usize, fresh: &[u8]) -> usize {
        self.screen.take(count, fresh)
    }

    /// See [`Screen::hold`].
    pub fn hold(&mut self, fresh: &[u8]) {
        self.screen.hold(fresh);
    }

    /// Whether something is kept back.
    pub fn is_holding(&self) -> bool {
        self.screen.is_holding()
    }
}
