//! Where problems are gathered while a configuration is read.

use crate::config::problem::{Location, Problem, Problems, Severity};
use crate::config::text::{Span, Text};
use crate::config::tree::Place;

/// The problems found so far in one file.
#[derive(Debug)]
pub(crate) struct Findings {
    text: Text,
    found: Vec<Problem>,
}

impl Findings {
    pub(crate) fn new(text: Text) -> Self {
        Self { text, found: Vec::new() }
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
        self.text.location(place.span())
    }

    fn note(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        let location = Some(self.text.location(span));
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
        found.sort_by_key(|problem| {
            problem.location.as_ref().map(|location| (location.line, location.column))
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
