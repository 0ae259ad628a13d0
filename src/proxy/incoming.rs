//! The body of an answer as it comes from the upstream.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::body::{BodyError, Fill, Source};
use crate::buffer::{Held, Input};
use crate::proxy::verified::AnswerCheck;
use crate::upstream::link::Link;

/// What comes from the upstream, with what was looked into before.
pub(super) struct Incoming {
    /// None once it has gone elsewhere.
    pub(super) link: Option<Link>,
    /// The answer's beginning, if it was looked into; it goes to the app before the rest.
    pub(super) peeked: Input,
    /// What it has to fit, if anything.
    pub(super) check: Option<Box<AnswerCheck>>,
}

impl Incoming {
    fn took(&mut self, count: usize) {
        if let Some(check) = &mut self.check {
            check.took(count);
        }
    }
}

impl Source for Incoming {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        let fill = match &mut self.link {
            _ if !self.peeked.is_empty() => Poll::Ready(Ok(Fill::Data(self.peeked.bytes()))),
            Some(link) => link.poll_fill(context),
            None => Poll::Ready(Err(BodyError::BrokenOff)),
        };
        match &mut self.check {
            None => fill,
            Some(check) => fill.map(|fill| fill.and_then(|fill| check.pass(fill))),
        }
    }

    fn consume(&mut self, count: usize) {
        self.took(count);
        if !self.peeked.is_empty() {
            self.peeked.consume(count);
        } else if let Some(link) = &mut self.link {
            link.consume(count);
        }
    }

    fn keep(&mut self, count: usize) -> Held {
        self.took(count);
        match &mut self.link {
            Some(link) if self.peeked.is_empty() => link.keep(count),
            _ => self.peeked.detach(count),
        }
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.took(count);
        match &mut self.link {
            Some(link) if self.peeked.is_empty() => link.take(count),
            _ => Bytes::copy_from_slice(self.peeked.detach(count).bytes()),
        }
    }

    fn is_spent(&self) -> bool {
        let is_spent = self.link.as_ref().is_some_and(Link::is_spent);
        is_spent && self.peeked.is_empty() && self.check.is_none()
    }
}
