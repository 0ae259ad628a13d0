//! What the streams of a connection share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;

use crate::http2::frame::{self, Flags, Kind, LARGEST_WINDOW, LAST_STREAM, Setting, USUAL_WINDOW};
use crate::http2::head::FIELD_OVERHEAD;
use crate::proxy::watch::{Phase, Watch};
use crate::route::metrics::Limit;
use crate::server::Settings;
use crate::server::connection::Service;
use crate::server::http2::MOMENT;
use crate::server::http2::sender::Sender;
use crate::server::http2::stream::Stream;
use crate::server::http2::window::Window;
use crate::server::socket::AppStream;
use crate::server::visitor::Visitor;

/// What an app may send on a stream before the upstream takes it, in bytes. Apps are near: more would
/// not be faster.
pub(super) const STREAM_WINDOW: u32 = 64 * 1024;

/// What it may send on all streams of a connection together beyond that: as many as there may be can have upstreams
/// that take nothing, and must not hold up the next one.
const SPARE_WINDOW: u32 = 1024 * 1024;

/// The fewest streams that are remembered to have ended here first, since their app may not know it yet: all
/// that it may have open, if those are more.
const REMEMBERED: usize = 100;

/// The PING that finds out whether an app is still there that has ended its half: nobody answers it, but the system
/// of one that is gone refuses it.
const ANYBODY: [u8; 8] = *b"anybody?";

/// The PING whose answer says that the farewell was heard.
const FAREWELL: [u8; 8] = *b"farewell";

/// A connection, as its streams see it.
pub(super) struct Connection {
    pub(super) service: Rc<Service>,
    pub(super) settings: Arc<Settings>,
    pub(super) visitor: Visitor,
    pub(super) watch: Rc<Watch>,
    pub(super) sender: RefCell<Sender>,
    /// What the app may send on all streams together.
    pub(super) window: Window,
    /// Open streams, by their identifiers.
    streams: RefCell<Vec<Rc<Stream>>>,
    /// Tasks of streams that were cut off, and have not ended yet.
    ending: Cell<usize>,
    remembered: RefCell<VecDeque<u32>>,
    frustrated: Cell<u32>,
    /// The highest stream that the app has opened, and the highest that was looked at.
    highest: Cell<u32>,
    last: Cell<u32>,
    leaving: Cell<Leaving>,
    /// The app sends nothing more.
    has_ended: Cell<bool>,
}

/// How far a farewell has come (RFC 9113, section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// New streams are welcome.
    No,
    /// It was said that none should be opened; some may be on their way.
    Announced,
    /// None is taken.
    Final,
}

/// What an app may send on all of its streams together.
fn window(max_streams: u32) -> u32 {
    let largest = u32::try_from(LARGEST_WINDOW).unwrap_or(u32::MAX);
    max_streams.saturating_mul(STREAM_WINDOW).saturating_add(SPARE_WINDOW).min(largest)
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection of which nothing was read; it begins with what is to be known of this side.
    pub(super) fn begin(
        service: Rc<Service>,
        settings: Arc<Settings>,
        watch: Rc<Watch>,
        stream: AppStream,
        visitor: Visitor,
    ) -> Rc<Self> {
        let mut sender = Sender::new(stream);
        let list = u32::try_from(longest_list(&settings)).unwrap_or(u32::MAX);
        let said = [
            Setting::MaxConcurrentStreams(settings.max_streams),
            Setting::InitialWindowSize(STREAM_WINDOW),
            Setting::MaxHeaderListSize(list),
        ];
        frame::put_settings(&mut sender.output, &said);
        let usual = u32::try_from(USUAL_WINDOW).unwrap_or(0);
        let window = window(settings.max_streams);
        frame::put_window(&mut sender.output, 0, window - usual);
        let connection = Rc::new(Self {
            service,
            settings,
            visitor,
            watch,
            sender: RefCell::new(sender),
            window: Window::new(window),
            streams: RefCell::default(),
            ending: Cell::new(0),
            remembered: RefCell::default(),
            frustrated: Cell::new(0),
            highest: Cell::new(0),
            last: Cell::new(0),
            leaving: Cell::new(Leaving::No),
            has_ended: Cell::new(false),
        });
        connection.rest();
        connection
    }

    /// The highest stream that the app has opened.
    pub(super) fn highest(&self) -> u32 {
        self.highest.get()
    }

    /// The app opens a stream. False if it is not to be looked at, as the app was told.
    pub(super) fn opens(&self, stream: u32) -> bool {
        self.highest.set(stream);
        let is_welcome = self.leaving.get() != Leaving::Final;
        if is_welcome {
            self.last.set(stream);
        }
        is_welcome
    }

    /// Whether another stream may be open.
    pub(super) fn has_room(&self) -> bool {
        self.streams.borrow().len() < self.settings.max_streams as usize
    }

    /// An open stream.
    pub(super) fn find(&self, stream: u32) -> Option<Rc<Stream>> {
        let streams = self.streams.borrow();
        let at = streams.binary_search_by_key(&stream, |stream| stream.id).ok()?;
        Some(streams[at].clone())
    }

    /// All open streams.
    pub(super) fn streams(&self) -> std::cell::Ref<'_, Vec<Rc<Stream>>> {
        self.streams.borrow()
    }

    /// One more stream is open.
    pub(super) fn enter(&self, stream: Rc<Stream>) {
        self.streams.borrow_mut().push(stream);
        self.watch.enter(Phase::Busy, Duration::ZERO);
    }

    /// One stream less is open.
    fn exit(&self, stream: &Stream) {
        let mut streams = self.streams.borrow_mut();
        if let Ok(at) = streams.binary_search_by_key(&stream.id, |stream| stream.id) {
            streams.remove(at);
        }
        if streams.is_empty() {
            drop(streams);
            self.rest();
        }
    }

    /// Whether the app may not know yet that this stream has ended.
    pub(super) fn remembers(&self, stream: u32) -> bool {
        self.remembered.borrow().contains(&stream)
    }

    /// The app may still say something on a stream that has ended here.
    fn remember(&self, stream: u32) {
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() == REMEMBERED.max(self.settings.max_streams as usize) {
            remembered.pop_front();
        }
        remembered.push_back(stream);
    }

    /// Resets a stream, be it open or not.
    pub(super) fn reset(&self, stream: u32, reason: Reason) {
        self.remember(stream);
        self.sender.borrow_mut().put_reset(stream, reason);
    }

    /// Takes a stream off, whose task ends when it has its turn.
    pub(super) fn cut(&self, stream: &Stream) {
        self.exit(stream);
        self.ending.set(self.ending.get() + 1);
        stream.cut();
    }

    /// The app gave a stream up.
    pub(super) fn abandon(&self, stream: &Stream) -> Result<(), Reason> {
        self.cut(stream);
        if stream.is_answered() { Ok(()) } else { self.frustrate() }
    }

    /// A stream came to nothing.
    pub(super) fn frustrate(&self) -> Result<(), Reason> {
        self.frustrated.set(self.frustrated.get() + 1);
        let most = self.settings.max_streams.saturating_add(self.settings.calm.streams);
        if self.frustrated.get() > most { Err(self.calm_down(Limit::MaxFruitlessStreams)) } else { Ok(()) }
    }

    /// Counts a limit that bit.
    pub(super) fn limited(&self, limit: Limit) {
        self.settings.door.metrics.unrouted.limited(limit);
    }

    /// Counts a limit that bit, and that ends the connection for this reason.
    pub(super) fn calm_down(&self, limit: Limit) -> Reason {
        self.limited(limit);
        Reason::ENHANCE_YOUR_CALM
    }

    /// It is known what is answered on a stream.
    pub(super) fn answered(&self) {
        self.frustrated.set(self.frustrated.get().saturating_sub(1));
    }

    /// The task of a stream that was cut off has ended.
    pub(super) fn cut_ended(&self) {
        self.ending.set(self.ending.get() - 1);
    }

    /// A stream has ended: with its answer, or for a reason.
    pub(super) fn ended(&self, stream: &Stream, reason: Option<Reason>) {
        self.exit(stream);
        match reason {
            Some(reason) => self.reset(stream.id, reason),
            None if stream.is_over() => {}
            // Only the end is missing, in a frame of its own. A reset would have nothing to spare, and some
            // apps take one for the loss of an answer that they have.
            None if stream.has_all_that_was_announced() => self.remember(stream.id),
            // What is still to come of a request that was answered is not wanted (RFC 9113, section 8.1).
            None => self.reset(stream.id, Reason::NO_ERROR),
        }
        if self.is_done() {
            self.sender.borrow_mut().wake();
        }
    }

    /// Whether the streams that were cut off should end before others are opened.
    pub(super) fn has_too_many_ending(&self) -> bool {
        self.ending.get() > self.settings.max_streams as usize
    }

    /// Takes all streams off.
    pub(super) fn cut_all(&self) {
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        self.ending.set(self.ending.get() + streams.len());
        for stream in &streams {
            stream.cut();
        }
        self.sender.borrow_mut().wake_waiting();
    }

    /// So many bytes of a body were taken, or dropped.
    pub(super) fn took(&self, count: usize) {
        if let Some(more) = self.window.take(count) {
            self.sender.borrow_mut().put_window(0, more);
        }
    }

    /// Says goodbye. Streams that the app has opened before it hears that are taken.
    pub(super) fn leave(&self) {
        if self.leaving.get() == Leaving::No {
            self.leaving.set(Leaving::Announced);
            let sender = &mut *self.sender.borrow_mut();
            frame::put_go_away(&mut sender.output, LAST_STREAM, Reason::NO_ERROR);
            frame::put(&mut sender.output, Kind::Ping, Flags::NONE, 0, &FAREWELL);
            sender.wake();
        }
        if self.streams.borrow().is_empty() {
            self.rest();
        }
    }

    /// The app answered a PING.
    pub(super) fn heard(&self, payload: &[u8]) {
        if self.leaving.get() == Leaving::Announced && payload == FAREWELL {
            self.leaving.set(Leaving::Final);
            let sender = &mut *self.sender.borrow_mut();
            frame::put_go_away(&mut sender.output, self.last.get(), Reason::NO_ERROR);
            sender.wake();
        }
    }

    /// The app says goodbye: it opens no more streams.
    pub(super) fn app_leaves(&self) {
        self.leaving.set(Leaving::Final);
    }

    /// The app sends nothing more, and waits for what it has asked for.
    pub(super) fn app_ends(&self) {
        self.app_leaves();
        self.has_ended.set(true);
        // The head that was on its way does not come.
        self.watch.enter(Phase::Busy, Duration::ZERO);
        self.sender.borrow_mut().finish_windows();
        self.streams.borrow().iter().for_each(|stream| stream.wake());
    }

    /// Whether an app that sends nothing more may still be there; it is asked once more.
    pub(super) fn is_anybody_there(&self) -> bool {
        let sender = &mut *self.sender.borrow_mut();
        if sender.output.is_empty() {
            frame::put(&mut sender.output, Kind::Ping, Flags::NONE, 0, &ANYBODY);
        }
        !sender.stream.has_hung_up()
    }

    /// Whether the app sends nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// The connection ends, since the app broke a rule.
    pub(super) fn say_fault(&self, reason: Reason) {
        frame::put_go_away(&mut self.sender.borrow_mut().output, self.last.get(), reason);
    }

    /// Whether a farewell was said.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get() != Leaving::No
    }

    /// Whether nothing is to be done any more.
    pub(super) fn is_done(&self) -> bool {
        self.leaving.get() == Leaving::Final && self.streams.borrow().is_empty()
    }

    /// A head that came in pieces is whole.
    pub(super) fn has_head(&self) {
        if self.streams.borrow().is_empty() {
            self.rest();
        } else {
            self.watch.enter(Phase::Busy, Duration::ZERO);
        }
    }

    /// No stream is open.
    fn rest(&self) {
        if self.is_leaving() {
            self.watch.enter(Phase::Lingering, MOMENT);
        } else {
            self.watch.enter(Phase::Idle, self.settings.door.idle_timeout);
        }
    }
}

/// The most bytes of a list of fields that are looked at. A field counts more than it has (RFC 9113,
/// section 6.5.2); a head that is longer than may be, but not by more than as much again, is known in all
/// of its fields.
pub(super) fn longest_list(settings: &Settings) -> usize {
    let limits = &settings.head_limits;
    (2 * limits.bytes).saturating_add(limits.fields.saturating_mul(FIELD_OVERHEAD))
}
