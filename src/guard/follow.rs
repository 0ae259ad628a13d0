//! Reading one form from one place of a text on, as far as the text goes.

use std::collections::BTreeSet;

use crate::guard::escape::{Readings, is_lead};
use crate::guard::form::Form;
use crate::guard::patterns::LONGEST_WINDOW;
use crate::guard::text::Text;

/// How many places are gone on from in a text that can be read in several ways, as only one with a `%`, `\`
/// or `&` of a value in it can.
const MOST_WAYS: usize = 4096;

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// A value, up to this place.
    Whole(usize),
    /// The beginning of a value, up to the end of the text.
    Begun,
    /// None.
    None,
}

/// How far a form was read: what follows is gone on with, not begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// Where in the text it begins.
    start: usize,
    /// How many bytes of the form were read.
    place: usize,
    /// Up to where in the text.
    at: usize,
}

impl Match {
    /// Of two at one place the one that is not decided yet counts, and then the longer.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Begun, _) | (_, Self::Begun) => Self::Begun,
            (Self::Whole(one), Self::Whole(another)) => Self::Whole(one.max(another)),
            (Self::None, found) | (found, Self::None) => found,
        }
    }
}

impl Way {
    /// Nothing was read from this place on.
    pub(super) fn begin(start: usize) -> Self {
        Self { start, place: 0, at: start }
    }
}

/// Reads a form on. Where a value has `%` or `\` in it, a text may be read in several ways; all are tried, so that
/// nothing of an escape is left over by one that ends before another. `open_end` is told each one that comes to
/// the end of the text and may go on behind it.
pub(super) fn follow(form: &Form, text: Text<'_>, from: Way, open_end: &mut impl FnMut(Way)) -> Match {
    let start = from.start;
    let mut cut = |found: Match, place: usize, at: usize| {
        if text.is_last {
            return found;
        }
        open_end(Way { start, place, at });
        Match::Begun
    };
    let mut found = Match::None;
    // Base64 goes over into the next line (RFC 2045, section 6.8). Not before it is known for what it is, and
    // not without end: lines that are empty are no reason to wait.
    let breaks_line = |byte: u8, place: usize, at: usize| {
        let may_be = place >= LONGEST_WINDOW && at - start < 4 * form.length;
        may_be && matches!(byte, b'\r' | b'\n') && form.is_base64()
    };
    // Places of the form, each with one of the text. Both stay empty, and take no memory, but for a `%`, `\`
    // or `&` of a value itself; each pair is gone on from once only.
    let (mut open, mut seen) = (Vec::new(), BTreeSet::new());
    let mut way = Some((from.place, from.at));
    while let Some((place, at)) = way.take().or_else(|| open.pop()) {
        if place == form.length {
            found = found.or(Match::Whole(at));
            continue;
        }
        let Some(byte) = text.get(at) else {
            found = cut(found, place, at);
            continue;
        };
        let wanted = form.at(place);
        if !is_lead(byte) {
            let taken = usize::from(!breaks_line(byte, place, at));
            way = (taken == 0 || byte == wanted).then_some((place + taken, at + 1));
            continue;
        }
        let mut next = (byte == wanted).then_some((place + 1, at + 1));
        for reading in Readings::new(text, at) {
            let Ok(escape) = reading else {
                // It ends in the middle of an escape, which may be the one.
                found = cut(found, place, at);
                break;
            };
            let count = if breaks_line(escape.first(), place, at) { 0 } else { escape.count };
            let fits = place + count <= form.length
                && escape
                    .bytes()
                    .take(count)
                    .enumerate()
                    .all(|(offset, byte)| form.at(place + offset) == byte);
            if !fits {
                continue;
            }
            if let Some(shorter) = next.replace((place + count, at + escape.length))
                && seen.insert(shorter)
            {
                open.push(shorter);
            }
        }
        way = next.filter(|next| seen.is_empty() || seen.insert(*next));
        if seen.len() > MOST_WAYS {
            // As it is it is found at least.
            let plain = (0..form.length).take_while(|place| text.get(start + place) == Some(form.at(*place)));
            let count = plain.count();
            let end = start + count;
            return if count == form.length {
                found.or(Match::Whole(end))
            } else if text.get(end).is_none() {
                cut(found, 0, start)
            } else {
                found
            };
        }
    }
    found
}
