//! HTTP/2 at either end of bearerd, stream by stream (RFC 9113), with hyper's own library for it.
//!
//! Tests are plain functions: one thread of the test process drives all connections, and what a test
//! calls here waits for it.

mod app;
mod upstream;

use std::future::Future;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use bytes::Bytes;
use http::HeaderMap;
use tokio::runtime::{Builder, Handle};

use super::{PATIENCE, canary};

pub use app::Http2App;
pub use upstream::{Exchange, Farewell, Http2Origin, tls};

/// A body that comes or goes, and what stands behind it.
#[derive(Debug, Default, Clone)]
pub struct Content {
    /// All of its bytes.
    pub body: Vec<u8>,
    /// The fields behind it.
    pub trailers: HeaderMap,
}

/// Waits for a future, but not for ever.
#[track_caller]
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waited = runtime().block_on(async { tokio::time::timeout(PATIENCE, future).await });
    waited.expect("it takes too long")
}

/// The runtime that drives all connections of this process, on a thread of its own.
fn runtime() -> Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    let start = || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    };
    RUNTIME.get_or_init(start).clone()
}

/// Reads data as it comes; `None` at the end of the body.
async fn read_data(stream: &mut h2::RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = stream.data().await.transpose()? else { return Ok(None) };
    // The window opens again for what was read.
    let _ = stream.flow_control().release_capacity(data.len());
    Ok(Some(data))
}

async fn read_content(stream: &mut h2::RecvStream) -> Result<Content, h2::Error> {
    let mut content = Content::default();
    while let Some(data) = read_data(stream).await? {
        content.body.extend_from_slice(&data);
    }
    content.trailers = stream.trailers().await?.unwrap_or_default();
    Ok(content)
}

/// Sends all bytes as the other side's windows allow.
async fn send_all(stream: &mut h2::SendStream<Bytes>, mut data: Bytes, end: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        // Only what is added is told: there may be some already.
        let mut capacity = stream.capacity();
        if capacity == 0 {
            let more = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            capacity = more.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
        }
        let now = data.split_to(capacity.min(data.len()));
        let is_last = end && data.is_empty();
        stream.send_data(now, is_last)?;
        if is_last {
            return Ok(());
        }
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Fields as text, to be searched for canaries.
fn as_text(fields: &HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
    };
    fields.iter().map(line).collect()
}

/// Fails if what an app received shows a canary.
#[track_caller]
fn check_for_app(fields: &HeaderMap, body: &[u8]) {
    canary::assert_unseen(as_text(fields).as_bytes(), "what the app received");
    canary::assert_unseen(body, "what the app received");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
