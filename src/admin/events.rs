//! Changes as they happen: server-sent events for the console (WHATWG HTML, section 9.2).
//!
//! A stream begins with all there is (`snapshot`), and then tells what has changed (`change`), at most
//! once a second however much that is. Each stream compares by itself: one whose reader is slow skips
//! what is in between, and none of them costs anything while nobody looks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Admin;
use crate::admin::overview::Observer;
use crate::telemetry::{Counter, Gauge};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Silence after which a comment says that the stream lives.
const HEARTBEAT_LOOKS: u32 = 15;
/// A reader that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The streams that are open.
#[derive(Debug, Default)]
pub struct EventStreams {
    open: Gauge,
    /// Streams that were refused, since there were enough.
    pub limited: Counter,
}

/// A place among the streams; given back when it is dropped.
struct Place(Arc<Admin>);

impl EventStreams {
    /// How many are open.
    pub(super) fn open(&self) -> i64 {
        self.open.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.events.open.decrement();
    }
}

/// Opens a stream; what comes out is its body. `None` if there are as many as there may be.
pub(super) fn stream(admin: &Arc<Admin>) -> Option<mpsc::Receiver<Bytes>> {
    let most = admin.spec.load().max_event_streams;
    // All of the admin listener runs on one thread: nobody comes in between.
    if admin.events.open() >= i64::from(most) {
        admin.events.limited.increment();
        return None;
    }
    admin.events.open.increment();
    let place = Place(Arc::clone(admin));
    let (sender, body) = mpsc::channel(1);
    tokio::spawn(tell(place, sender));
    Some(body)
}

/// Tells until the reader is gone.
async fn tell(place: Place, reader: mpsc::Sender<Bytes>) {
    let admin = &place.0;
    let mut observer = Observer::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        tokio::select! {
            () = reader.closed() => return,
            _ = looks.tick() => {}
        }
        let event = if observer.is_outdated(admin) {
            Some(event("snapshot", &observer.whole(admin).await))
        } else if let Some(news) = observer.changes(admin).await {
            Some(event("change", &news))
        } else if silent + 1 >= HEARTBEAT_LOOKS {
            Some(Bytes::from_static(b": still here\n\n"))
        } else {
            None
        };
        let Some(event) = event else {
            silent += 1;
            continue;
        };
        silent = 0;
        if reader.send_timeout(event, PATIENCE).await.is_err() {
            return;
        }
    }
}

/// One event. JSON has no line breaks of its own, so it is one line of data.
fn event(name: &str, document: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(document).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}
