//! One connection from an app, from its first byte to its last.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use crate::buffer::Input;
use crate::http1::{AnswerHead, Framing, Kind, RequestHead};
use crate::proxy::admit::Door;
use crate::proxy::lent::Lent;
use crate::proxy::record::Record;
use crate::proxy::watch::{Phase, Watch};
use crate::proxy::{self, Answer, Asking, Proxy, ProxyError};
use crate::server::Settings;
use crate::server::app::{App, Ending, Manner, Next};
use crate::server::date::Date;
use crate::server::http2::{self, Seats};
use crate::server::socket::AppStream;
use crate::server::tunnel;
use crate::server::visitor::Visitor;

/// What the connections of a worker are served with.
pub struct Service {
    /// The request path.
    pub proxy: Proxy,
    /// The date of answers.
    pub date: Date,
    /// Where streams of HTTP/2 are served.
    pub(super) seats: Rc<Seats>,
}

/// The heads of a request and its answer; lent for the time of a request.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) request: RequestHead,
    pub(super) answer: AnswerHead,
}

/// Heads on loan: they go from hand to hand without a copy.
pub(super) type LentHeads = Box<Heads>;

/// Heads that a thread keeps for later requests.
const KEPT_HEADS: usize = 512;

thread_local! {
    static HEADS: RefCell<Vec<LentHeads>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn take_heads() -> LentHeads {
    HEADS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub(super) fn give_heads(heads: LentHeads) {
    HEADS.with_borrow_mut(|kept| {
        if kept.len() < KEPT_HEADS {
            kept.push(heads);
        }
    });
}

/// What becomes of a connection after a request.
enum After {
    /// It serves the next.
    Next,
    /// It ends, after what was written is out.
    Close,
    /// It is over.
    Gone,
    /// Another protocol is spoken on it.
    Switch(Lent, Record),
}

/// Serves one connection of `visitor` until either side ends it. Most connections lie idle most of the time:
/// what one needs only for a while, or at its end, stands apart from what it keeps.
pub async fn serve(
    service: &Rc<Service>,
    settings: &Arc<Settings>,
    watch: Rc<Watch>,
    stream: AppStream,
    visitor: Visitor,
) {
    let door = &settings.door;
    let mut app = App::new(stream, Input::default(), watch.clone(), settings.head_limits, door.head_timeout);
    if app.speaks_http2().await {
        return Box::pin(http2::serve(service, settings, watch, app.into_unspoken(), visitor)).await;
    }
    loop {
        match app.wait().await {
            Next::Request => {}
            Next::End => return Box::pin(app.part()).await,
            Next::Refused(limit, _) => {
                door.metrics.unrouted.limited_by(limit);
                return Box::pin(app.part()).await;
            }
        }
        let mut heads = take_heads();
        let after = match app.read_head(&mut heads.request).await {
            Next::Request => answer(service, settings, &watch, &mut app, &mut heads, &visitor).await,
            Next::End => After::Gone,
            Next::Refused(limit, error) => {
                door.metrics.unrouted.limited_by(limit);
                match error {
                    Some(error) => Box::pin(refuse_head(service, door, &mut app, &error)).await,
                    None => After::Gone,
                }
            }
        };
        give_heads(heads);
        match after {
            After::Next => {}
            After::Close => return Box::pin(app.close()).await,
            After::Gone => return,
            After::Switch(exchange, record) => return Box::pin(switch(app, exchange, &watch, record)).await,
        }
    }
}

/// Answers a head that could not be read.
async fn refuse_head(service: &Service, door: &Door, app: &mut App, error: &ProxyError) -> After {
    door.metrics.unrouted.answered(error.code.status().as_u16(), Duration::ZERO);
    proxy::note_refusal(error, door, None);
    let manner = Manner { is_head: false, is_http10: false, closes: true };
    match app.answer(&error.response(None, None), manner, &service.date).await {
        Ending::Whole => After::Close,
        _ => After::Gone,
    }
}

/// Answers one request.
async fn answer(
    service: &Service,
    settings: &Settings,
    watch: &Rc<Watch>,
    app: &mut App,
    heads: &mut Heads,
    visitor: &Visitor,
) -> After {
    let request = &heads.request;
    let mut record = service.proxy.record(watch, &settings.door, request);
    app.begin_request(framing(request), expects_continue(request));
    let mut manner = Manner {
        is_head: request.method == Method::HEAD,
        is_http10: request.is_http10,
        closes: !request.is_persistent() || watch.is_draining(),
    };
    let asking = Asking { head: request, is_over: false, peer: visitor.peer.as_deref() };
    let answered = match &visitor.refusal {
        Some(error) => Err((**error).clone()),
        None => service.proxy.serve(&mut record, asking, app, &mut heads.answer).await,
    };
    manner.closes |= watch.is_draining();
    match answered {
        Ok(Answer::Upstream(exchange)) if heads.answer.status == StatusCode::SWITCHING_PROTOCOLS => {
            record.status = Some(heads.answer.status);
            app.begin_answer(&heads.answer, Framing::Close, manner, &service.date);
            After::Switch(exchange, record)
        }
        Ok(Answer::Upstream(mut exchange)) => {
            record.status = Some(heads.answer.status);
            // An app that waits for a 100 which does not come may send the body or not: nobody can tell.
            let may_skip = !app.expects_continue();
            app.begin_answer(&heads.answer, exchange.framing(), manner, &service.date);
            let ending = app.pass_answer(&mut exchange).await;
            let is_sent = exchange.is_sent();
            if ending == Ending::Whole {
                exchange.finish();
            } else if ending == Ending::BrokenByUpstream {
                record.broken();
            }
            drop(record);
            match ending {
                Ending::Whole if manner.closes => After::Close,
                Ending::Whole if is_sent && app.has_whole_request() => After::Next,
                Ending::Whole if may_skip => {
                    // What is left of the request is of no use to the upstream.
                    drop(exchange);
                    Box::pin(skip_request(app, watch, &settings.door)).await
                }
                Ending::Whole => After::Close,
                Ending::BrokenByUpstream | Ending::BrokenByApp => After::Gone,
            }
        }
        Ok(Answer::Gone) => After::Gone,
        Ok(Answer::Own(response)) => answer_here(service, app, &response, manner, record).await,
        Err(error) => {
            manner.closes |= error.close;
            let response = service.proxy.refuse(&error, &mut record);
            answer_here(service, app, &response, manner, record).await
        }
    }
}

/// Writes an answer that bearerd makes.
async fn answer_here(
    service: &Service,
    app: &mut App,
    response: &Response<Bytes>,
    mut manner: Manner,
    mut record: Record,
) -> After {
    record.status = Some(response.status());
    // An app that waits for a 100 which does not come may send the body or not: nobody can tell.
    manner.closes |= app.expects_continue();
    let watch = record.watch().clone();
    let door = record.door().clone();
    // Whoever has read the answer finds it in the numbers.
    drop(record);
    watch.enter(Phase::Lingering, MOMENT);
    let ending = app.answer(response, manner, &service.date).await;
    match ending {
        Ending::Whole if !manner.closes => skip_request(app, &watch, &door).await,
        Ending::Whole => {
            watch.enter(Phase::Idle, door.idle_timeout);
            After::Close
        }
        Ending::BrokenByUpstream | Ending::BrokenByApp => After::Gone,
    }
}

/// Reads what is left of a request that was answered before its end, so that the next can be read.
async fn skip_request(app: &mut App, watch: &Watch, door: &Door) -> After {
    let skipped = app.skip_request(door.skipped).await;
    watch.enter(Phase::Idle, door.idle_timeout);
    match skipped {
        Ok(()) => After::Next,
        Err(limit) => {
            door.metrics.unrouted.limited_by(limit);
            After::Close
        }
    }
}

/// How long an answer of bearerd's own, and the end of a connection, may take.
const MOMENT: Duration = Duration::from_secs(2);

/// Passes bytes in both directions after a 101.
async fn switch(app: App, mut exchange: Lent, watch: &Rc<Watch>, record: Record) {
    watch.enter(Phase::Tunnel, Duration::ZERO);
    if let Some((stream, input, guard)) = exchange.take_tunnel() {
        tunnel::run(app.into_parts(), (stream, input), guard, watch).await;
    }
    drop(record);
}

/// How the body of a request is delimited, as far as the head says it in a way that may pass; a head
/// that says it in another is refused before a byte of the body is looked at.
fn framing(head: &RequestHead) -> Framing {
    if head.fields.get(Kind::TransferEncoding).is_some() {
        return Framing::Chunked;
    }
    let length = head.fields.get(Kind::ContentLength).and_then(crate::upstream::http1::content_length);
    Framing::Length(length.unwrap_or(0))
}

/// HTTP/1.0 has no 100 (RFC 9110, section 10.1.1).
fn expects_continue(head: &RequestHead) -> bool {
    !head.is_http10 && head.fields.get(Kind::Expect).is_some()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::{Service, serve};
    use crate::proxy::watch::Watch;
    use crate::server::Settings;
    use crate::server::socket::AppStream;
    use crate::server::visitor::Visitor;

    type Served<'a> = (&'a Rc<Service>, &'a Arc<Settings>, Rc<Watch>, AppStream, Visitor);

    fn size_of_output<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Each connection has it for as long as it is open, most of the time for nothing.
    #[test]
    fn what_a_connection_takes_while_it_waits_is_small() {
        let size = size_of_output(|(service, settings, watch, stream, visitor): Served<'static>| {
            serve(service, settings, watch, stream, visitor)
        });
        assert!(size <= 2560, "{size} bytes");
    }
}
