//! What the frames of an app mean (RFC 9113, sections 5 and 6).

use std::rc::Rc;

use h2::Reason;

use crate::http2::Fault;
use crate::http2::frame::{self, Flags, Header, Kind, Setting};
use crate::http2::head::{RequestReader, is_trailer};
use crate::http2::hpack::Decoder;
use crate::proxy::watch::Phase;
use crate::route::metrics::Limit;
use crate::server::connection::take_heads;
use crate::server::http2::calm::Calm;
use crate::server::http2::connection::{Connection, longest_list};
use crate::server::http2::stream::Stream;

/// Reads the frames of a connection, in their order.
pub(super) struct Reader {
    connection: Rc<Connection>,
    decoder: Decoder,
    /// The block of fields that is not whole yet.
    block: Vec<u8>,
    /// Whose block that is; until it is whole, nothing else may come.
    unfinished: Option<Block>,
    has_settings: bool,
    calm: Calm,
}

/// Whose fields a block has.
#[derive(Debug, Clone, Copy)]
struct Block {
    stream: u32,
    is_last: bool,
}

const PROTOCOL_ERROR: Fault = Fault::Connection(Reason::PROTOCOL_ERROR);
const FRAME_SIZE_ERROR: Fault = Fault::Connection(Reason::FRAME_SIZE_ERROR);
const FLOW_CONTROL_ERROR: Fault = Fault::Connection(Reason::FLOW_CONTROL_ERROR);

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Connection(reason)
    }
}

impl Reader {
    /// A reader of a connection of which no frame was read.
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        let calm = Calm::new(connection.settings.calm, connection.watch.sweeper().now());
        Self {
            connection,
            decoder: Decoder::default(),
            block: Vec::new(),
            unfinished: None,
            has_settings: false,
            calm,
        }
    }

    /// Does what a frame says. An error ends the connection.
    pub(super) fn read(&mut self, header: Header, payload: &[u8]) -> Result<(), Reason> {
        match self.take(header, payload) {
            Ok(()) => Ok(()),
            Err(Fault::Connection(reason)) => Err(reason),
            Err(Fault::Stream(reason)) => {
                self.connection.reset(header.stream, reason);
                if let Some(stream) = self.connection.find(header.stream) {
                    self.connection.cut(&stream);
                }
                self.connection.frustrate()
            }
        }
    }

    fn take(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let is_expected = match &self.unfinished {
            Some(block) => header.kind == Kind::Continuation && header.stream == block.stream,
            None => header.kind != Kind::Continuation && (self.has_settings || header.kind == Kind::Settings),
        };
        if !is_expected {
            return Err(PROTOCOL_ERROR);
        }
        let is_of_stream = header.stream != 0;
        match header.kind {
            Kind::Data if is_of_stream => self.data(header, payload),
            Kind::Headers if is_of_stream => self.headers(header, payload),
            Kind::Continuation => self.continuation(header, payload),
            Kind::Reset if is_of_stream => self.reset(header.stream, payload),
            Kind::Window => self.window(header.stream, payload),
            Kind::Settings if !is_of_stream => self.settings(header.flags, payload),
            Kind::Ping if !is_of_stream => self.ping(header.flags, payload),
            Kind::GoAway if !is_of_stream => {
                self.connection.app_leaves();
                Ok(())
            }
            Kind::Priority if is_of_stream && payload.len() != 5 => Err(FRAME_SIZE_ERROR),
            Kind::Priority if is_of_stream => self.fruitless(),
            Kind::Unknown => self.fruitless(),
            _ => Err(PROTOCOL_ERROR),
        }
    }

    /// A frame brought nothing; some may.
    fn fruitless(&mut self) -> Result<(), Fault> {
        if self.connection.sender.borrow_mut().take_answered() {
            self.calm.answered();
        }
        let counted = self.calm.fruitless(self.connection.watch.sweeper().now());
        counted.map_err(|limit| Fault::Connection(self.connection.calm_down(limit)))
    }

    /// A stream that was never opened has no other frame than a head (section 5.1).
    fn check_opened(&self, stream: u32) -> Result<(), Fault> {
        if stream > self.connection.highest() || stream.is_multiple_of(2) {
            Err(PROTOCOL_ERROR)
        } else {
            Ok(())
        }
    }

    fn data(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        self.check_opened(header.stream)?;
        if !self.connection.window.receive(payload.len()) {
            return Err(FLOW_CONTROL_ERROR);
        }
        let content = frame::content(header, payload)?;
        let is_last = header.flags.has(Flags::END_STREAM);
        let stream = self.connection.find(header.stream).filter(|stream| !stream.is_over());
        let Some(stream) = stream else {
            self.connection.took(payload.len());
            let is_late = self.connection.remembers(header.stream);
            // What was on its way when the answer came is as much as the windows let be.
            self.fruitless_if(!is_late || content.len() < 64)?;
            return if is_late { Ok(()) } else { Err(Fault::Stream(Reason::STREAM_CLOSED)) };
        };
        if content.is_empty() && !is_last {
            self.fruitless()?;
        } else {
            self.calm.fruitful();
        }
        let received = stream.receive(payload.len(), content, is_last);
        if received.is_err() {
            self.connection.took(payload.len());
        }
        received.map_err(Fault::Stream)
    }

    fn headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        let content = frame::content(header, payload)?;
        let block = Block { stream: header.stream, is_last: header.flags.has(Flags::END_STREAM) };
        self.calm.fruitful();
        if header.flags.has(Flags::END_HEADERS) {
            return self.fields(block, content);
        }
        self.block.extend_from_slice(content);
        self.unfinished = Some(block);
        self.connection.watch.enter(Phase::Head, self.connection.settings.door.head_timeout);
        Ok(())
    }

    fn continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Fault> {
        self.calm.continued().map_err(|limit| Fault::Connection(self.connection.calm_down(limit)))?;
        if self.block.len() + payload.len() > longest_list(&self.connection.settings) {
            // What is not read cannot be followed: the connection has to end.
            return Err(Fault::Connection(self.connection.calm_down(Limit::MaxHead)));
        }
        self.block.extend_from_slice(payload);
        if !header.flags.has(Flags::END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.unfinished.take() else { return Err(PROTOCOL_ERROR) };
        let content = std::mem::take(&mut self.block);
        self.connection.has_head();
        self.fields(block, &content)
    }

    /// A whole block. Whatever becomes of it, it is read, since later ones build upon it.
    fn fields(&mut self, block: Block, content: &[u8]) -> Result<(), Fault> {
        if block.stream.is_multiple_of(2) {
            return Err(PROTOCOL_ERROR);
        }
        if block.stream > self.connection.highest() {
            return self.begin(block, content);
        }
        let mut is_malformed = !block.is_last;
        self.decode(content, |name, value| is_malformed |= !is_trailer(name, value))?;
        match self.connection.find(block.stream) {
            Some(stream) if stream.is_over() => Err(Fault::Stream(Reason::STREAM_CLOSED)),
            Some(_) if is_malformed => Err(Fault::Stream(Reason::PROTOCOL_ERROR)),
            // The trailers of a request are dropped: nobody looked at their fields.
            Some(stream) => stream.receive(0, b"", true).map_err(Fault::Stream),
            None if self.connection.remembers(block.stream) => self.fruitless(),
            None => Err(Fault::Connection(Reason::STREAM_CLOSED)),
        }
    }

    /// The app opens a stream.
    fn begin(&mut self, block: Block, content: &[u8]) -> Result<(), Fault> {
        let connection = self.connection.clone();
        if !connection.opens(block.stream) {
            return self.decode(content, |_, _| {});
        }
        if !connection.has_room() {
            self.decode(content, |_, _| {})?;
            connection.limited(Limit::MaxStreams);
            connection.reset(block.stream, Reason::REFUSED_STREAM);
            return self.fruitless();
        }
        let limits = connection.settings.head_limits;
        let mut heads = take_heads();
        let mut reader = RequestReader::new(&mut heads.request, longest_list(&connection.settings));
        self.decode(content, |name, value| reader.take(name, value))?;
        let read = reader
            .finish(block.is_last, limits)
            .map_err(|_malformed| Fault::Stream(Reason::PROTOCOL_ERROR))?;
        Stream::begin(&connection, block.stream, block.is_last, heads, read);
        Ok(())
    }

    fn decode(&mut self, block: &[u8], take: impl FnMut(&[u8], &[u8])) -> Result<(), Fault> {
        self.decoder.decode(block, take).map_err(|_malformed| Fault::Connection(Reason::COMPRESSION_ERROR))
    }

    fn reset(&mut self, stream: u32, payload: &[u8]) -> Result<(), Fault> {
        frame::only_number(payload)?;
        self.check_opened(stream)?;
        match self.connection.find(stream) {
            Some(stream) => Ok(self.connection.abandon(&stream)?),
            None => self.fruitless(),
        }
    }

    fn window(&mut self, stream: u32, payload: &[u8]) -> Result<(), Fault> {
        let more = frame::only_number(payload)? & frame::LAST_STREAM;
        if stream == 0 {
            // Such a frame is cheap, and a fast reader sends many.
            self.fruitless_if(more < 64)?;
            return if more == 0 {
                Err(PROTOCOL_ERROR)
            } else {
                self.connection.sender.borrow_mut().widen(more)
            };
        }
        self.check_opened(stream)?;
        let Some(stream) = self.connection.find(stream) else { return self.fruitless() };
        if more == 0 {
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        }
        self.fruitless_if(more < 64)?;
        if !stream.widen(i64::from(more)) {
            return Err(Fault::Stream(Reason::FLOW_CONTROL_ERROR));
        }
        Ok(())
    }

    fn fruitless_if(&mut self, is_fruitless: bool) -> Result<(), Fault> {
        if is_fruitless { self.fruitless() } else { Ok(()) }
    }

    fn settings(&mut self, flags: Flags, payload: &[u8]) -> Result<(), Fault> {
        self.has_settings = true;
        if flags.has(Flags::ACK) {
            return if payload.is_empty() { self.fruitless() } else { Err(FRAME_SIZE_ERROR) };
        }
        self.fruitless()?;
        let sender = &mut *self.connection.sender.borrow_mut();
        for setting in frame::settings(payload)? {
            match setting {
                Setting::InitialWindowSize(size) => {
                    sender.set_initial_window(size, &self.connection.streams())?;
                }
                Setting::HeaderTableSize(size) => sender.set_table(size),
                Setting::MaxConcurrentStreams(_) | Setting::MaxHeaderListSize(_) => {}
            }
        }
        sender.acknowledge(Kind::Settings, b"");
        Ok(())
    }

    fn ping(&mut self, flags: Flags, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 8 {
            return Err(FRAME_SIZE_ERROR);
        }
        self.fruitless()?;
        if flags.has(Flags::ACK) {
            self.connection.heard(payload);
        } else {
            self.connection.sender.borrow_mut().acknowledge(Kind::Ping, payload);
        }
        Ok(())
    }
}
