//! All forms of all values, and an index that tells quickly where none of them begins.
//!
//! What is compared first of every form is its *window*: its first bytes, as many of each. Of the windows
//! all runs of four bytes ([`GRAM`]) are indexed, at each place of a window. A text in which a window
//! stands unescaped holds one of them at every place that is a window's length less three from the last
//! one looked at, so that most of a text is never looked at: the longer the shortest value, the less. What
//! is indexed says only where to look closer.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use crate::guard::escape::{Escape, Miss, Readings, is_lead, plain, settled};
use crate::guard::form::Form;
use crate::guard::text::Text;
use crate::secret::Secret;

/// Shorter values are not looked for: too much that is none of them would be masked.
pub const SHORTEST: usize = 8;

/// The longest window.
const LONGEST_WINDOW: usize = 32;

/// Bytes of an entry of the index.
const GRAM: usize = 4;

/// Bits of the index for each entry: one in so many places is looked at for nothing.
const SPARSITY: usize = 64;

/// How many places are gone on from in a text that can be read in several ways, as only one with a `%` or `\`
/// of a value in it can.
const MOST_WAYS: usize = 4096;

/// The values that an answer is scanned for, in all their forms.
pub struct Patterns {
    forms: Box<[Form]>,
    /// Bytes of each window.
    window: usize,
    /// A bit for each entry, by its hash.
    index: Box<[u64]>,
    /// The entries themselves, in their order.
    grams: Zeroizing<Vec<u32>>,
    /// By byte: whether a form begins with it.
    begins: [bool; 256],
    /// By byte: whether it stands in a window.
    in_windows: [bool; 256],
    /// By byte: a bit for each of the first three places of a window at which it stands.
    early: [u8; 256],
    /// Whether a value has bytes that begin escapes.
    has_leads: bool,
}

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

impl Match {
    /// Of two at one place the one that is not decided yet counts, and then the longer.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Begun, _) | (_, Self::Begun) => Self::Begun,
            (Self::Whole(one), Self::Whole(another)) => Self::Whole(one.max(another)),
            (Self::None, found) | (found, Self::None) => found,
        }
    }
}

impl Patterns {
    /// The patterns of these values, but for those that are too short.
    pub fn new(values: &[Secret]) -> Self {
        let mut distinct: Vec<&Secret> = Vec::new();
        for value in values.iter().filter(|value| value.len() >= SHORTEST) {
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        let forms: Box<[Form]> = distinct.iter().flat_map(|value| Form::all_of(value)).collect();
        let window = forms.iter().map(|form| form.length).fold(LONGEST_WINDOW, usize::min);
        let mut grams = Zeroizing::new(Vec::with_capacity(forms.len() * (window - GRAM + 1)));
        let (mut begins, mut in_windows, mut early) = ([false; 256], [false; 256], [0; 256]);
        let mut has_leads = false;
        for form in &forms {
            begins[usize::from(form.first)] = true;
            let bytes = Zeroizing::new((0..form.length).map(|at| form.at(at)).collect::<Vec<u8>>());
            has_leads |= bytes.iter().any(|byte| is_lead(*byte));
            bytes[..window].iter().for_each(|byte| in_windows[usize::from(*byte)] = true);
            for (place, byte) in bytes[..GRAM - 1].iter().enumerate() {
                early[usize::from(*byte)] |= 1 << place;
            }
            grams.extend(bytes[..window].windows(GRAM).filter_map(gram));
        }
        grams.sort_unstable();
        grams.dedup();
        let bits = (grams.len() * SPARSITY).next_power_of_two().clamp(64, 1 << 16);
        let mut index = vec![0_u64; bits / 64].into_boxed_slice();
        for gram in grams.iter() {
            let (word, bit) = place(*gram, index.len());
            index[word] |= bit;
        }
        Self { forms, window, index, grams, begins, in_windows, early, has_leads }
    }

    /// Whether a whole text has a value in it.
    pub(super) fn are_in(&self, text: &[u8]) -> bool {
        self.first(Text { held: b"", fresh: text, is_last: true }, 0, 1).is_some()
    }

    /// The first place from `from` on at which a value stands, or begins and may go on behind the end of
    /// the text. Places from `from` on in what was held back are all looked at.
    pub(super) fn first(&self, text: Text<'_>, from: usize, least: usize) -> Option<(usize, Match)> {
        let judge = |at: usize| match self.at(text, at) {
            Match::Begun if text.len() - at < least => None,
            Match::None => None,
            found => Some((at, found)),
        };
        let in_held = (from..text.held.len()).find_map(judge);
        if in_held.is_some() {
            return in_held;
        }
        let fresh = from.saturating_sub(text.held.len());
        let plain = self.first_plain(text, fresh, &judge);
        let until = plain.map_or(text.len(), |(at, _)| at);
        self.first_escaped(text, fresh, until, &judge).or(plain)
    }

    /// The first place, in what is fresh, at which a window stands unescaped, or may at the end.
    fn first_plain(
        &self,
        text: Text<'_>,
        from: usize,
        judge: &impl Fn(usize) -> Option<(usize, Match)>,
    ) -> Option<(usize, Match)> {
        let (bytes, base) = (text.fresh, text.held.len());
        let mut at = from + self.window - GRAM;
        let mut seen = from;
        while let Some(next) = self.next_gram(bytes, at) {
            let begins = seen.max(next - (self.window - GRAM))..=next;
            if let Some(found) = begins.map(|at| base + at).find_map(judge) {
                return Some(found);
            }
            seen = next + 1;
            at = next + self.window - GRAM + 1;
        }
        if text.is_last {
            // What is left is too short for a window, however it is read.
            return None;
        }
        (seen.max((bytes.len() + 1).saturating_sub(self.window))..bytes.len())
            .map(|at| base + at)
            .find_map(judge)
    }

    /// The next place, of those to be looked at, where an indexed run of bytes stands.
    fn next_gram(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        let skip = self.window - GRAM + 1;
        loop {
            let entry = gram(bytes.get(at..at + GRAM)?)?;
            let (word, bit) = place(entry, self.index.len());
            if self.index[word] & bit != 0 && self.grams.binary_search(&entry).is_ok() {
                return Some(at);
            }
            at += skip;
        }
    }

    fn has(&self, entry: u32) -> bool {
        let (word, bit) = place(entry, self.index.len());
        self.index[word] & bit != 0 && self.grams.binary_search(&entry).is_ok()
    }

    /// The first place before `until` at which a window stands whose first escape is in what is fresh.
    fn first_escaped(
        &self,
        text: Text<'_>,
        from: usize,
        until: usize,
        judge: &impl Fn(usize) -> Option<(usize, Match)>,
    ) -> Option<(usize, Match)> {
        let (bytes, base) = (text.fresh, text.held.len());
        let mut at = from;
        let mut first: Option<(usize, Match)> = None;
        // A window begins up to its own length before its first escape.
        while at < bytes.len() && base + at < first.map_or(until, |(at, _)| at) + self.window {
            if !is_lead(bytes[at]) {
                let Some(offset) = memchr::memchr2(b'%', b'\\', &bytes[at..]) else { break };
                at += offset;
            }
            if self.is_suspicious(text, from, at) {
                let before = first.map_or(until, |(at, _)| at);
                let begins = (base + from).max((base + at + 1).saturating_sub(self.window))
                    ..(base + at + 1).min(before);
                first = begins.clone().find_map(judge).or(first);
            }
            at += 1;
        }
        first
    }

    /// Whether a window may have its first escape at a place of what is fresh.
    fn is_suspicious(&self, text: Text<'_>, from: usize, at: usize) -> bool {
        let (bytes, base) = (text.fresh, text.held.len());
        if self.has_leads {
            return true;
        }
        let escape = match plain(&bytes[at..]).map_or_else(|| settled(text, base + at), Ok) {
            Ok(escape) => escape,
            Err(Miss::Cut) => return true,
            Err(Miss::Other) => return false,
        };
        let first = escape.bytes()[0];
        if !self.in_windows[usize::from(first)] {
            return false;
        }
        // Three bytes of the window stand before it.
        if at >= from + GRAM - 1 {
            let before = &bytes[at + 1 - GRAM..at];
            if self.has(u32::from_le_bytes([before[0], before[1], before[2], first])) {
                return true;
            }
        }
        // Or it is one of the first three, and others follow.
        let mut places = self.early[usize::from(first)];
        let mut entry = [0; GRAM];
        let (mut count, mut at) = (0, base + at);
        let mut next = Ok(escape);
        loop {
            let Ok(escape) = next else { return next == Err(Miss::Cut) };
            for byte in escape.bytes() {
                if count > 0 {
                    // Places behind the third are not noted.
                    places = (places << 1) & (self.early[usize::from(*byte)] | !0b111);
                }
                if places == 0 {
                    return false;
                }
                entry[count] = *byte;
                count += 1;
                if count == GRAM {
                    return self.has(u32::from_le_bytes(entry));
                }
            }
            at += escape.length;
            next = match text.get(at) {
                None => Err(Miss::Cut),
                Some(byte) if is_lead(byte) => {
                    plain(&bytes[at - base..]).map_or_else(|| settled(text, at), Ok)
                }
                Some(byte) => Ok(Escape::of_byte(byte, 1)),
            };
        }
    }

    /// What stands at a place.
    pub(super) fn at(&self, text: Text<'_>, at: usize) -> Match {
        let Some(first) = text.get(at) else { return Match::None };
        if !self.begins[usize::from(first)] && !is_lead(first) {
            return Match::None;
        }
        let forms = self.forms.iter().filter(|form| form.first == first || is_lead(first));
        forms.fold(Match::None, |found, form| found.or(follow(form, text, at)))
    }
}

/// Reads a form from a place of the text on. Where a value has `%` or `\` in it, a text may be read in several
/// ways; all are tried, so that nothing of an escape is left over by one that ends before another.
fn follow(form: &Form, text: Text<'_>, start: usize) -> Match {
    let cut = if text.is_last { Match::None } else { Match::Begun };
    let mut found = Match::None;
    // Places of the form, each with one of the text. Both stay empty, and take no memory, but for a `%` or
    // `\` of a value itself; each pair is gone on from once only.
    let (mut open, mut seen) = (Vec::new(), BTreeSet::new());
    let mut way = Some((0, start));
    while let Some((place, at)) = way.take().or_else(|| open.pop()) {
        if place == form.length {
            found = found.or(Match::Whole(at));
            continue;
        }
        let Some(byte) = text.get(at) else {
            found = found.or(cut);
            continue;
        };
        let wanted = form.at(place);
        if !is_lead(byte) {
            way = (byte == wanted).then_some((place + 1, at + 1));
            continue;
        }
        let mut next = (byte == wanted).then_some((place + 1, at + 1));
        for reading in Readings::new(text, at) {
            let Ok(escape) = reading else {
                // It ends in the middle of an escape, which may be the one.
                found = found.or(cut);
                break;
            };
            let bytes = escape.bytes();
            let fits = place + bytes.len() <= form.length
                && bytes.iter().enumerate().all(|(offset, byte)| form.at(place + offset) == *byte);
            if !fits {
                continue;
            }
            if let Some(shorter) = next.replace((place + bytes.len(), at + escape.length))
                && seen.insert(shorter)
            {
                open.push(shorter);
            }
        }
        way = next.filter(|next| seen.is_empty() || seen.insert(*next));
        if seen.len() > MOST_WAYS {
            // As it is it is found at least.
            let plain = (0..form.length).take_while(|place| text.get(start + place) == Some(form.at(*place)));
            let end = start + plain.count();
            let is_plain = end == start + form.length;
            return found.or(if is_plain {
                Match::Whole(end)
            } else if text.get(end).is_none() {
                cut
            } else {
                Match::None
            });
        }
    }
    found
}

/// Four bytes as an entry of the index.
fn gram(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Where an entry has its bit in an index of so many words, a power of two.
fn place(gram: u32, words: usize) -> (usize, u64) {
    let hash = gram.wrapping_mul(0x9e37_79b1);
    ((hash >> 16) as usize & (words - 1), 1 << (hash >> 26))
}

impl fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Patterns").field("forms", &self.forms.len()).finish_non_exhaustive()
    }
}
