//! The same talk over HTTP/2: hyper translates between a wire of the soak and a connection of HTTP/2.
//!
//! ```text
//! app ── HTTP/1.1 in memory ── hyper ── HTTP/2 ──▶ bearerd ── HTTP/2 ──▶ hyper ── HTTP/1.1 in memory ── upstream
//! ```

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_local;

use crate::ledger::Ledger;
use crate::origin::converse;
use crate::wire::{Duplex, Wire};

/// What may lie in memory between two ends, in bytes.
const PIPE: usize = 64 * 1024;

/// A connection of HTTP/2 that several apps share; another is opened when it has ended.
#[derive(Clone, Default)]
pub struct Trunk(Rc<Mutex<Option<SendRequest<Incoming>>>>);

impl Trunk {
    /// A wire whose requests go by this connection; `connect` opens it where there is none.
    pub async fn wire<S: Duplex + 'static>(
        &self,
        connect: impl Future<Output = io::Result<S>>,
    ) -> io::Result<Wire> {
        let mut trunk = self.0.lock().await;
        let sender = match trunk.as_ref().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender.clone(),
            None => trunk.insert(begin(connect.await?).await?).clone(),
        };
        let (near, far) = duplex(PIPE);
        spawn_local(send_on(far, sender));
        Ok(Wire::new(near))
    }
}

async fn begin(stream: impl Duplex + 'static) -> io::Result<SendRequest<Incoming>> {
    let begun = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(io::Error::other)?;
    // How it ends is told by the requests that were on it.
    spawn_local(async { drop(connection.await) });
    Ok(sender)
}

/// Sends what comes on a wire by a connection of HTTP/2, each request on a stream of its own.
async fn send_on(wire: DuplexStream, sender: SendRequest<Incoming>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut sender = sender.clone();
        async move {
            let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
            *request.uri_mut() = format!("http://localhost{target}").parse::<Uri>().expect("a URL");
            // hyper has told the app to continue, and knows itself which fields are of a connection.
            for of_the_wire in [HOST, EXPECT] {
                request.headers_mut().remove(of_the_wire);
            }
            *request.version_mut() = Version::HTTP_2;
            let mut answer = sender.send_request(request).await?;
            *answer.version_mut() = Version::HTTP_11;
            Ok::<_, hyper::Error>(answer)
        }
    });
    // A request that fails ends the wire, which the app sees.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service).await;
}

/// Serves HTTP/2 with prior knowledge for ever. An answer that closes its connection says goodbye to it.
pub async fn serve_streams(listener: TcpListener, ledger: Arc<Ledger>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let ledger = ledger.clone();
        spawn_local(async move {
            // How it ends is the apps' matter: whether their requests were answered.
            let _ = serve_and_linger(stream, ledger).await;
        });
    }
}

/// Serves a connection, and then reads what bearerd still sends before it knows of the goodbye: a socket
/// that is closed with something unread resets the connection, and the last answers are lost with it
/// (RFC 9112, section 9.6).
async fn serve_and_linger(stream: TcpStream, ledger: Arc<Ledger>) -> io::Result<()> {
    let stream = stream.into_std()?;
    let mut rest = TcpStream::from_std(stream.try_clone()?)?;
    serve_connection(TcpStream::from_std(stream)?, ledger).await;
    rest.shutdown().await?;
    let mut unread = [0; 4096];
    while rest.read(&mut unread).await? > 0 {}
    Ok(())
}

async fn serve_connection(stream: impl Duplex + 'static, ledger: Arc<Ledger>) {
    let farewell = Rc::new(Notify::new());
    let last = farewell.clone();
    let service = service_fn(move |request| {
        let (ledger, last) = (ledger.clone(), last.clone());
        async move {
            let answer = hand_on(request, ledger).await?;
            if answer.headers().get(CONNECTION).is_some_and(|value| value == "close") {
                last.notify_one();
            }
            Ok::<_, hyper::Error>(answer)
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(Local);
    // Apps break off on purpose, which is no attack.
    builder.max_pending_accept_reset_streams(10_000).max_local_error_reset_streams(None);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How it ends is the apps' matter: whether their requests were answered.
        _ = &mut connection => return,
        () = farewell.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Has one request of a stream answered as any other.
async fn hand_on(
    mut request: Request<Incoming>,
    ledger: Arc<Ledger>,
) -> Result<Response<Incoming>, hyper::Error> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let (near, far) = duplex(PIPE);
    spawn_local(converse(Wire::new(far), authority.as_str().into(), ledger));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    spawn_local(async { drop(connection.await) });
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().expect("a target");
    // `TE: trailers` is bearerd's own on HTTP/2.
    request.headers_mut().remove(TE);
    if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
        // Without being told, hyper sends no body with a GET.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    request.headers_mut().insert(HOST, HeaderValue::try_from(authority).expect("a host"));
    *request.version_mut() = Version::HTTP_11;
    sender.send_request(request).await
}

/// Runs the tasks of hyper here.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
