//! One connection from an app, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::proxy::admit::Door;
use crate::proxy::record::Record;
use crate::proxy::watch::{Elapsed, Phase, Watch};
use crate::proxy::{self, Code, Proxy, ProxyError};
use crate::route::metrics::Limit;
use crate::server::Settings;
use crate::server::socket::{AppSocket, AppStream, Link};

/// Fields that hyper takes without asking for memory; the scanner's limit is checked before.
const HYPER_FIELDS: usize = 100;

/// Room for what hyper reads at once beside the longest head.
const READ_BUFFER: usize = 64 * 1024;

/// Serves one connection until either side ends it.
pub async fn serve(
    proxy: &Rc<Proxy>,
    settings: &Settings,
    watch: Rc<Watch>,
    stream: AppStream,
    is_denied: bool,
) {
    let limits = settings.head_limits;
    let door = &settings.door;
    let link = Link::new(watch.clone());
    let socket = AppSocket::new(stream, link.clone(), limits, door.head_timeout);
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).writev(false).max_buf_size(2 * limits.bytes + READ_BUFFER);
    if limits.fields > HYPER_FIELDS {
        builder.max_headers(limits.fields);
    }
    let service = service_fn(|request| {
        let (proxy, door, link) = (proxy.clone(), door.clone(), link.clone());
        async move {
            let refusal = if is_denied {
                Some(ProxyError::new(Code::CallerDenied, "this user may not call").and_close())
            } else if link.serve() {
                None
            } else {
                let detail = "the request cannot be told from the body before it";
                Some(ProxyError::new(Code::BadRequest, detail).and_close())
            };
            Ok::<_, Infallible>(match refusal {
                None => proxy.serve(&door, &link.watch, request).await,
                Some(error) => proxy::refuse(&error, Record::begin(link.watch.clone(), door)),
            })
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut is_ending = false;
    poll_fn(|context| {
        loop {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            watch.wake_later(context);
            if let Poll::Ready(Elapsed(phase)) = watch.poll_passed(context) {
                if !may_end_gracefully(phase, &link, door) {
                    return Poll::Ready(());
                }
            } else if is_ending || !(watch.is_draining() || refused_at_rest(&link, door)) {
                if watch.phase() == Phase::Idle && link.has_part_of_head() {
                    watch.enter(Phase::Head, door.head_timeout);
                }
                return Poll::Pending;
            }
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
}

/// Whether all requests before a refused head are answered: then the refusal is, too.
fn refused_at_rest(link: &Link, door: &Door) -> bool {
    let is_at_rest = matches!(link.watch.phase(), Phase::Idle | Phase::Head);
    match link.refusal() {
        Some(error) if is_at_rest => {
            if let Some(limit) = link.take_limit() {
                door.metrics.unrouted.limited(limit);
            }
            door.metrics.unrouted.answered(error.code.status().as_u16(), Duration::ZERO);
            proxy::note_refusal(&error, door, None);
            true
        }
        _ => false,
    }
}

/// What becomes of a connection whose time is over. False if it ends at once.
fn may_end_gracefully(phase: Phase, link: &Link, door: &Door) -> bool {
    let limited = &door.metrics.unrouted;
    match phase {
        Phase::Idle => limited.limited(Limit::IdleTimeout),
        Phase::Head => {
            limited.limited(Limit::HeadTimeout);
            if link.has_part_of_head() {
                let error = ProxyError::new(Code::RequestTimeout, "the request head was not whole in time");
                proxy::note_refusal(&error, door, None);
                link.refuse(error.and_close(), None);
            }
        }
        Phase::Streaming => limited.limited(Limit::StallTimeout),
        Phase::Busy | Phase::RequestBody | Phase::Upload | Phase::Answer | Phase::Lingering => {}
    }
    // Whatever is left to write has a moment to go out.
    link.watch.enter(Phase::Lingering, MOMENT);
    matches!(phase, Phase::Idle | Phase::Head)
}

/// How long the end of a connection may take.
const MOMENT: Duration = Duration::from_secs(2);
