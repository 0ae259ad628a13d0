//! Where problems are gathered while a configuration is read.

use crate::config::problem::{Location, Problem, Problems, Severity};
use crate::config::text::{Span, Text};
use crate::config::tree::Place;

/// The problems found so far in a file, and in those that it names.
#[derive(Debug)]
pub(crate) struct Findings {
    text: Text,
    /// The texts of other files, each with the place from which on spans mean it.
    further: Vec<(usize, Text)>,
    found: Vec<Problem>,
}

impl Findings {
    pub(crate) fn new(text: Text) -> Self {
        Self { text, further: Vec::new(), found: Vec::new() }
    }

    /// Adds the text of another file. What is returned is added to its spans, so that they are told from
    /// those of the others.
    pub(crate) fn add(&mut self, text: Text) -> usize {
        // One more than its length: a place behind the last character is a place in it.
        let end = |(base, text): (usize, &Text)| base + text.len() + 1;
        let last = self.further.last().map_or((0, &self.text), |(base, text)| (*base, text));
        let base = end(last);
        self.further.push((base, text));
        base
    }

    /// Notes a mistake.
    pub(crate) fn error(&mut self, place: Place<'_>, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Error, place.span(), message.into())
    }

    /// Notes something that is told at every start.
    pub(crate) fn warning(&mut self, place: Place<'_>, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Warning, place.span(), message.into())
    }

    /// Notes something that only `check` tells.
    pub(crate) fn hint(&mut self, place: Place<'_>, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Hint, place.span(), message.into())
    }

    /// Notes that a table lacks a key that it needs. Silent where the key was there and wrong: that
    /// has been told.
    pub(crate) fn missing(&mut self, table: Place<'_>, key: &str, why: &str) {
        if !table.is_spoiled(key) {
            self.error(table, format!("`{key}` is missing: {why}"));
        }
    }

    /// Notes a mistake at a place that is in no tree.
    pub(crate) fn error_at(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Error, span, message.into())
    }

    /// The place as a problem tells it.
    pub(crate) fn location(&self, place: Place<'_>) -> Location {
        self.locate(place.span())
    }

    fn locate(&self, span: Span) -> Location {
        match self.further.iter().rev().find(|(base, _)| span.start >= *base) {
            Some((base, text)) => text.location(span.start - base..span.end.max(span.start) - base),
            None => self.text.location(span),
        }
    }

    fn note(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        let location = Some(self.locate(span));
        self.found.push(Problem { severity, message, help: None, location });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Whether anything found so far refuses the configuration.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Everything in the order of the file, each only once; an error if any is one.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Problems> {
        let refused = self.has_errors();
        let mut found = self.found;
        found.sort_by_cached_key(|problem| {
            let place = |location: &Location| {
                (self.text.name() != location.file, location.file.clone(), location.line, location.column)
            };
            problem.location.as_ref().map(place)
        });
        found.dedup();
        if refused {
            // Advice is for a file that is right otherwise.
            found.retain(|problem| problem.severity != Severity::Hint);
            return Err(Problems(found));
        }
        Ok(found)
    }
}
