//! What slow readers make of a text, who decode all of it: one kind of escape, or any, once or twice, and then each
//! run of base64 in it.

use std::collections::BTreeSet;

use bearerd::guard::SHORTEST;

/// How often a reader decodes.
const ROUNDS: usize = 2;

/// The alphabets of base64 (RFC 4648, sections 4 and 5).
pub(crate) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(crate) const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What an escape stands for, and what is behind it.
type Read<'a> = Option<(Vec<u8>, &'a [u8])>;

/// All that is read out of a text, with the text itself.
pub(crate) fn readings(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut decoded = BTreeSet::from([text.to_vec()]);
    for _ in 0..ROUNDS {
        let kinds: [fn(&[u8]) -> Read<'_>; 4] = [percent, backslash, reference, any];
        let more: Vec<_> =
            decoded.iter().flat_map(|text| kinds.map(|escape| decoded_by(text, escape))).collect();
        decoded.extend(more);
    }
    let in_base64 = |text: &Vec<u8>| [STANDARD, URL_SAFE].map(|alphabet| from_base64(text, alphabet));
    let more: Vec<_> = decoded.iter().flat_map(in_base64).flatten().collect();
    decoded.extend(more);
    decoded
}

/// The text with each escape of a kind read; what is none stays.
fn decoded_by(text: &[u8], escape: fn(&[u8]) -> Read<'_>) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [byte, behind @ ..] = rest {
        rest = if let Some((read, behind)) = escape(rest) {
            decoded.extend_from_slice(&read);
            behind
        } else {
            decoded.push(*byte);
            behind
        };
    }
    decoded
}

fn any(text: &[u8]) -> Read<'_> {
    percent(text).or_else(|| backslash(text)).or_else(|| reference(text))
}

fn percent(text: &[u8]) -> Read<'_> {
    let (digits, behind) = text.strip_prefix(b"%")?.split_at_checked(2)?;
    Some((vec![u8::try_from(number(digits, 16)?).ok()?], behind))
}

/// JSON's escapes but for those of control characters, and the `\x` of scripts.
fn backslash(text: &[u8]) -> Read<'_> {
    match text.strip_prefix(b"\\")? {
        [sign @ (b'"' | b'\\' | b'/'), behind @ ..] => Some((vec![*sign], behind)),
        [b'x', rest @ ..] => {
            let (digits, behind) = rest.split_at_checked(2)?;
            Some((vec![u8::try_from(number(digits, 16)?).ok()?], behind))
        }
        [b'u', rest @ ..] => {
            let (digits, behind) = rest.split_at_checked(4)?;
            Some((character(number(digits, 16)?)?, behind))
        }
        _ => None,
    }
}

/// The references of XML to characters by their numbers.
fn reference(text: &[u8]) -> Read<'_> {
    if let Some(behind) = text.strip_prefix(b"&amp;") {
        return Some((b"&".to_vec(), behind));
    }
    let rest = text.strip_prefix(b"&#")?;
    let end = rest.iter().take(9).position(|byte| *byte == b';')?;
    let (digits, behind) = (&rest[..end], &rest[end + 1..]);
    let number = match digits {
        [b'x' | b'X', digits @ ..] if digits.len() <= 7 => number(digits, 16),
        digits if digits.len() <= 7 => number(digits, 10),
        _ => None,
    };
    Some((character(number?)?, behind))
}

fn character(number: u32) -> Option<Vec<u8>> {
    Some(char::from_u32(number)?.to_string().into_bytes())
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(|digit| char::from(*digit).is_digit(radix));
    is_number.then(|| u32::from_str_radix(str::from_utf8(digits).ok()?, radix).ok())?
}

/// What the runs of an alphabet hold, beginning at any of four characters.
fn from_base64(text: &[u8], alphabet: &[u8; 64]) -> Vec<Vec<u8>> {
    let mut values = [None; 256];
    for (value, byte) in (0_u32..).zip(alphabet) {
        values[usize::from(*byte)] = Some(value);
    }
    let digit = |byte: &u8| values[usize::from(*byte)];
    let runs = text.split(|byte| digit(byte).is_none()).filter(|run| run.len() * 3 / 4 >= SHORTEST);
    let decoded = |run: &[u8]| -> Vec<u8> {
        let group = |group: &[u8]| {
            let bits = group.iter().filter_map(digit).fold(0, |bits, digit| bits << 6 | digit);
            // A group that is not whole has bits of fewer bytes.
            let bits = bits << (6 * (4 - group.len()));
            bits.to_be_bytes()[1..group.len()].to_vec()
        };
        run.chunks(4).flat_map(group).collect()
    };
    runs.flat_map(|run| (0..4).map(|from| decoded(&run[from..])).collect::<Vec<_>>()).collect()
}
