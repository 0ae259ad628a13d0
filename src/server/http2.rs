//! One HTTP/2 connection from an app (RFC 9113): each stream is a request.
//!
//! ```text
//! connection::serve ─ preface ─▶ Driver ─ frames ─▶ Reader ─ a head ─▶ a Seat: Stream ─▶ Proxy::serve
//!                                  ▲                                              │
//!                                  └── output ◀── Sender ◀── head, data, trailers ┘
//! ```
//!
//! The connection's task reads frames, and writes what the tasks of its streams have put into the one
//! output meanwhile: one call for all of them. A stream puts data there only while there is room, and the
//! app's windows take it; nothing is read from an app that does not take what it is answered.

mod answer;
mod calm;
mod connection;
mod content;
mod driver;
mod reader;
mod seat;
mod sender;
mod stream;
mod window;

pub use calm::CalmLimits;
pub(super) use seat::Seats;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::buffer::Input;
use crate::proxy::watch::{Elapsed, Phase, Watch};
use crate::route::metrics::Limit;
use crate::server::Settings;
use crate::server::connection::Service;
use crate::server::http2::connection::Connection;
use crate::server::http2::driver::{Driver, End};
use crate::server::socket::AppStream;
use crate::server::visitor::Visitor;

/// What every connection of HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the app may take to hear that the connection ends, and an answer that bearerd makes may take.
const MOMENT: Duration = Duration::from_secs(2);

/// Serves a connection of `visitor` until either side ends it; `input` is what was read of it.
pub(super) async fn serve(
    service: &Rc<Service>,
    settings: &Arc<Settings>,
    watch: Rc<Watch>,
    (stream, input): (AppStream, Input),
    visitor: Visitor,
) {
    let connection = Connection::begin(service.clone(), settings.clone(), watch, stream, visitor);
    let mut driver = Driver::new(&connection, input);
    let end = poll_fn(|context| {
        loop {
            if let Poll::Ready(end) = driver.poll(context) {
                return Poll::Ready(end);
            }
            if connection.is_leaving() || !connection.watch.is_draining() {
                match connection.watch.poll_passed(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Elapsed(Phase::Idle)) => {
                        connection.limited(Limit::IdleTimeout);
                    }
                    Poll::Ready(Elapsed(phase)) => {
                        if phase == Phase::Head {
                            connection.limited(Limit::HeadTimeout);
                        }
                        return Poll::Ready(End::Lost);
                    }
                }
            }
            // Streams in flight finish.
            connection.leave();
        }
    })
    .await;
    connection.cut_all();
    driver.close(end).await;
}
