//! What the demo prints: plain paragraphs, and colour only where a person looks.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Standard output, written as the demo goes on.
pub(super) struct Page {
    coloured: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Bold,
    Dim,
    Good,
    Bad,
    Secret,
}

impl Page {
    /// A page in colour if standard output is a terminal and `NO_COLOR` is not set
    /// (<https://no-color.org>).
    pub(super) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: std::io::stdout().is_terminal() && !unwanted }
    }

    /// The title and what this is.
    pub(super) fn title(&self, title: &str, text: &str) {
        write(format_args!("{}\n\n{text}\n", self.look(Look::Bold, title)));
    }

    /// The head of an act.
    pub(super) fn act(&self, number: u8, text: &str) {
        write(format_args!("\n{}\n", self.look(Look::Bold, &format!("{number}. {text}"))));
    }

    /// The first line of a group: whose it is, what the line is about, and its text.
    pub(super) fn first(&self, whose: impl Display, about: &str, text: impl Display) {
        let whose = self.look(Look::Bold, &format!("{whose:<11}"));
        write(format_args!("\n   {whose} {} {text}\n", self.look(Look::Dim, &format!("{about:<17}"))));
    }

    /// A further line of a group.
    pub(super) fn next(&self, about: &str, text: impl Display) {
        let about = self.look(Look::Dim, &format!("{about:<17}"));
        write(format_args!("   {:<11} {about} {text}\n", ""));
    }

    /// A line of the summary: a statement, and whether it was true.
    pub(super) fn finding(&self, statement: &str, holds: bool) {
        let mark = if holds { self.look(Look::Good, "✓") } else { self.look(Look::Bad, "✗ not true:") };
        write(format_args!("   {mark} {statement}\n"));
    }

    /// The head of the summary.
    pub(super) fn summary(&self, title: &str) {
        write(format_args!("\n{}\n\n", self.look(Look::Bold, title)));
    }

    /// A last word.
    pub(super) fn end(&self, text: &str) {
        write(format_args!("\n{}\n", self.look(Look::Dim, text)));
    }

    /// Text as it looks on this page.
    pub(super) fn look(&self, look: Look, text: &str) -> String {
        if !self.coloured {
            return text.into();
        }
        let code = match look {
            Look::Bold => 1,
            Look::Dim => 2,
            Look::Good => 32,
            Look::Bad => 31,
            Look::Secret => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A secret value: its last four characters, and how long it is.
    pub(super) fn masked(&self, value: &str) -> String {
        self.look(Look::Secret, &mask(value))
    }
}

fn write(text: impl Display) {
    let mut output = std::io::stdout().lock();
    // A reader that went away has seen enough; the demo's verdict is its exit code.
    let _ = write!(output, "{text}");
    let _ = output.flush();
}

fn mask(value: &str) -> String {
    let (scheme, value) = match value.split_once(' ') {
        Some((scheme, value)) => (format!("{scheme} "), value),
        None => (String::new(), value),
    };
    let tail = value.char_indices().rev().nth(3).map_or("", |(start, _)| &value[start..]);
    format!("{scheme}••••{tail} ({} bytes)", value.len())
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_mask_shows_the_scheme_the_last_four_characters_and_the_length() {
        assert_eq!(mask("Bearer 0123456789"), "Bearer ••••6789 (10 bytes)");
        assert_eq!(mask("0123456789"), "••••6789 (10 bytes)");
        assert_eq!(mask("abc"), "•••• (3 bytes)");
    }
}
