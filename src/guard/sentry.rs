//! A body on its way to the app, behind the guard.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::body::{BodyError, Fill, Source};
use crate::guard::inflater::{Coding, Inflater};
use crate::guard::media::{Handling, begins_with_text};
use crate::guard::patterns::Patterns;
use crate::guard::screen::{MASK, Patience, Screen, Shown};
use crate::guard::token_answer::TokenAnswer;
use crate::guard::{Withheld, mask_fields};
use crate::http1::Fields;

/// What is done with the body of an answer.
#[derive(Debug, Clone)]
pub struct Orders {
    /// What is looked for.
    pub patterns: Arc<Patterns>,
    /// How the body is read.
    pub handling: Handling,
    /// How it is compressed.
    pub coding: Option<Coding>,
    /// A value is not masked: the body is broken off.
    pub blocks: bool,
    /// Answers of token endpoints pass.
    pub allows_token_answers: bool,
    /// The length of the body, if it is known.
    pub length: Option<u64>,
}

/// Stands between the source of a body and the app.
#[derive(Debug)]
pub struct Sentry {
    way: Way,
    patterns: Arc<Patterns>,
    /// What is still to come from the source, if it is known.
    left: Option<u64>,
    /// It is not known yet whether this is the answer of a token endpoint.
    tokens: Option<TokenAnswer>,
    /// The body passes unseen, if it does not begin with text.
    is_unproven: bool,
    blocks: bool,
    is_withheld: bool,
    /// Trailers in which something was masked.
    trailers: Option<Box<Fields>>,
    in_trailers: u64,
}

#[derive(Debug)]
enum Way {
    Plain(Screen),
    Coded(Box<Coded>),
    /// Of the body nothing is looked at; of its trailers all.
    Unseen,
}

/// A compressed body.
#[derive(Debug)]
struct Coded {
    inflater: Inflater,
    /// What may not be passed on yet; or what may, if `is_clear`.
    kept: Vec<u8>,
    is_clear: bool,
    /// What of the source's next bytes was looked at and may be passed on.
    looked: usize,
    is_over: bool,
}

/// What is to be done next.
enum Next {
    Show,
    End,
    Wait,
    Broken(BodyError),
}

/// Bytes of a compressed body that are looked at before some are passed on.
const STEP: usize = 16 * 1024;

/// Compressed bytes of which nothing comes.
const MOST_KEPT: usize = 256 * 1024;

impl Sentry {
    /// A sentry for a body of which nothing was read.
    pub fn new(orders: Orders) -> Self {
        let Orders { patterns, handling, coding, blocks, allows_token_answers, length } = orders;
        let patience = if handling == Handling::Lively { Patience::Lively } else { Patience::Whole };
        let screen = Screen::new(Arc::clone(&patterns), patience);
        let tokens = (!allows_token_answers).then(TokenAnswer::default);
        let (way, tokens) = match coding {
            None => (Way::Plain(screen), tokens),
            Some(coding) => {
                let inflater = Inflater::new(coding, &patterns, patience, tokens);
                let coded = Coded { inflater, kept: Vec::new(), is_clear: false, looked: 0, is_over: false };
                (Way::Coded(Box::new(coded)), None)
            }
        };
        let is_unproven = handling == Handling::Unseen && matches!(way, Way::Plain(_));
        let (trailers, is_withheld, in_trailers) = (None, false, 0);
        Self { way, patterns, left: length, tokens, is_unproven, blocks, is_withheld, trailers, in_trailers }
    }

    /// Nothing of the body is looked at, whatever it begins with.
    pub fn look_away(&mut self) {
        (self.way, self.tokens, self.is_unproven) = (Way::Unseen, None, false);
    }

    /// Whether nothing of the body is looked at.
    pub fn looks_away(&self) -> bool {
        matches!(self.way, Way::Unseen)
    }

    /// Looks for other values from here on.
    pub fn renew(&mut self, patterns: &Arc<Patterns>) {
        if let Way::Plain(screen) = &mut self.way {
            screen.renew(patterns);
        }
    }

    /// How many values were masked.
    pub fn masked(&self) -> u64 {
        match &self.way {
            Way::Plain(screen) if !self.blocks => screen.found() + self.in_trailers,
            _ => self.in_trailers,
        }
    }

    /// Whether the rest of the body stays here.
    pub fn is_withheld(&self) -> bool {
        self.is_withheld
    }

    /// Waits until it is known whether what comes next of `source` may be seen; [`Self::poll_fill`] shows it.
    pub fn poll_known<S: Source>(
        &mut self,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        if self.passing().is_some() {
            return Poll::Ready(Ok(()));
        }
        match self.next(source, context) {
            Next::Show | Next::End => Poll::Ready(Ok(())),
            Next::Wait => Poll::Pending,
            Next::Broken(error) => Poll::Ready(Err(error)),
        }
    }

    /// What comes next of `source`, as the app may see it.
    pub fn poll_fill<'a, S: Source>(
        &'a mut self,
        source: &'a mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<Fill<'a>, BodyError>> {
        if let Some(count) = self.passing() {
            return source.poll_fill(context).map_ok(|fill| fill.up_to(count));
        }
        match self.next(source, context) {
            Next::Wait => Poll::Pending,
            Next::Broken(error) => Poll::Ready(Err(error)),
            Next::End => self.end(source, context),
            Next::Show => {
                let fresh = match source.poll_fill(context) {
                    Poll::Ready(Ok(Fill::Data(data))) => data,
                    _ => b"",
                };
                Poll::Ready(Ok(Fill::Data(match &mut self.way {
                    Way::Coded(coded) if coded.kept.is_empty() => &fresh[..coded.looked],
                    Way::Coded(coded) => &coded.kept,
                    Way::Plain(screen) => match screen.show(fresh, false) {
                        Shown::Bytes(bytes) => bytes,
                        Shown::Wait => return Poll::Pending,
                    },
                    Way::Unseen => fresh,
                })))
            }
        }
    }

    /// Takes the first `count` bytes of what was shown.
    pub fn consume<S: Source>(&mut self, source: &mut S, count: usize) {
        let of_source = match &mut self.way {
            Way::Unseen => count,
            Way::Coded(coded) => coded.take(count),
            // All of it is the source's, and nothing of it is needed any more.
            Way::Plain(screen) if screen.forgets() => screen.take(count, b""),
            Way::Plain(screen) => {
                let mut context = Context::from_waker(std::task::Waker::noop());
                let fresh = match source.poll_fill(&mut context) {
                    Poll::Ready(Ok(Fill::Data(data))) => data,
                    _ => b"",
                };
                screen.take(count, fresh)
            }
        };
        if of_source > 0 {
            took(&mut self.left, of_source);
            source.consume(of_source);
        }
    }

    /// How many of the source's next bytes are known to be nothing but what may pass.
    fn passing(&self) -> Option<usize> {
        match &self.way {
            Way::Plain(screen) if !self.is_withheld => screen.passing(),
            _ => None,
        }
    }

    /// What is to be done next. What was withheld once stays here.
    fn next<S: Source>(&mut self, source: &mut S, context: &mut Context<'_>) -> Next {
        if self.is_unproven {
            match source.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) if !begins_with_text(data) => self.look_away(),
                Poll::Ready(_) => self.is_unproven = false,
                Poll::Pending => return Next::Wait,
            }
        }
        let next = match &mut self.way {
            _ if self.is_withheld => Err(Withheld),
            Way::Plain(_) => self.next_plain(source, context),
            Way::Coded(coded) => coded.next(&mut self.left, source, context),
            Way::Unseen => Ok(match source.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(_))) => Next::Show,
                Poll::Ready(Ok(Fill::End(_))) => Next::End,
                Poll::Ready(Err(error)) => Next::Broken(error),
                Poll::Pending => Next::Wait,
            }),
        };
        next.unwrap_or_else(|Withheld| {
            self.is_withheld = true;
            Next::Broken(BodyError::Withheld)
        })
    }

    fn next_plain<S: Source>(&mut self, source: &mut S, context: &mut Context<'_>) -> Result<Next, Withheld> {
        let Way::Plain(screen) = &mut self.way else { return Ok(Next::Wait) };
        loop {
            let (fresh, is_last, otherwise) = match source.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) => (data, self.left == Some(data.len() as u64), Next::Wait),
                Poll::Ready(Ok(Fill::End(_))) => (&b""[..], true, Next::End),
                Poll::Ready(Err(error)) => (&b""[..], false, Next::Broken(error)),
                Poll::Pending => (&b""[..], false, Next::Wait),
            };
            if let Some(tokens) = &mut self.tokens {
                let known = match otherwise {
                    _ if is_last || !fresh.is_empty() => tokens.look(screen.kept(), fresh, is_last),
                    // Of an answer whose length is known the rest comes.
                    Next::Wait if self.left.is_none() => tokens.pause(screen.kept()),
                    _ => None,
                };
                match known {
                    Some(true) => return Err(Withheld),
                    Some(false) => self.tokens = None,
                    None => {}
                }
            }
            let is_known = self.tokens.is_none();
            if is_known {
                // All that is there, so that nothing before the value goes out first.
                if self.blocks && screen.sees_value(fresh, is_last) {
                    return Err(Withheld);
                }
                let shown = screen.show(fresh, is_last);
                let is_shown = matches!(shown, Shown::Bytes(bytes) if !bytes.is_empty());
                if is_shown {
                    return Ok(Next::Show);
                }
            }
            if fresh.is_empty() {
                return Ok(otherwise);
            }
            let count = fresh.len();
            screen.hold(fresh);
            took(&mut self.left, count);
            source.consume(count);
        }
    }

    /// The end, with what may be seen of the trailers.
    fn end<'a, S: Source>(
        &'a mut self,
        source: &'a mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<Fill<'a>, BodyError>> {
        let Poll::Ready(Ok(Fill::End(trailers))) = source.poll_fill(context) else { return Poll::Pending };
        let Some(trailers) = trailers else { return Poll::Ready(Ok(Fill::End(None))) };
        if self.trailers.is_none() && self.patterns.are_in(trailers.text()) {
            if self.blocks {
                self.is_withheld = true;
                return Poll::Ready(Err(BodyError::Withheld));
            }
            let mut masked = Box::new(trailers.clone());
            self.in_trailers = mask_fields(&self.patterns, &mut masked);
            self.trailers = Some(masked);
        }
        Poll::Ready(Ok(Fill::End(Some(self.trailers.as_deref().unwrap_or(trailers)))))
    }
}

impl Coded {
    fn next<S: Source>(
        &mut self,
        left: &mut Option<u64>,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Result<Next, Withheld> {
        loop {
            if self.is_clear && (self.looked > 0 || !self.kept.is_empty()) {
                return Ok(Next::Show);
            }
            let (count, is_last) = match source.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) => {
                    let piece = &data[..data.len().min(STEP)];
                    let is_last = *left == Some(piece.len() as u64);
                    self.is_clear = self.inflater.look(piece, is_last)?;
                    if !self.is_clear {
                        self.kept.extend_from_slice(piece);
                    }
                    (piece.len(), is_last)
                }
                Poll::Ready(Ok(Fill::End(_))) if self.is_over => return Ok(Next::End),
                Poll::Ready(Ok(Fill::End(_))) => {
                    self.is_clear = self.inflater.look(b"", true)?;
                    (0, true)
                }
                Poll::Ready(Err(error)) => return Ok(Next::Broken(error)),
                Poll::Pending => return Ok(Next::Wait),
            };
            self.is_over |= is_last;
            if self.is_clear {
                self.looked = count;
            } else if self.kept.len() > MOST_KEPT {
                return Err(Withheld);
            } else if count > 0 {
                took(left, count);
                source.consume(count);
            }
        }
    }

    /// Takes what was shown, and says how much of it was the source's.
    fn take(&mut self, count: usize) -> usize {
        if self.kept.is_empty() {
            self.looked -= count;
            count
        } else {
            self.kept.drain(..count);
            0
        }
    }
}

fn took(left: &mut Option<u64>, count: usize) {
    if let Some(left) = left {
        *left = left.saturating_sub(count as u64);
    }
}

/// A byte that stands for a part of a value is a letter of a token (RFC 9110, section 5.6.2): a field stays one.
const _: () = assert!(MASK == b'*');
