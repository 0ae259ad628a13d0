//! The text of a configuration file: positions in it, and its lines with every value hidden.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::config::problem::Location;

/// Bytes of the file, from and up to.
pub(crate) type Span = Range<usize>;

/// What stands in the place of a value.
const HIDDEN: &str = "\"…\"";

/// One file. It may hold secrets, so that it is wiped when it goes.
pub(crate) struct Text {
    name: String,
    content: Zeroizing<String>,
    /// Where its lines begin.
    lines: Vec<usize>,
    /// Where its values are, in order; `None` if it is not TOML, and anything could be a value.
    values: Option<Vec<Span>>,
}

impl Text {
    /// A text that could not be parsed: of its lines only what is surely a key is ever shown.
    pub(crate) fn broken(name: &str, content: Zeroizing<String>) -> Self {
        Self { name: name.to_owned(), lines: lines(&content), content, values: None }
    }

    /// A text whose values are known.
    pub(crate) fn parsed(name: &str, content: Zeroizing<String>, mut values: Vec<Span>) -> Self {
        values.sort_by_key(|span| span.start);
        Self { name: name.to_owned(), lines: lines(&content), content, values: Some(values) }
    }

    /// The file as it was named.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// A place as a problem tells it.
    pub(crate) fn location(&self, span: Span) -> Location {
        let mut start = span.start.min(self.content.len());
        while !self.content.is_char_boundary(start) {
            start -= 1;
        }
        let number = self.lines.partition_point(|begin| *begin <= start);
        let begin = self.lines[number - 1];
        let end = self.lines.get(number).map_or(self.content.len(), |next| next - 1);
        let line = begin..end;
        let (excerpt, mark) = match &self.values {
            Some(values) => self.hide_values(&line, values, &(start..span.end.min(end).max(start))),
            None => self.show_key_only(&line),
        };
        Location {
            file: self.name.clone(),
            line: number,
            column: self.content[begin..start].chars().count() + 1,
            excerpt,
            mark,
        }
    }

    /// The line with its values and comments hidden, and what of it `meant` is there.
    fn hide_values(&self, line: &Span, values: &[Span], meant: &Span) -> (String, (usize, usize)) {
        let first = values.partition_point(|value| value.end <= line.start);
        let last = values.partition_point(|value| value.start < line.end);
        let values = &values[first..last.max(first)];
        let mut shown = String::new();
        let mut mark: Option<(usize, usize)> = None;
        let mut at = line.start;
        while at < line.end {
            let value =
                values.iter().find(|value| value.contains(&at) || (value.start == at && value.is_empty()));
            let (piece, next) = if let Some(value) = value {
                (HIDDEN, value.end.clamp(at + 1, line.end))
            } else {
                let next = at + self.content[at..].chars().next().map_or(1, char::len_utf8);
                (&self.content[at..next], next)
            };
            if value.is_none() && piece == "#" {
                break;
            }
            if at < meant.end.max(meant.start + 1) && next > meant.start {
                let (before, length) = mark.unwrap_or((shown.chars().count(), 0));
                mark = Some((before, length + piece.chars().count()));
            }
            if piece != "\r" {
                shown.push_str(if piece == "\t" { " " } else { piece });
            }
            at = next;
        }
        let shown = shown.trim_end().to_owned();
        let end = shown.chars().count();
        (shown, mark.unwrap_or((end, 1)))
    }

    /// The line of a text that is not TOML: a table's header or the key before `=`, if it can be
    /// nothing else.
    fn show_key_only(&self, line: &Span) -> (String, (usize, usize)) {
        let line = self.content[line.clone()].trim();
        let is_word = |text: &str| {
            let known = |word: &str| crate::config::raw::is_key(word.trim());
            text.split('.').next().is_some_and(known) && text.split('.').all(is_bare)
        };
        let header = line.trim_start_matches('[').trim_end_matches(']');
        let shown = if line.starts_with('[') && is_word(header) {
            line.to_owned()
        } else {
            match line.split_once('=') {
                Some((key, _)) if is_word(key) => format!("{} = …", key.trim()),
                _ => "…".to_owned(),
            }
        };
        let length = shown.chars().count();
        (shown, (0, length))
    }
}

fn lines(content: &str) -> Vec<usize> {
    [0].into_iter().chain(memchr::memchr_iter(b'\n', content.as_bytes()).map(|newline| newline + 1)).collect()
}

fn is_bare(word: &str) -> bool {
    let word = word.trim();
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl std::fmt::Debug for Text {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Text").field("name", &self.name).finish_non_exhaustive()
    }
}
