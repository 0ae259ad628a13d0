//! Percent escapes (RFC 3986, section 2.1), JSON escapes (RFC 8259, section 7) with the `\x` of scripts, the
//! references of XML and HTML to characters (XML 1.0, section 4.1), and escapes of escapes.
//!
//! `/` may stand as `%2F`, `\/`, `\u002f`, `&#x2F;`, `%5C/`, `%252F`, `\\\/` and so on. What is read here is one
//! character: the shortest bytes that are an escape, and then, as long as these stand for a `%`, a `\` or a `&`
//! that begins another one, the longer ones.

use crate::guard::text::Text;

/// Escapes inside the digits or the letter of an escape, one in the other.
const DEEPEST: usize = 2;

/// Bytes of one character, however often it was escaped.
const LONGEST: usize = 64;

/// Bytes behind the `\` of an escape by number: `u` and four digits.
const NUMBERED: usize = 5;

/// Bytes of a percent escape.
pub(super) const PERCENT: usize = 3;

/// Digits of a reference to a character: those of the last one, and a few zeros before them.
const MOST_DIGITS: usize = 7;

/// The references that XML has names for.
const NAMES: [(&[u8], u8); 5] =
    [(b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')];

/// Whether a byte begins an escape.
pub(super) fn is_lead(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// The first place of a text at which an escape may begin.
pub(super) fn next_lead(text: &[u8]) -> Option<usize> {
    memchr::memchr3(b'%', b'\\', b'&', text)
}

/// What an escape stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Escape {
    /// Its bytes, the first of them lowest: one number, since an array is written and read again byte by byte.
    packed: u32,
    /// How many bytes it stands for: one, or those of a character beyond ASCII.
    pub(super) count: usize,
    /// How many bytes of the text it takes.
    pub(super) length: usize,
}

/// Why there is no escape at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// Something else stands there.
    Other,
    /// The text ends before it is known.
    Cut,
}

impl Escape {
    /// A byte that takes `length` bytes of the text.
    pub(super) fn of_byte(byte: u8, length: usize) -> Self {
        Self { packed: byte.into(), count: 1, length }
    }

    fn of_char(character: char, length: usize) -> Self {
        let mut bytes = [0; 4];
        let count = character.encode_utf8(&mut bytes).len();
        Self { packed: u32::from_le_bytes(bytes), count, length }
    }

    /// The bytes that it stands for.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        let bytes = self.packed.to_le_bytes();
        (0..self.count).map(move |place| bytes[place])
    }

    /// The first of them.
    pub(super) fn first(self) -> u8 {
        self.packed.to_le_bytes()[0]
    }

    /// What it stands for, and as much of what is behind it as makes four bytes, as an entry of an index.
    #[expect(clippy::cast_possible_truncation, reason = "what is cut off is behind the four bytes")]
    pub(super) fn entry(self, behind: [u8; 4]) -> u32 {
        let behind = u64::from(u32::from_le_bytes(behind)) << (8 * self.count);
        self.packed | behind as u32
    }

    fn longer_by(self, length: usize) -> Self {
        Self { length: self.length + length, ..self }
    }

    /// The byte, if it begins another escape.
    fn lead(self) -> Option<u8> {
        Some(self.first()).filter(|byte| is_lead(*byte))
    }
}

/// All that the bytes from a place on can be read as, where they begin an escape; each longer than the
/// one before.
pub(super) struct Readings<'a> {
    text: Text<'a>,
    at: usize,
    length: usize,
    lead: Option<u8>,
    /// The lead was itself escaped by its number: `\u005c`.
    is_numbered: bool,
    depth: usize,
}

impl<'a> Readings<'a> {
    /// What can be read at a place.
    pub(super) fn new(text: Text<'a>, at: usize) -> Self {
        Self::nested(text, at, DEEPEST)
    }

    fn nested(text: Text<'a>, at: usize, depth: usize) -> Self {
        let lead = text.get(at).filter(|byte| is_lead(*byte));
        Self { text, at, length: 1, lead, is_numbered: false, depth }
    }
}

impl Iterator for Readings<'_> {
    type Item = Result<Escape, Miss>;

    fn next(&mut self) -> Option<Self::Item> {
        let lead = self.lead.take()?;
        let at = self.at + self.length;
        let rest = match lead {
            b'%' => percent(self.text, at, self.depth),
            b'&' => reference(self.text, at, self.depth),
            _ => backslash(self.text, at, self.is_numbered, self.depth),
        };
        match rest {
            Ok(escape) => {
                self.is_numbered = lead == b'\\' && escape.length >= NUMBERED;
                self.length += escape.length;
                self.lead = escape.lead().filter(|_| self.length < LONGEST);
                Some(Ok(Escape { length: self.length, ..escape }))
            }
            Err(Miss::Other) => None,
            Err(Miss::Cut) => Some(Err(Miss::Cut)),
        }
    }
}

/// The same as [`settled`] where that is seen at once, as nearly everywhere, also in JSON that stands in JSON: of
/// an escape in which nothing but backslashes is escaped, and where none begins.
#[expect(
    clippy::inline_always,
    reason = "what it tells would go through memory: a tenth of what a text takes"
)]
#[inline(always)]
pub(super) fn plain(bytes: &[u8]) -> Option<Result<Escape, Miss>> {
    let (lead, behind) = (bytes[0], &bytes[1..]);
    if goes_on_with_other(lead, behind) {
        return Some(Err(Miss::Other));
    }
    if let [b'\\', sign, ..] = *bytes
        && sign != b'\\'
        && let Some(meant) = control(sign)
    {
        // Most of those in JSON.
        return Some(Ok(Escape::of_byte(meant, 2)));
    }
    let escape = match lead {
        b'%' => percent_of(bytes).map(|byte| Escape::of_byte(byte, PERCENT)),
        b'&' => plain_reference(bytes),
        _ => plain_backslash(bytes),
    };
    let Some(escape) = escape else { return begins_none(lead, behind).then_some(Err(Miss::Other)) };
    let is_whole = escape.lead().is_none_or(|lead| begins_none(lead, &bytes[escape.length..]));
    is_whole.then_some(Ok(escape))
}

/// A reference to a character, in which nothing is escaped.
fn plain_reference(bytes: &[u8]) -> Option<Escape> {
    match *bytes {
        [_, b'#', ..] => plain_number(bytes),
        [_, b'a', b'm', b'p', b';', ..] => Some(Escape::of_byte(b'&', 5)),
        [_, b'l', b't', b';', ..] => Some(Escape::of_byte(b'<', 4)),
        [_, b'g', b't', b';', ..] => Some(Escape::of_byte(b'>', 4)),
        [_, b'q', b'u', b'o', b't', b';', ..] => Some(Escape::of_byte(b'"', 6)),
        [_, b'a', b'p', b'o', b's', b';', ..] => Some(Escape::of_byte(b'\'', 6)),
        _ => None,
    }
}

/// The same by its number.
#[inline(never)]
fn plain_number(bytes: &[u8]) -> Option<Escape> {
    let (radix, begin) = if matches!(bytes.get(2), Some(b'x' | b'X')) { (16, 3) } else { (10, 2) };
    let rest = bytes.get(begin..)?;
    let count =
        rest.iter().take(MOST_DIGITS + 1).position(|byte| *byte == b';').filter(|count| *count > 0)?;
    let add = |number: u32, digit: &u8| Some(number * radix + char::from(*digit).to_digit(radix)?);
    let number = rest[..count].iter().try_fold(0, add)?;
    Some(Escape::of_char(char::from_u32(number)?, begin + count + 1))
}

/// An escape that begins with a backslash, and in which nothing but backslashes is escaped.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn plain_backslash(bytes: &[u8]) -> Option<Escape> {
    let before = match *bytes {
        [b'\\', b'\\', ..] => bytes.iter().take(LONGEST).take_while(|byte| **byte == b'\\').count() - 1,
        _ => 0,
    };
    if before + 1 >= LONGEST {
        return None;
    }
    let escape = match bytes[before..] {
        [b'\\', b'u', first, second, third, fourth, ..] => {
            let unit = unit_of([first, second, third, fourth])?;
            match char::from_u32(unit) {
                Some(character) => Escape::of_char(character, 6),
                None => plain_pair(unit, &bytes[before + 6..])?,
            }
        }
        [b'\\', b'x', high, low, ..] => Escape::of_byte(octet(high, low)?, 4),
        [b'\\', sign, ..] => match control(sign) {
            Some(meant) => Escape::of_byte(meant, 2),
            // Of a path: the backslashes before it are one.
            None if before > 0 => Escape::of_byte(b'\\', 1),
            None => return None,
        },
        _ => return None,
    };
    Some(escape.longer_by(before))
}

/// A character beyond the first plane, of whose two halves the first was read and the second is what follows.
#[cold]
fn plain_pair(high: u32, behind: &[u8]) -> Option<Escape> {
    let [b'\\', b'u', digits @ ..] = behind else { return None };
    let character = char_of_pair(high, unit_of(*digits.first_chunk()?)?)?;
    Some(Escape::of_char(character, 12))
}

/// What four hexadecimal digits stand for.
fn unit_of([first, second, third, fourth]: [u8; 4]) -> Option<u32> {
    Some(u32::from(octet(first, second)?) << 8 | u32::from(octet(third, fourth)?))
}

/// The character of two units of UTF-16.
fn char_of_pair(high: u32, low: u32) -> Option<char> {
    let pair = [high, low].map(|unit| u16::try_from(unit).unwrap_or_default());
    char::decode_utf16(pair).next()?.ok()
}

/// Whether it is seen at once that no escape begins with a `%`, a `\` or a `&` that this stands behind.
fn begins_none(lead: u8, behind: &[u8]) -> bool {
    goes_on_with_other(lead, behind) || (lead == b'&' && begins_no_name(behind))
}

/// The same, seen by one byte.
#[inline]
fn goes_on_with_other(lead: u8, behind: &[u8]) -> bool {
    behind.first().is_some_and(|first| NEXT[usize::from(*first)] & bit_of(lead) == 0)
}

/// The same of a `&`, behind which a name may begin.
#[inline(never)]
fn begins_no_name(behind: &[u8]) -> bool {
    let is_other = |(name, _): &(&[u8], u8)| is_other(name, behind);
    behind.first().is_some_and(|first| !is_lead(*first) && *first != b'#') && NAMES.iter().all(is_other)
}

/// By byte, a bit for each of `%`, `\` and `&`: whether an escape can go on with it, or with what it begins itself.
const NEXT: [u8; 256] = {
    let mut next = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if DIGITS[byte] < 16 {
            next[byte] |= bit_of(b'%');
        }
        if CONTROLS[byte] != 0 {
            next[byte] |= bit_of(b'\\');
        }
        byte += 1;
    }
    next[b'u' as usize] |= bit_of(b'\\');
    next[b'x' as usize] |= bit_of(b'\\');
    next[b'#' as usize] |= bit_of(b'&');
    let mut number = 0;
    while number < NAMES.len() {
        next[NAMES[number].0[0] as usize] |= bit_of(b'&');
        number += 1;
    }
    next[b'%' as usize] = u8::MAX;
    next[b'\\' as usize] = u8::MAX;
    next[b'&' as usize] = u8::MAX;
    next
};

/// A bit for each byte that begins escapes: the lowest two bits of each are different.
const fn bit_of(lead: u8) -> u8 {
    1 << (lead % 4)
}

/// Whether it is seen at once that this is not the beginning of a name.
fn is_other(name: &[u8], text: &[u8]) -> bool {
    name[0] != text[0] || text.get(1).is_some_and(|second| !is_lead(*second) && name[1] != *second)
}

/// What a percent escape of two plain digits stands for, if that begins no other, and what is behind it.
#[inline]
pub(super) fn first_percent(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let byte = percent_of(bytes)?;
    (!is_lead(byte)).then_some((byte, &bytes[PERCENT..]))
}

fn percent_of(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    octet(*high, *low)
}

/// What two hexadecimal digits stand for.
fn octet(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
    (high | low < 16).then_some(high << 4 | low)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    let value = DIGITS[usize::from(digit)];
    (value < 16).then_some(value)
}

/// By byte: its value as a hexadecimal digit, or more than 15.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value as usize];
        digits[digit as usize] = value;
        digits[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    digits
};

/// What a sign behind a `\` stands for.
fn control(sign: u8) -> Option<u8> {
    let meant = CONTROLS[usize::from(sign)];
    (meant != 0).then_some(meant)
}

/// By sign: the byte that it stands for behind a `\`, or zero.
const CONTROLS: [u8; 256] = {
    let mut controls = [0; 256];
    let (signs, meant) = (b"\"/\\bfnrt", b"\"/\\\x08\x0c\n\r\t");
    let mut number = 0;
    while number < signs.len() {
        controls[signs[number] as usize] = meant[number];
        number += 1;
    }
    controls
};

/// The longest reading at a place: the only one that can be anything but a `%`, a `\` or a `&`.
pub(super) fn settled(text: Text<'_>, at: usize) -> Result<Escape, Miss> {
    settled_within(text, at, DEEPEST)
}

fn settled_within(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    Readings::nested(text, at, depth).last().unwrap_or(Err(Miss::Other))
}

/// What follows a `%`: two digits.
fn percent(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    let (high, first) = digit(text, at, depth)?;
    let (low, second) = digit(text, at + first, depth)?;
    Ok(Escape::of_byte(high << 4 | low, first + second))
}

/// What follows a `\`: a letter or a sign, `x` and two digits, or `u` and four.
fn backslash(text: Text<'_>, at: usize, is_numbered: bool, depth: usize) -> Result<Escape, Miss> {
    let is_pair = text.get(at) == Some(b'\\');
    // Two of them are one, and what that may begin is seen by the next reading; but whoever has written the
    // first by its number has most likely written what follows it so. Only then it is read: whoever reads on
    // behind each of a thousand backslashes never comes to an end.
    if is_pair && !is_numbered {
        return Ok(Escape::of_byte(b'\\', 1));
    }
    match letter(text, at, depth) {
        Err(Miss::Other) if is_pair => Ok(Escape::of_byte(b'\\', 1)),
        read => read,
    }
}

/// What follows a `\` that is none of a pair.
fn letter(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    let (sign, length) = character(text, at, depth)?;
    let rest = at + length;
    let escape = match sign {
        b'u' => unicode(text, rest, depth)?,
        b'x' => percent(text, rest, depth)?,
        _ => Escape::of_byte(control(sign).ok_or(Miss::Other)?, 0),
    };
    Ok(escape.longer_by(length))
}

/// What follows a `&`: the number of a character, or its name, up to a semicolon.
fn reference(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    let (first, mut length) = character(text, at, depth)?;
    if first != b'#' {
        return named(text, at, depth);
    }
    let (mark, taken) = character(text, at + length, depth)?;
    let radix = if matches!(mark, b'x' | b'X') { 16 } else { 10 };
    length += if radix == 16 { taken } else { 0 };
    let mut number = 0;
    for count in 0..=MOST_DIGITS {
        let (byte, taken) = character(text, at + length, depth)?;
        length += taken;
        if byte == b';' && count > 0 {
            let character = char::from_u32(number).ok_or(Miss::Other)?;
            return Ok(Escape::of_char(character, length));
        }
        number = number * radix + char::from(byte).to_digit(radix).ok_or(Miss::Other)?;
    }
    Err(Miss::Other)
}

fn named(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    let mut miss = Miss::Other;
    for (name, meant) in NAMES {
        match literal(text, at, name, depth) {
            Ok(length) => return Ok(Escape::of_byte(meant, length)),
            Err(Miss::Cut) => miss = Miss::Cut,
            Err(Miss::Other) => {}
        }
    }
    Err(miss)
}

/// How many bytes these characters take, if they stand there.
fn literal(text: Text<'_>, at: usize, expected: &[u8], depth: usize) -> Result<usize, Miss> {
    let mut length = 0;
    for wanted in expected {
        let (byte, taken) = character(text, at + length, depth)?;
        if byte != *wanted {
            return Err(Miss::Other);
        }
        length += taken;
    }
    Ok(length)
}

/// Four digits; two times four for a character beyond the first plane.
fn unicode(text: Text<'_>, at: usize, depth: usize) -> Result<Escape, Miss> {
    let (unit, length) = code_unit(text, at, depth)?;
    if let Some(character) = char::from_u32(unit) {
        return Ok(Escape::of_char(character, length));
    }
    let mut at = at + length;
    for expected in *b"\\u" {
        match text.get(at) {
            Some(byte) if byte == expected => at += 1,
            Some(_) => return Err(Miss::Other),
            None => return Err(Miss::Cut),
        }
    }
    let (low, second) = code_unit(text, at, depth)?;
    let character = char_of_pair(unit, low).ok_or(Miss::Other)?;
    Ok(Escape::of_char(character, length + 2 + second))
}

fn code_unit(text: Text<'_>, at: usize, depth: usize) -> Result<(u32, usize), Miss> {
    let (mut unit, mut length) = (0, 0);
    for _ in 0..4 {
        let (digit, taken) = digit(text, at + length, depth)?;
        unit = unit << 4 | u32::from(digit);
        length += taken;
    }
    Ok((unit, length))
}

/// The value of a hexadecimal digit, and how many bytes it takes.
fn digit(text: Text<'_>, at: usize, depth: usize) -> Result<(u8, usize), Miss> {
    let (character, length) = character(text, at, depth)?;
    Ok((hexadecimal(character).ok_or(Miss::Other)?, length))
}

/// One ASCII character, itself or escaped.
fn character(text: Text<'_>, at: usize, depth: usize) -> Result<(u8, usize), Miss> {
    let byte = text.get(at).ok_or(Miss::Cut)?;
    if !is_lead(byte) {
        return Ok((byte, 1));
    }
    if depth == 0 {
        return Err(Miss::Other);
    }
    let escape = settled_within(text, at, depth - 1)?;
    if escape.count == 1 { Ok((escape.first(), escape.length)) } else { Err(Miss::Other) }
}

#[cfg(test)]
mod tests {
    use super::{Escape, Miss, Readings, settled};
    use crate::guard::text::Text;

    fn text(bytes: &str) -> Text<'_> {
        Text { held: b"", fresh: bytes.as_bytes(), is_last: false }
    }

    #[test]
    fn a_character_is_read_however_often_it_was_escaped() {
        for escaped in [
            "%2F",
            "%2f",
            "\\/",
            "\\u002f",
            "\\u002F",
            "%252F",
            "%25252f",
            "\\\\/",
            "\\\\\\/",
            "%5C/",
            "%5c%2F",
            "%5Cu002f",
            "\\u00252f",
            "%\\u0032F",
            "\\%75002f",
            "%5C%75%30%30%32%66",
            "\\u005c\\u0075\\u0030\\u0030\\u0032\\u0066",
            "\\u005Cu00\\u0032F",
            "\\u005c/",
            "\\x2f",
            "&#47;",
            "&#x2F;",
            "&#X002f;",
            "&amp;#47;",
            "\\u0026#47;",
            "%26%2347%3B",
        ] {
            assert_eq!(settled(text(escaped), 0), Ok(Escape::of_byte(b'/', escaped.len())), "{escaped}");
            for end in 1..escaped.len() {
                let cut = settled(text(&escaped[..end]), 0);
                let is_open = cut == Err(Miss::Cut) || cut.is_ok_and(|escape| escape.lead().is_some());
                assert!(is_open, "{}: {cut:?}", &escaped[..end]);
            }
        }
    }

    #[test]
    fn characters_beyond_ascii_are_read_as_their_bytes() {
        assert_eq!(settled(text("\\u00e4"), 0), Ok(Escape::of_char('ä', 6)));
        assert_eq!(settled(text("\\ud83d\\uDE00"), 0), Ok(Escape::of_char('😀', 12)));
        assert_eq!(settled(text("%c3"), 0), Ok(Escape::of_byte(0xc3, 3)));
        assert_eq!(settled(text("\\ud83dx"), 0), Err(Miss::Other));
        assert_eq!(settled(text("\\ud83d\\u0041"), 0), Err(Miss::Other));
    }

    #[test]
    fn every_shorter_reading_is_told_too() {
        let lengths: Vec<_> =
            Readings::new(text("%255C/"), 0).map(|read| read.expect("an escape").length).collect();
        assert_eq!(lengths, [3, 5, 6]);
    }

    #[test]
    fn what_only_looks_like_an_escape_is_none() {
        for other in ["%zz", "%4", "\\x4", "\\u00g0", "100% of", "&amps;", "&#;", "&#x110000;", "a&b=c", "a"]
        {
            let read = settled(text(other), 0);
            assert!(matches!(read, Err(Miss::Other | Miss::Cut)), "{other}: {read:?}");
        }
        assert_eq!(settled(text(&"%".repeat(10_000)), 0), Err(Miss::Other));
        assert!(settled(text(&"\\".repeat(10_000)), 0).is_ok_and(|escape| escape.length <= 65));
    }
}
