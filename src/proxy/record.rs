//! What is noted of a request when it is over: its numbers, and its line in the access log.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::http1::RequestHead;
use crate::proxy::admit::Door;
use crate::proxy::subject;
use crate::proxy::watch::{Phase, Watch};
use crate::route::Route;
use crate::telemetry::AccessLog;

/// One request, noted when it is dropped.
#[derive(Debug)]
pub struct Record {
    watch: Rc<Watch>,
    door: Arc<Door>,
    started: Instant,
    /// The route, once it is known.
    pub route: Option<Arc<Route>>,
    /// How long it was held back, until an issuer has told its endpoints.
    pub held: Duration,
    /// The status of the answer, once there is one.
    pub status: Option<StatusCode>,
    line: Option<Box<Line>>,
    is_broken: bool,
}

/// What the access log says of a request; never its query nor any value.
#[derive(Debug)]
struct Line {
    only_errors: bool,
    method: Method,
    path: String,
}

impl Record {
    /// A request that begins now.
    pub fn begin(watch: Rc<Watch>, door: Arc<Door>) -> Self {
        let started = watch.sweeper().read_clock();
        watch.enter(Phase::Busy, Duration::ZERO);
        Self {
            watch,
            door,
            started,
            route: None,
            held: Duration::ZERO,
            status: None,
            line: None,
            is_broken: false,
        }
    }

    /// Wants a line in the access log.
    pub fn log(&mut self, which: AccessLog, head: &RequestHead) {
        if which != AccessLog::Off {
            let only_errors = which == AccessLog::Errors;
            let path = head.target().split(|byte| *byte == b'?').next().unwrap_or_default();
            let path = String::from_utf8_lossy(path).into_owned();
            self.line = Some(Box::new(Line { only_errors, method: head.method.clone(), path }));
        }
    }

    /// The connection's time limit.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// The listener.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The answer was broken off.
    pub fn broken(&mut self) {
        self.is_broken = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.watch.sweeper().read_clock().saturating_duration_since(self.started);
        self.watch.enter(Phase::Idle, self.door.idle_timeout);
        // Without a status the app went away before there was an answer.
        let Some(status) = self.status else { return };
        let metrics = self.route.as_ref().map_or(&self.door.metrics.unrouted, |route| &route.metrics);
        metrics.answered(status.as_u16(), duration);
        let Some(line) = self.line.take() else { return };
        if line.only_errors && status.as_u16() < 400 && !self.is_broken {
            return;
        }
        let route = self.route.as_deref();
        let path = route.map_or_else(|| Cow::from(&line.path), |route| subject::in_log(route, &line.path));
        tracing::info!(
            target: "bearerd::access",
            listener = self.door.listener,
            route = route.map_or("", |route| &*route.spec.name),
            method = line.method.as_str(),
            path = &*path,
            status = status.as_u16(),
            milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            broken_off = self.is_broken,
            "request"
        );
    }
}
