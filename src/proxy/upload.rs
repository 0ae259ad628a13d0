//! The request body on its way to the upstream: counted, timed, and held for one replay.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::Held;
use crate::proxy::watch::{Phase, Watch};

/// How far a request body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Running,
    /// The last byte was handed over.
    Finished,
    /// It grew longer than the route takes.
    TooLarge,
    /// The app broke off, or framed it wrongly.
    Broken,
}

/// Limits on one request body.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// The longest body that the route takes.
    pub max_body: Option<u64>,
    /// The longest body that is held for a replay; zero holds none.
    pub replay_body: usize,
    /// Without progress of the app.
    pub body_timeout: Duration,
    /// Without progress of the upstream.
    pub stall_timeout: Duration,
    /// From the last byte to the head of the answer.
    pub answer_timeout: Duration,
}

/// What the request's task and the upstream connection's task both know of a request body.
#[derive(Debug)]
pub struct Upload {
    watch: Rc<Watch>,
    limits: UploadLimits,
    progress: Cell<Progress>,
    /// The app is waited for: further polls must not move the deadline.
    waiting: Cell<bool>,
    length: Cell<u64>,
    held: RefCell<Option<Held>>,
}

/// The body of an outbound request.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// One that was held: the second try.
    Held(Held),
    /// One that streams from the app.
    Streaming(Incoming, Rc<Upload>),
}

/// A request body that cannot be sent to its end.
#[derive(Debug)]
pub struct BrokenUpload;

impl fmt::Display for BrokenUpload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the request body ended early")
    }
}

impl std::error::Error for BrokenUpload {}

impl Upload {
    /// A body of which nothing was sent yet.
    pub fn new(watch: Rc<Watch>, limits: UploadLimits, known_length: Option<u64>) -> Rc<Self> {
        let longest = u64::try_from(limits.replay_body).unwrap_or(u64::MAX);
        let is_held = longest > 0 && known_length.is_none_or(|length| length <= longest);
        Rc::new(Self {
            watch,
            limits,
            progress: Cell::new(Progress::Running),
            waiting: Cell::new(false),
            length: Cell::new(0),
            held: RefCell::new(is_held.then(Held::default)),
        })
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// Whether it grew too long to be held.
    pub fn outgrew(&self) -> bool {
        self.limits.replay_body > 0 && self.held.borrow().is_none()
    }

    /// The whole body, if it was sent to its end and held.
    pub fn take_held(&self) -> Option<Held> {
        if self.progress.get() == Progress::Finished { self.held.borrow_mut().take() } else { None }
    }

    /// Nothing is kept any longer: the answer needs no second try.
    pub fn release(&self) {
        self.held.borrow_mut().take();
    }

    /// Whether the answer's head is still awaited.
    fn is_before_answer(&self) -> bool {
        matches!(self.watch.phase(), Phase::RequestBody | Phase::Upload)
    }

    fn wait(&self) {
        if !self.waiting.replace(true) && self.is_before_answer() {
            self.watch.enter(Phase::RequestBody, self.limits.body_timeout);
        }
    }

    fn pass(&self, piece: &Bytes) -> Result<(), BrokenUpload> {
        self.waiting.set(false);
        let phase = if self.is_before_answer() { Phase::Upload } else { self.watch.phase() };
        if matches!(phase, Phase::Upload | Phase::Streaming) {
            self.watch.enter(phase, self.limits.stall_timeout);
        }
        let length = self.length.get() + piece.len() as u64;
        self.length.set(length);
        if self.limits.max_body.is_some_and(|longest| length > longest) {
            self.progress.set(Progress::TooLarge);
            return Err(BrokenUpload);
        }
        let mut held = self.held.borrow_mut();
        if held.as_mut().is_some_and(|held| held.keep(piece, self.limits.replay_body).is_err()) {
            *held = None;
        }
        Ok(())
    }

    fn finish(&self) {
        self.progress.set(Progress::Finished);
        if self.is_before_answer() {
            self.watch.enter(Phase::Answer, self.limits.answer_timeout);
        }
    }

    fn fail(&self) -> BrokenUpload {
        self.progress.set(Progress::Broken);
        BrokenUpload
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenUpload;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenUpload>>> {
        let (incoming, upload) = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Held(held) => return Poll::Ready(held.pop().map(|piece| Ok(Frame::data(piece)))),
            Self::Streaming(incoming, upload) => (incoming, upload),
        };
        loop {
            let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(context) else {
                upload.wait();
                return Poll::Pending;
            };
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        if let Err(broken) = upload.pass(&piece) {
                            return Poll::Ready(Some(Err(broken)));
                        }
                        if incoming.is_end_stream() {
                            upload.finish();
                        }
                        Some(Ok(Frame::data(piece)))
                    }
                    // Request trailers are dropped: nobody looked at their fields.
                    Err(_trailers) => continue,
                },
                Some(Err(_)) => Some(Err(upload.fail())),
                None => {
                    upload.finish();
                    None
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Held(held) => held.is_empty(),
            Self::Streaming(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Held(held) => SizeHint::with_exact(held.len() as u64),
            Self::Streaming(incoming, _) => incoming.size_hint(),
        }
    }
}
