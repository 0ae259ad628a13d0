use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rustix::time::{ClockId, clock_gettime};

use super::escape::{is_lead, plain, settled};
use super::text::Text;
use super::{MASK, Patience, Patterns, Screen, Shown, mask_fields};
use crate::http1::Fields;
use crate::secret::Secret;

/// What comes out of a text that goes in by pieces that end at `cuts`.
fn screened(values: &[&[u8]], text: &[u8], cuts: &[usize], patience: Patience) -> Vec<u8> {
    let values: Vec<Secret> = values.iter().map(|value| Secret::new(*value)).collect();
    let patterns = Arc::new(Patterns::new(&values));
    let mut screen = Screen::new(patterns, patience);
    let mut output = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([text.len()]) {
        let mut piece = &text[start..end];
        start = end;
        let is_last = end == text.len();
        while !piece.is_empty() || (is_last && screen.is_holding()) {
            match screen.show(piece, is_last) {
                Shown::Bytes(bytes) => {
                    // Whoever reads may take less than what is shown.
                    let count = bytes.len().div_ceil(2);
                    output.extend_from_slice(&bytes[..count]);
                    piece = &piece[screen.take(count, piece)..];
                }
                Shown::Wait => {
                    screen.hold(piece);
                    piece = b"";
                }
            }
        }
    }
    output
}

fn masked(values: &[&str], text: &str) -> String {
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    let whole = screened(&values, text.as_bytes(), &[], Patience::Whole);
    let each: Vec<usize> = (0..text.len()).collect();
    assert_eq!(whole, screened(&values, text.as_bytes(), &each, Patience::Whole), "byte by byte");
    String::from_utf8(whole).expect("the texts of the tests are ASCII")
}

#[test]
fn of_several_ways_to_read_the_end_of_a_value_the_longest_is_masked() {
    // `%5C\` could be an escaped backslash as well, and then `0075` would be left.
    assert_eq!(masked(&[r"aaaaaaa\u"], r"x aaaaaaa%5C\u0075 x"), format!("x {} x", "*".repeat(16)));
}

#[test]
fn a_value_is_masked_that_begins_inside_of_what_may_be_read_as_an_escape() {
    // `\u0\u0061bc` may be the character `\u0abc`, too.
    let value = "abcdefghij0123456789";
    assert_eq!(masked(&[value], r"x \u0\u0061bcdefghij0123456789 x"), format!(r"x \u0{} x", "*".repeat(25)));
}

/// The spelling of a character as itself.
const PLAIN: u8 = 14;

/// A character in one of its spellings.
fn spelled(byte: u8, spelling: u8) -> String {
    let plain = || char::from(byte).to_string();
    match spelling {
        0 => format!("%{byte:02X}"),
        1 => format!("%{byte:02x}"),
        2 => format!("\\u{byte:04x}"),
        3 => format!("\\u{byte:04X}"),
        4 => format!("%25{byte:02x}"),
        5 => format!("\\\\u{byte:04x}"),
        6 => format!("%5Cu{byte:04X}"),
        7 if matches!(byte, b'/' | b'"' | b'\\') => format!("\\{}", plain()),
        8 => format!("&#x{byte:x};"),
        9 => format!("&#{byte};"),
        // Each character of an escape escaped itself.
        10 => {
            let inner = format!("\\u{byte:04x}");
            inner.bytes().flat_map(|byte| format!("\\u{byte:04X}").into_bytes()).map(char::from).collect()
        }
        11 => format!("\\x{byte:02x}"),
        12 => format!("\\\\x{byte:02X}"),
        13 => format!("&amp;#{byte:03};"),
        _ => plain(),
    }
}

#[derive(Debug, Clone)]
enum Spelling {
    Characters(Vec<u8>),
    Base64 { before: usize, after: usize, is_standard: bool },
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![
        vec(0..=PLAIN, 64).prop_map(Spelling::Characters),
        // Most characters stand for themselves.
        vec(prop_oneof![9 => Just(PLAIN), 1 => 0..PLAIN], 64).prop_map(Spelling::Characters),
        (0..9_usize, 0..5_usize, any::<bool>()).prop_map(|(before, after, is_standard)| Spelling::Base64 {
            before,
            after,
            is_standard
        }),
    ]
}

/// The bytes of a value, spelled, and the part of them that must be masked.
fn spell(value: &[u8], spelling: &Spelling) -> (Vec<u8>, std::ops::Range<usize>) {
    match spelling {
        Spelling::Characters(spellings) => {
            let text: String = value.iter().zip(spellings).map(|(byte, how)| spelled(*byte, *how)).collect();
            let length = text.len();
            (text.into_bytes(), 0..length)
        }
        Spelling::Base64 { before, after, is_standard } => {
            let whole = [&b"!surround"[..*before], value, &b"!around"[..*after]].concat();
            let text = if *is_standard { STANDARD.encode(&whole) } else { URL_SAFE_NO_PAD.encode(&whole) };
            let bits = 8 * before..8 * (before + value.len());
            (text.into_bytes(), bits.start.div_ceil(6)..bits.end / 6)
        }
    }
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=\"%\\&";

/// Values, of which half have nothing in them that begins an escape: these are looked for in another way.
fn value(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let plain = &LETTERS[..LETTERS.len() - 3];
    prop_oneof![vec(select(LETTERS), length.clone()), vec(select(plain), length)]
}

/// Escapes, whole, nested and broken, between letters.
fn escapes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "a",
        "tx",
        "41",
        "u0041",
        "%",
        "%4",
        "%41",
        "%25",
        "%2541",
        "%%41",
        "\\",
        "\\\\",
        "\\n",
        "\\u00e4",
        "\\u4f60\\u597d",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\ude00",
        "\\u0",
        "\\x41",
        "\\x4",
        "\\\\path",
        "\\\\\\\"",
        "%5Cu0041",
        "\\u00254",
        "\\u005c",
        "&",
        "&#",
        "&#x4",
        "&#65;",
        "&amp;",
        "&amp;#x41;",
        "&lt;",
        "&quot;x",
        "&nbsp;",
        " ",
    ];
    vec(select(pieces.to_vec()), 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_value_is_masked_in_every_spelling_between_anything_and_nothing_else_is(
        value in value(8..60),
        spellings in vec(spelling(), 1..4),
        around in vec(prop_oneof![vec(select(LETTERS), 0..80), escapes()], 4),
        cuts in vec(any::<Index>(), 0..12),
        is_lively in any::<bool>(),
    ) {
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        for (spelling, before) in spellings.iter().zip(&around) {
            text.extend_from_slice(before);
            // Nothing before a value shall be taken for a part of an escape of it, or of its base64.
            text.extend_from_slice(b" ");
            let (spelled, span) = spell(&value, spelling);
            spans.push(text.len() + span.start..text.len() + span.end);
            text.extend_from_slice(&spelled);
            text.extend_from_slice(b" ");
        }
        text.extend_from_slice(&around[3]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let patience = if is_lively { Patience::Lively } else { Patience::Whole };
        let output = screened(&[&value], &text, &cuts, patience);
        prop_assert_eq!(output.len(), text.len());
        for (at, byte) in output.iter().enumerate() {
            match spans.iter().find(|span| span.contains(&at)) {
                // The first bytes may have gone when the rest came.
                Some(span) if is_lively && at < span.start + 7 => {
                    prop_assert!(*byte == MASK || *byte == text[at]);
                }
                Some(_) => prop_assert_eq!(*byte, MASK, "{} in {}", at, String::from_utf8_lossy(&output)),
                None => prop_assert_eq!(*byte, text[at], "{} in {}", at, String::from_utf8_lossy(&output)),
            }
        }
    }

    #[test]
    fn a_value_is_masked_right_behind_anything(
        value in value(8..40),
        before in prop_oneof![vec(select(LETTERS), 0..20), escapes()],
        spellings in vec(0..=PLAIN, 40),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let (spelled, _) = spell(&value, &Spelling::Characters(spellings));
        let text = [&before[..], &spelled].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let output = screened(&[&value], &text, &cuts, Patience::Whole);
        prop_assert!(output[before.len()..].iter().all(|byte| *byte == MASK), "{}", String::from_utf8_lossy(&output));
    }

    #[test]
    fn a_value_is_masked_in_whichever_field_it_stands_and_no_other_is_changed(
        value in value(8..40),
        spellings in vec(0..=PLAIN, 40),
        others in vec(vec(select(&b"abcdefghij0123456789 ;,=%\\&"[..]), 0..40), 1..8),
        place in any::<Index>(),
    ) {
        let (spelled, _) = spell(&value, &Spelling::Characters(spellings));
        let place = place.index(others.len());
        let mut fields = Fields::default();
        for (at, other) in others.iter().enumerate() {
            let value = if at == place { [&other[..], b" ", &spelled, b" "].concat() } else { other.clone() };
            fields.push(format!("x-{at}").as_bytes(), &value);
        }
        let patterns = Arc::new(Patterns::new(&[Secret::new(&value[..])]));
        prop_assert!(mask_fields(&patterns, &mut fields) >= 1);
        for ((at, other), field) in others.iter().enumerate().zip(fields.iter()) {
            let name = format!("x-{at}");
            prop_assert_eq!(field.name, name.as_bytes());
            let covered = vec![MASK; spelled.len()];
            let whole = if at == place { [&other[..], b" ", &covered, b" "].concat() } else { other.clone() };
            prop_assert_eq!(field.value.trim_ascii(), whole.trim_ascii());
        }
        prop_assert_eq!(mask_fields(&patterns, &mut fields), 0, "nothing is left to mask");
    }

    #[test]
    fn base64_is_masked_over_lines_of_any_length_if_its_beginning_stands_in_one(
        value in value(8..200),
        before in 0..9_usize,
        width in 44..80_usize,
        end in select(vec!["\n", "\r\n", "\\n", "\\r\\n", "%0D%0A", "&#10;"]),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let encoded = STANDARD.encode([&b"!surround"[..before], &value].concat());
        let lines: Vec<&str> = encoded.as_bytes().chunks(width).map(|line| str::from_utf8(line).expect("ASCII")).collect();
        let text = lines.join(end);
        let place = |digit: usize| digit + digit / width * end.len();
        let (first, last) = ((8 * before).div_ceil(6), 8 * (before + value.len()) / 6 - 1);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let output = screened(&[&value], text.as_bytes(), &cuts, Patience::Whole);
        let masked = &output[place(first)..=place(last)];
        prop_assert!(masked.iter().all(|byte| *byte == MASK), "{}", String::from_utf8_lossy(&output));
        prop_assert_eq!(&output[..place(first)], &text.as_bytes()[..place(first)]);
        prop_assert_eq!(&output[place(last) + 1..], &text.as_bytes()[place(last) + 1..]);
    }

    #[test]
    fn what_is_read_at_once_is_what_is_read_at_length(bytes in escapes()) {
        let text = Text { held: b"", fresh: &bytes, is_last: false };
        for at in (0..bytes.len()).filter(|at| is_lead(bytes[*at])) {
            if let Some(read) = plain(&bytes[at..]) {
                prop_assert_eq!(read, settled(text, at), "{}", String::from_utf8_lossy(&bytes[at..]));
            }
        }
    }

    #[test]
    fn a_text_without_values_passes_as_it_is(
        values in vec(value(8..300), 1..6),
        text in prop_oneof![vec(select(LETTERS), 0..2000), escapes()],
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(screened(&values, &text, &cuts, Patience::Whole), text);
    }
}

#[test]
fn each_form_is_masked_and_lengths_stay() {
    let value = ["s3cret/+token=="];
    for (text, expected) in [
        ("a s3cret/+token== b", "a *************** b"),
        (r#"{"t":"s3cret\/+token=="}"#, r#"{"t":"****************"}"#),
        ("t=s3cret%2F%2btoken%3D%3d&", "t=***********************&"),
        (r"\u0073\u0033cret%2f\u002Btoken==", "********************************"),
        ("s3cret/+token=", "s3cret/+token="),
        ("s3crets3cret/+token==", "s3cret***************"),
        ("c3Ozz", "c3Ozz"),
    ] {
        assert_eq!(masked(&value, text), expected);
    }
    assert_eq!(masked(&value, &STANDARD.encode(value[0])), "********************");
    assert_eq!(masked(&value, &STANDARD.encode("x:s3cret/+token==")), "eDp*******************0=");
}

#[test]
fn base64_is_masked_over_the_ends_of_lines() {
    let value = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let encoded = STANDARD.encode(value);
    let piece = &encoded[..40];
    let patterns = Arc::new(Patterns::new(&[Secret::from(value)]));
    let mut screen = Screen::new(patterns, Patience::Whole);
    for text in [piece, &"\n".repeat(1000)] {
        let mut fresh = text.as_bytes();
        while !fresh.is_empty() {
            match screen.show(fresh, false) {
                Shown::Bytes(bytes) => {
                    let count = bytes.len();
                    fresh = &fresh[screen.take(count, fresh)..];
                }
                Shown::Wait => {
                    screen.hold(fresh);
                    fresh = b"";
                }
            }
        }
    }
    assert!(screen.held() < 400, "no end of lines is waited for: {}", screen.held());
    for (end, escaped) in [("\n", "\n"), ("\r\n", "\r\n"), ("\n", "\\n"), ("\r\n", "\\r\\n"), ("\n", "%0A")] {
        let lines = |end: &str| format!("{}{end}{}", &encoded[..60], &encoded[60..]);
        let text = lines(escaped);
        let whole = masked(&[value], &format!("<{text}>"));
        assert!(whole.trim_matches(['<', '>', '=']).bytes().all(|byte| byte == MASK), "{end:?}: {whole}");
    }
}

#[test]
fn what_was_escaped_before_it_was_encoded_is_masked() {
    let value = "s3cret/+\"token\"==";
    let json = serde_json::json!({ "say": value }).to_string();
    for document in
        [json.clone(), json.replace('/', "\\/"), "say=s3cret%2F%2B%22token%22%3D%3D&more".to_owned()]
    {
        let text = masked(&[value], &STANDARD.encode(&document));
        let stars = text.bytes().filter(|byte| *byte == MASK).count();
        assert!(stars >= value.len() * 4 / 3, "{document}: {text}");
    }
}

#[test]
fn a_space_is_known_as_forms_write_it() {
    for spelled in ["correct+horse+b%26ttery", "correct%20horse b&ttery"] {
        let shown = format!("p={}&x", "*".repeat(spelled.len()));
        assert_eq!(masked(&["correct horse b&ttery"], &format!("p={spelled}&x")), shown);
    }
    assert_eq!(masked(&["horse+battery"], "horse battery"), "horse battery");
}

#[test]
fn values_that_overlap_are_masked_from_the_first_byte_to_the_last() {
    let values = ["abcdefgh", "efghijkl", "abcdefghijklmnop", "efghXXXXXXXX"];
    for (text, expected) in [
        ("abcdefghijkl.", "************."),
        ("abcdefghijklmnop.", "****************."),
        ("abcdefghijklmno.", "************mno."),
        ("abcdefghXXXXXXXX", "****************"),
        ("abcdefghXXXXXXX.", "********XXXXXXX."),
        ("abcdefghabcdefgh", "****************"),
        ("abcdefg", "abcdefg"),
    ] {
        assert_eq!(masked(&values, text), expected);
    }
}

#[test]
fn a_value_with_signs_of_escapes_in_it_is_masked_as_it_is_and_escaped() {
    let value = [r"a\b%41c\\u0041%"];
    for text in [
        r"a\b%41c\\u0041%",
        r"a\\b%41c\\\\u0041%",
        r"a%5Cb%2541c%5C%5Cu0041%25",
        r"\u0061\u005cb%2541c\\%5cu0041\u0025",
    ] {
        assert_eq!(masked(&value, text), "*".repeat(text.len()), "{text}");
    }
}

#[test]
fn a_character_beyond_ascii_is_masked_in_json_and_percent_escapes() {
    for text in ["pässwörd😀", "p\\u00e4ssw\\u00F6rd\\ud83d\\ude00", "p%C3%A4ssw%c3%b6rd%F0%9f%98%80"] {
        let output = screened(&["pässwörd😀".as_bytes()], text.as_bytes(), &[], Patience::Whole);
        assert_eq!(output, vec![MASK; text.len()], "{text}");
    }
}

#[test]
fn a_long_escape_and_one_of_several_bytes_may_stand_in_one_run_of_four() {
    // A short value makes all windows short.
    let values = ["tüäöß-secret", "shorter1"];
    for text in ["\\u007\\x34üäöß-secret", "\\u007\\x34ü\\u00E4öß-secret", "&#x000074;ü&#xe4;ö&#223;-secret"]
    {
        assert_eq!(masked(&values, text), "*".repeat(text.len()), "{text}");
    }
}

#[test]
fn what_was_kept_back_without_a_look_is_looked_through_with_what_follows() {
    let patterns = Arc::new(Patterns::new(&[Secret::from("0123456789abcdef")]));
    let (kept, fresh) = ("x".repeat(1000) + "0123456789abcdef%30", "123456789abcdef and more");
    let mut screen = Screen::new(patterns, Patience::Whole);
    screen.hold(kept.as_bytes());
    assert!(screen.sees_value(fresh.as_bytes(), true));
    let mut output = Vec::new();
    while output.len() < kept.len() + fresh.len() {
        let rest = &fresh.as_bytes()[output.len().saturating_sub(kept.len())..];
        let Shown::Bytes(bytes) = screen.show(rest, true) else { panic!("nothing follows") };
        let count = bytes.len();
        output.extend_from_slice(bytes);
        screen.take(count, rest);
    }
    let expected = "x".repeat(1000) + &"*".repeat(34) + " and more";
    assert_eq!(String::from_utf8(output).expect("text"), expected);
}

#[test]
fn of_lively_texts_only_eight_bytes_of_a_value_wait_for_the_rest() {
    let patterns = Arc::new(Patterns::new(&[Secret::from("0123456789abcdef")]));
    let mut screen = Screen::new(patterns, Patience::Lively);
    let piece = b"data: 0123456";
    assert_eq!(screen.show(piece, false), Shown::Bytes(piece));
    assert_eq!(screen.take(piece.len(), piece), piece.len());
    assert_eq!(screen.show(b"7", false), Shown::Wait);
    screen.hold(b"7");
    assert_eq!(screen.show(b"89abcde", false), Shown::Wait);
    screen.hold(b"89abcde");
    assert_eq!(screen.show(b"f\n", false), Shown::Bytes(b"*********"));
    assert_eq!(screen.take(9, b"f\n"), 1);
    assert_eq!(screen.show(b"\n", false), Shown::Bytes(b"\n"));
    assert_eq!(screen.found(), 1);
}

#[test]
fn short_values_are_not_looked_for() {
    let text = "1234567 \\u0031%32 MTIzNDU2Nw==";
    assert_eq!(masked(&["1234567", ""], text), text);
    assert_eq!(masked(&[], text), text);
}

#[test]
fn nothing_is_shown_of_a_set_of_patterns() {
    let patterns = Patterns::new(&[Secret::from("hunter2hunter2")]);
    assert!(!format!("{patterns:?}").contains("hunter2"));
}

#[test]
fn a_value_of_any_bytes_is_masked_as_it_is() {
    let first = b"a\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x001".as_slice();
    let second = b"=0u2c\t?a%\\0aaaa\x001\\=0u2c\t?a%\\0an==\xf7\x00\x02\x03\t{\"\x02\x03\t#\"tcre\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\t\xdd/+token==\xf7\x00\x02\x03\t{\"t\":\"sa".as_slice();
    for values in [&[first][..], &[second], &[first, second]] {
        let text = values.concat();
        assert_eq!(screened(values, &text, &[], Patience::Whole), vec![MASK; text.len()], "{}", values.len());
        let text = b"aaa'\x00\xce\xce\xce\x00\x00\x00\x00\x00aaaaa%5C+u0037";
        let around = [&text[..], first, &text[..]].concat();
        let output = screened(values, &around, &[], Patience::Whole);
        assert!(
            values.iter().all(|value| !output.windows(value.len()).any(|window| window == *value)),
            "{values:?}"
        );
    }
}

/// How much of a processor's time a text in a body takes that comes in pieces of so many bytes: what else the machine
/// does is not in it.
fn time_of(value: &str, text: &[u8], piece: usize) -> Duration {
    let cuts: Vec<usize> = (piece..text.len()).step_by(piece).collect();
    let used = || -> Duration { clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default() };
    let before = used();
    assert_eq!(screened(&[value.as_bytes()], text, &cuts, Patience::Whole).len(), text.len());
    used() - before
}

#[test]
fn signs_of_escapes_without_end_cost_no_more_than_other_text() {
    const LENGTH: usize = 20_000;
    // A build for tests takes less than a second for each of these; what is read anew from each sign on takes minutes.
    for value in ["cnry-7f3a9e51-4b8c", r"p%2Fa\b&c%25d&amp;e"] {
        for unit in [
            "\\",
            "%",
            "&",
            "%25",
            "\\u005c",
            "&amp;",
            "&#38;",
            "&#0000038;",
            "\\\\u005c",
            "%5cu0026amp;%2525",
        ] {
            let text = unit.repeat(LENGTH / unit.len());
            let taken = time_of(value, text.as_bytes(), 16 * 1024);
            assert!(taken < Duration::from_secs(10), "{unit} and {value}: {taken:?}");
        }
    }
}

#[test]
fn what_may_be_a_value_is_not_read_anew_with_each_byte() {
    let value: String = ('!'..='~').filter(|sign| !"%\\&".contains(*sign)).cycle().take(4000).collect();
    for escape in [|byte: u8| format!("%25{byte:02x}"), |byte: u8| format!("\\u{byte:04x}")] {
        let text: String = value.bytes().map(escape).collect();
        let (at_once, one_by_one) =
            (time_of(&value, text.as_bytes(), text.len()), time_of(&value, text.as_bytes(), 1));
        assert!(one_by_one < 50 * at_once.max(Duration::from_millis(10)), "{one_by_one:?} and {at_once:?}");
    }
}
