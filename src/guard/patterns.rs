//! All forms of all values, and an index that tells quickly where none of them begins.
//!
//! What is compared first of every form is its *window*: its first bytes, as many of each. Of the windows
//! all runs of four bytes ([`GRAM`]) are indexed, at each place of a window. A text in which a window
//! stands unescaped holds one of them at every place that is a window's length less three from the last
//! one looked at, so that most of a text is never looked at: the longer the shortest value, the less. What
//! is indexed says only where to look closer.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::guard::escape::{Escape, Miss, PERCENT, first_percent, is_lead, next_lead, plain, settled};
use crate::guard::follow::{Match, Way, follow};
use crate::guard::form::Form;
use crate::guard::text::Text;
use crate::guard::trail::Trail;
use crate::memory::ahead;
use crate::secret::Secret;

/// Shorter values are not looked for: too much that is none of them would be masked.
pub const SHORTEST: usize = 8;

/// The longest window.
pub(super) const LONGEST_WINDOW: usize = 32;

/// Bytes of an entry of the index.
pub(super) const GRAM: usize = 4;

/// Bits of the index for each entry, of which it sets two: one place in a hundred is looked at for nothing. Where
/// each of thousands of routes has values of its own, the processor's caches have little of each index.
const SPARSITY: usize = 16;

/// The longest index, in words of 64 bits.
const MOST_WORDS: usize = 1 << 10;

/// How far forms were read, each by its number.
pub(super) type Ways = BTreeSet<(usize, Way)>;

/// The values that an answer is scanned for, in all their forms. What nearly every text asks for stands first.
#[repr(C)]
pub struct Patterns {
    /// Bytes of each window.
    window: usize,
    /// Two bits of a word for each entry, by its hash; as many words as a power of two.
    index: Box<[u64]>,
    /// Whether a value has bytes that begin escapes.
    has_leads: bool,
    /// By byte, a bit: whether a window has it.
    letters: [u64; 4],
    /// The entries themselves, in their order.
    grams: Zeroizing<Vec<u32>>,
    forms: Box<[Form]>,
    /// By byte, a bit: whether a form begins with it.
    begins: [u64; 4],
    /// The values that they are made of.
    values: Box<[Secret]>,
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
        let forms: Box<[Form]> = distinct
            .iter()
            .flat_map(|value| [Form::all_of(value), Form::all_of_escaped(value)])
            .flatten()
            .collect();
        let window = forms.iter().map(|form| form.length).fold(LONGEST_WINDOW, usize::min);
        let mut grams = Zeroizing::new(Vec::with_capacity(forms.len() * (window - GRAM + 1)));
        let (mut begins, mut letters, mut has_leads) = ([0; 4], [0; 4], false);
        for form in &forms {
            let (word, bit) = bit_of(form.first);
            begins[word] |= bit;
            let bytes = Zeroizing::new((0..form.length).map(|at| form.at(at)).collect::<Vec<u8>>());
            has_leads |= bytes.iter().any(|byte| is_lead(*byte));
            for byte in &bytes[..window] {
                let (word, bit) = bit_of(*byte);
                letters[word] |= bit;
            }
            grams.extend(bytes[..window].array_windows().map(|gram| u32::from_le_bytes(*gram)));
        }
        grams.sort_unstable();
        grams.dedup();
        let words = (grams.len() * SPARSITY / 64).next_power_of_two().min(MOST_WORDS);
        let index = vec![0; words].into_boxed_slice();
        let values = distinct.into_iter().cloned().collect();
        let mut patterns = Self { window, index, has_leads, letters, grams, forms, begins, values };
        for at in 0..patterns.grams.len() {
            let hash = hash(patterns.grams[at]);
            let word = patterns.word(hash);
            patterns.index[word] |= bit(hash) | bit(hash >> 6);
        }
        patterns
    }

    /// The patterns of the same values and of others.
    #[must_use]
    pub fn with(&self, others: &[Secret]) -> Self {
        Self::new(&[&*self.values, others].concat())
    }

    /// Has the processor bring what nearly every text asks for.
    pub fn bring_index(&self) {
        ahead::bring_slice(&self.index);
    }

    /// Whether a whole text has a value in it.
    pub(super) fn are_in(&self, text: &[u8]) -> bool {
        self.first(Text { held: b"", fresh: text, is_last: true }, 0, 1).is_some()
    }

    /// The first place from `from` on at which a value stands, or begins and may go on behind the end of
    /// the text.
    pub(super) fn first(&self, text: Text<'_>, from: usize, least: usize) -> Option<(usize, Match)> {
        if self.is_clear(text, from) {
            return None;
        }
        let judge = |at: usize| match self.at(text, at) {
            Match::Begun if text.len() - at < least => None,
            Match::None => None,
            found => Some((at, found)),
        };
        // What nothing begins in as it is, nothing begins in with more behind it.
        let held = Text { held: b"", fresh: text.held, is_last: false };
        if from < text.held.len()
            && let Some((begin, _)) = self.first(held, from, 1)
            && let Some(found) = (begin..text.held.len()).find_map(judge)
        {
            return Some(found);
        }
        let fresh = from.saturating_sub(text.held.len());
        let plain = self.first_plain(text, fresh, &judge);
        let until = plain.map_or(text.len(), |(at, _)| at);
        self.first_escaped(text, fresh, until, &judge).or(plain)
    }

    /// Whether nothing of a text that is all there has to be looked at closely, as in nearly all of them.
    fn is_clear(&self, text: Text<'_>, from: usize) -> bool {
        let is_whole = text.held.is_empty() && text.is_last;
        is_whole
            // First what ends early in a text that is not: it is gone through once more then.
            && text.fresh.get(from..).and_then(next_lead).is_none()
            && self.next_gram(text.fresh, from + self.window - GRAM).is_none()
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

    /// The next place, of those to be looked at, where an indexed run of bytes stands. A function of its own,
    /// so that all that it needs is in registers.
    #[inline(never)]
    fn next_gram(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let skip = self.window - GRAM + 1;
        let mut rest = bytes.get(from..)?;
        while let Some(entry) = rest.first_chunk() {
            if self.has(u32::from_le_bytes(*entry)) {
                return Some(bytes.len() - rest.len());
            }
            rest = rest.get(skip..)?;
        }
        None
    }

    /// Whether an entry is in the index.
    #[inline]
    fn has(&self, entry: u32) -> bool {
        let hash = hash(entry);
        let word = self.index[self.word(hash)];
        // One after the other: nearly every place ends with the first.
        word & bit(hash) != 0 && word & bit(hash >> 6) != 0 && self.holds(entry)
    }

    /// Whether an entry that shares its bits with others is one of them.
    #[cold]
    fn holds(&self, entry: u32) -> bool {
        self.grams.binary_search(&entry).is_ok()
    }

    /// In which word of the index an entry of this hash has its bits.
    fn word(&self, hash: u32) -> usize {
        (hash >> 12) as usize & self.index.len().wrapping_sub(1)
    }

    /// The first place before `until` at which a window stands whose first escape is in what is fresh.
    fn first_escaped(
        &self,
        text: Text<'_>,
        from: usize,
        mut until: usize,
        judge: &impl Fn(usize) -> Option<(usize, Match)>,
    ) -> Option<(usize, Match)> {
        let base = text.held.len();
        let mut first = None;
        let mut trail = Trail::new(from);
        // Places before are judged: escapes that stand close together ask for the same ones.
        let mut judged = base + from;
        // A window begins up to its own length before its first escape.
        while base + trail.at < until + self.window
            && let Some(escapes) = self.next_escapes(text, from..until + self.window - base, &mut trail)
        {
            let start = from.max((escapes.start + 1).saturating_sub(self.window));
            let mut begins = judged.max(base + start)..until.min(base + escapes.end);
            judged = judged.max(begins.end);
            if let Some(found) = begins.find_map(judge) {
                until = found.0;
                first = Some(found);
            }
        }
        first
    }

    /// The next places, in what is fresh, in which a window may have its first escape, if that stands in `range`.
    ///
    /// Such a window holds one of two entries: the escape behind three bytes that stand for themselves, or,
    /// if it begins later, the escape before three bytes that are read behind it.
    #[inline(never)]
    fn next_escapes(&self, text: Text<'_>, range: Range<usize>, trail: &mut Trail) -> Option<Range<usize>> {
        let (bytes, base, from) = (text.fresh, text.held.len(), range.start);
        let end = range.end.min(bytes.len());
        loop {
            if !trail.has_escape() {
                trail.skip_to(self.next_escape(bytes, trail.at..end)?);
            }
            let at = trail.at;
            let Some(byte) = bytes.get(at) else {
                // What follows may make a window of it.
                let escapes = trail.start()..at;
                trail.skip_to(at);
                return (!text.is_last).then_some(escapes);
            };
            if !is_lead(*byte) {
                trail.note(*byte);
                trail.at += 1;
                if self.has(trail.entry) {
                    return Some(trail.start()..trail.at);
                }
                continue;
            }
            if self.has_leads {
                trail.skip_to(at + 1);
                return Some(at..at + 1);
            }
            let plain = plain(&bytes[at..]);
            let escape = match plain.unwrap_or_else(|| settled(text, base + at)) {
                Ok(escape) => escape,
                Err(Miss::Other) => {
                    trail.skip_to(at + 1);
                    continue;
                }
                Err(Miss::Cut) => {
                    let escapes = trail.start()..bytes.len();
                    trail.skip_to(bytes.len());
                    return Some(escapes);
                }
            };
            let mut is_suspicious = self.has_behind(bytes, from, at, escape)
                || (plain.is_none() && self.has_inside(text, from, at, escape.length));
            if !trail.has_escape()
                && let Some(behind) = bytes[at + escape.length..].first_chunk()
                && let [first, second, third, _] = *behind
                && !(is_lead(first) || is_lead(second) || is_lead(third))
            {
                // It stands alone, as most do: the one entry that begins with it is at hand.
                is_suspicious |= self.has(escape.entry(*behind));
                let end = at + escape.length;
                trail.skip_to(end + 3);
                if is_suspicious {
                    return Some(at..end);
                }
                continue;
            }
            trail.begin_escape();
            // Of several bytes the last stands behind more than the first.
            let start = trail.next_start();
            for byte in escape.bytes() {
                trail.note(byte);
                is_suspicious |= self.has(trail.entry);
            }
            trail.at += escape.length;
            if is_suspicious {
                return Some(start..trail.at);
            }
            if *byte == b'%' && escape.length == PERCENT {
                self.skip_percents(bytes, trail);
            }
        }
    }

    /// The next place at which an escape may begin that a window goes on over: most are told at once to be none, or to
    /// stand for what no window has. A function of its own, as [`Self::next_gram`] is.
    #[inline(never)]
    fn next_escape(&self, bytes: &[u8], range: Range<usize>) -> Option<usize> {
        let mut at = range.start;
        loop {
            at += next_lead(bytes.get(at..range.end)?)?;
            if self.has_leads {
                return Some(at);
            }
            at += match plain(&bytes[at..]) {
                Some(Ok(escape)) if !self.has_letter(escape.first()) => escape.length,
                Some(Err(Miss::Other)) => 1,
                _ => return Some(at),
            };
        }
    }

    /// Whether a window has this byte.
    fn has_letter(&self, byte: u8) -> bool {
        let (word, bit) = bit_of(byte);
        self.letters[word] & bit != 0
    }

    /// Reads on over percent escapes that follow another, as in a text that has nothing else, up to an entry: no
    /// three bytes before one of them stand for themselves. A function of its own, as [`Self::next_gram`] is.
    #[inline(never)]
    fn skip_percents(&self, bytes: &[u8], trail: &mut Trail) {
        let (mut rest, mut entry) = (&bytes[trail.at..], trail.entry);
        while let Some((byte, behind)) = first_percent(rest) {
            let next = entry >> 8 | u32::from(byte) << 24;
            if self.has(next) {
                break;
            }
            (rest, entry) = (behind, next);
        }
        trail.read_percents(bytes.len() - rest.len(), entry);
    }

    /// Whether three bytes that stand for themselves and the escape behind them are an entry.
    #[inline]
    fn has_behind(&self, bytes: &[u8], from: usize, at: usize, escape: Escape) -> bool {
        let before = bytes.get(from..at).and_then(<[u8]>::last_chunk);
        before.is_some_and(|[first, second, third]| {
            !is_lead(*first) && self.has(u32::from_le_bytes([*first, *second, *third, escape.first()]))
        })
    }

    /// Whether a window may have its first escape inside of the longest reading of an escape of escapes. All
    /// backslashes at its beginning are read as the first of them is.
    fn has_inside(&self, text: Text<'_>, from: usize, at: usize, length: usize) -> bool {
        let (bytes, base) = (text.fresh, text.held.len());
        let whole = &bytes[at..at + length];
        let same = whole.iter().take_while(|byte| **byte == b'\\').count().max(1);
        (at + same..at + length).filter(|inner| is_lead(bytes[*inner])).any(|inner| {
            let Ok(escape) = settled(text, base + inner) else { return true };
            self.has_behind(bytes, from, inner, escape) || self.has_ahead(text, base + inner)
        })
    }

    /// Whether what is read from a place on begins with an entry, or ends before it is one.
    fn has_ahead(&self, text: Text<'_>, mut at: usize) -> bool {
        let (mut entry, mut count) = ([0; GRAM], 0);
        loop {
            let escape = match text.get(at) {
                None => return true,
                Some(byte) if is_lead(byte) => match settled(text, at) {
                    Ok(escape) => escape,
                    Err(miss) => return miss == Miss::Cut,
                },
                Some(byte) => Escape::of_byte(byte, 1),
            };
            for byte in escape.bytes() {
                entry[count] = byte;
                count += 1;
                if count == GRAM {
                    return self.has(u32::from_le_bytes(entry));
                }
            }
            at += escape.length;
        }
    }

    /// What stands at a place.
    pub(super) fn at(&self, text: Text<'_>, at: usize) -> Match {
        let Some(first) = text.get(at) else { return Match::None };
        let (word, bit) = bit_of(first);
        if self.begins[word] & bit == 0 && !is_lead(first) {
            return Match::None;
        }
        let forms = self.forms.iter().filter(|form| form.first == first || is_lead(first));
        forms.fold(Match::None, |found, form| found.or(follow(form, text, Way::begin(at), &mut |_| ())))
    }

    /// How far each form was read of which the text from a place on may be the beginning.
    pub(super) fn ways(&self, text: Text<'_>, at: usize) -> Ways {
        let mut ways = Ways::new();
        for (number, form) in self.forms.iter().enumerate() {
            follow(form, text, Way::begin(at), &mut |way| _ = ways.insert((number, way)));
        }
        ways
    }

    /// The same, now that more of the text has come.
    pub(super) fn ways_on(&self, text: Text<'_>, before: &Ways) -> Ways {
        let mut ways = Ways::new();
        for (number, way) in before {
            follow(&self.forms[*number], text, *way, &mut |way| _ = ways.insert((*number, way)));
        }
        ways
    }
}

/// The hash of an entry: its upper bits name a word of the index, twice six below them a bit of that.
fn hash(entry: u32) -> u32 {
    (u64::from(entry).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// The bit that the lowest six bits of a hash name.
fn bit(hash: u32) -> u64 {
    1 << (hash % u64::BITS)
}

/// A bit for each byte: in which word, and which.
fn bit_of(byte: u8) -> (usize, u64) {
    (usize::from(byte / 64), 1 << (byte % 64))
}

impl fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Patterns").field("forms", &self.forms.len()).finish_non_exhaustive()
    }
}
