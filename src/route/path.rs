//! Paths: which are refused, and the form in which token endpoints are compared.
//!
//! A path passes as it was sent, byte for byte. What two servers could read in two ways is refused,
//! so that the path that was matched here is the path that the upstream serves.

use std::fmt;

/// Why a path is refused with `path_ambiguous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    /// A `.` or `..` segment, in any spelling.
    DotSegment,
    /// A backslash, raw or encoded: some servers take it for a slash.
    Backslash,
    /// An encoded slash on a route that does not let it pass.
    EncodedSlash,
    /// A control character, encoded or raw.
    Control,
    /// A `%` that two hexadecimal digits do not follow.
    BrokenEscape,
    /// Escapes that spell a character in more bytes than UTF-8 needs.
    Overlong,
    /// A parameter (what follows a `;`) with a slash, backslash, `?` or `#` in it that is encoded, in any
    /// spelling: to servers that cut parameters off before they decode, the segment or the path ends elsewhere.
    EndInParameter,
    /// A raw `#`.
    Fragment,
    /// A subject that would decode a second time.
    EncodedTwice,
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DotSegment => "the path has a dot segment",
            Self::Backslash => "the path has a backslash",
            Self::EncodedSlash => "the path has an encoded slash",
            Self::Control => "the path has a control character",
            Self::BrokenEscape => "the path has a broken percent escape",
            Self::Overlong => "the path has an overlong UTF-8 sequence",
            Self::EndInParameter => "the path has a parameter with an encoded slash, backslash, `?` or `#`",
            Self::Fragment => "the target has a `#`",
            Self::EncodedTwice => "the segment of the subject is encoded twice",
        })
    }
}

/// Bytes that need a closer look: `%`, `\`, `#`, `;` and controls. A dot counts only behind a slash.
const SUSPICIOUS: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = false;
        byte += 1;
    }
    table[b'%' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'#' as usize] = true;
    table[b';' as usize] = true;
    table
};

/// What the gate saw of a path that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nothing in it has a second spelling but the case of letters and the number of slashes.
    pub plain: bool,
    /// It has an encoded slash, which only some routes let pass.
    pub encoded_slash: bool,
}

/// Refuses a path that two servers could read in two ways.
pub fn check(path: &str) -> Result<Shape, Ambiguity> {
    let mut before = 0;
    for &byte in path.as_bytes() {
        if SUSPICIOUS[usize::from(byte)] || (byte == b'.' && before == b'/') {
            return check_closely(path);
        }
        before = byte;
    }
    Ok(Shape { plain: true, encoded_slash: false })
}

fn check_closely(path: &str) -> Result<Shape, Ambiguity> {
    if path.contains('#') {
        return Err(Ambiguity::Fragment);
    }
    let once = decode(path.as_bytes())?;
    if is_overlong(&once) {
        return Err(Ambiguity::Overlong);
    }
    if once.iter().any(u8::is_ascii_control) {
        return Err(Ambiguity::Control);
    }
    if once.contains(&b'\\') {
        return Err(Ambiguity::Backslash);
    }
    let slashes = |bytes| memchr::memchr_iter(b'/', bytes).count();
    let encoded_slash = slashes(&once) != slashes(path.as_bytes());
    // A server that decodes twice must not find what one that decodes once does not.
    let stable = decode_until_stable(&once);
    if stable.iter().any(u8::is_ascii_control) {
        return Err(Ambiguity::Control);
    }
    if is_overlong(&stable) {
        return Err(Ambiguity::Overlong);
    }
    let is_dots = |segment: &[u8]| matches!(without_parameters(segment), b"." | b"..");
    if stable.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots) {
        return Err(Ambiguity::DotSegment);
    }
    if path.as_bytes().split(|byte| *byte == b'/').any(has_end_in_parameter) {
        return Err(Ambiguity::EndInParameter);
    }
    Ok(Shape { plain: false, encoded_slash })
}

/// Whether a segment that is decoded to its end has, behind a semicolon, what ends a segment or a path.
fn has_end_in_parameter(segment: &[u8]) -> bool {
    // Most have no second spelling.
    if memchr::memchr(b'%', segment).is_none() {
        return false;
    }
    let stable = decode_until_stable(segment);
    let parameters = memchr::memchr(b';', &stable).map_or(&b""[..], |start| &stable[start..]);
    parameters.iter().any(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#'))
}

/// The form in which denied endpoints are compared: one that any server might make of the path.
///
/// Decoded until stable, backslashes as slashes, without differences of letter case or width, parameters cut off each segment, dot
/// segments resolved, slashes merged, the trailing slash cut; so are spaces and dots at the end of a segment,
/// which some file systems do not tell, and an extension of the last one, which some frameworks take for the
/// wanted format (`/token.json`). The root is the empty text.
pub fn canonical(path: &str) -> String {
    let stable = decode_until_stable(path.as_bytes());
    let stable = folded(&String::from_utf8_lossy(&stable)).into_bytes();
    // A server that decodes before it looks for the query, or the fragment, finds one here.
    let end = memchr::memchr2(b'?', b'#', &stable).unwrap_or(stable.len());
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in stable[..end].split(|byte| matches!(byte, b'/' | b'\\')) {
        match without_parameters(segment) {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            other => segments.extend(Some(without_padding(other)).filter(|segment| !segment.is_empty())),
        }
    }
    while let Some(last) = segments.pop().map(without_extensions) {
        if !last.is_empty() {
            segments.push(last);
            break;
        }
    }
    segments.iter().flat_map(|segment| ["/".into(), String::from_utf8_lossy(segment)]).collect()
}

/// All that any server might take a path for: its canonical form first, and then what is left of it where a script
/// is named on the way, or the index of a folder. It may be the script that is called, with what follows as its argument (`PATH_INFO`, RFC
/// 3875, section 4.1.5: `/token.php/x`), or stand for the whole application (`/index.php/token`).
pub fn readings(path: &str) -> Vec<String> {
    let whole = canonical(path);
    let segments: Vec<&str> = whole.split('/').collect();
    let scripts = segments.iter().enumerate().filter(|(_, segment)| is_script(segment));
    let parts = scripts.flat_map(|(at, _)| {
        let others = [&segments[..at], &segments[at + 1..]].concat();
        [segments[..=at].join("/"), others.join("/")]
    });
    let parts = parts.chain(whole.strip_suffix(INDEX).map(str::to_owned));
    let parts: Vec<String> = parts.map(|part| canonical(&part)).collect();
    [vec![whole], parts].concat()
}

/// What many servers and frameworks serve for the segment before it.
pub const INDEX: &str = "/index";

/// Whether a segment is the name of a program as servers call them.
fn is_script(segment: &str) -> bool {
    const EXTENSIONS: [&str; 16] = [
        "php", "php5", "php7", "phtml", "cgi", "fcgi", "pl", "py", "rb", "asp", "aspx", "ashx", "jsp", "do",
        "action", "html",
    ];
    segment.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

/// Everything behind the first `;` of a segment is a parameter to some servers (RFC 3986, section 3.3). A server
/// that decodes before it looks for the query, or the fragment, finds one behind an encoded `?` or `#`.
fn without_parameters(segment: &[u8]) -> &[u8] {
    memchr::memchr3(b';', b'?', b'#', segment).map_or(segment, |end| &segment[..end])
}

/// A text without differences of letter case, in both directions, since there are letters that become others only
/// in one (`ſ` is `S` in upper case), and with letters of full width as those of ASCII, which some systems take for
/// the same.
fn folded(text: &str) -> String {
    let narrow = text.chars().map(|character| match character {
        // Decoding is over.
        '\u{ff05}' => character,
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        _ => character,
    });
    narrow.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// A segment as a file system has it that does not tell spaces and dots at the end of a name; a `+` is a space to
/// those who read a path as they read a form.
fn without_padding(segment: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(segment);
    let is_padding =
        |character: char| character.is_whitespace() || matches!(character, '.' | '+' | '\u{200b}');
    let end = text.trim_end_matches(is_padding).len();
    let start = end - text[..end].trim_start_matches(char::is_whitespace).len();
    segment.get(start..end).unwrap_or(segment)
}

/// A segment without extensions of a few letters.
fn without_extensions(mut segment: &[u8]) -> &[u8] {
    while let Some(dot) = memchr::memrchr(b'.', segment)
        && is_extension(&segment[dot + 1..])
    {
        segment = without_padding(&segment[..dot]);
    }
    segment
}

fn is_extension(text: &[u8]) -> bool {
    text.len() <= LONGEST_EXTENSION && text.iter().all(u8::is_ascii_alphabetic)
}

/// Letters of an extension: `.action` is the longest in use.
const LONGEST_EXTENSION: usize = 6;

fn decode(bytes: &[u8]) -> Result<Vec<u8>, Ambiguity> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = if *first == b'%' {
            let (byte, tail) = escape(tail).ok_or(Ambiguity::BrokenEscape)?;
            decoded.push(byte);
            tail
        } else {
            decoded.push(*first);
            tail
        };
    }
    Ok(decoded)
}

/// The byte of an escape whose `%` was read, and what follows it.
fn escape(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((16 * digit(*high)? + digit(*low)?, tail))
}

/// Decodes as long as there is something to decode; broken escapes stay as they are.
///
/// In one pass, since `%252525..` would take one for every two bytes: a byte that completes an escape at the
/// end of what was decoded is decoded with it. No two escapes overlap, so that the order is of no consequence.
fn decode_until_stable(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        decoded.push(byte);
        while let [.., b'%', high, low] = decoded[..]
            && let Some((byte, _)) = escape(&[high, low])
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}

/// Whether the bytes spell a character in more bytes than needed (RFC 3629, section 3): lead bytes
/// C0 and C1, E0 before a byte under A0, F0 before a byte under 90, and the five and six bytes that
/// began with F8 and FC before UTF-8 was cut to four.
fn is_overlong(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
        || bytes.windows(2).any(|pair| {
            matches!(pair, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f] | [0xf8..=0xfd, 0x80..=0xbf])
        })
}

#[cfg(test)]
mod tests {
    use super::{Ambiguity, Shape, canonical};

    /// The gate of a route that lets encoded slashes pass, or does not.
    fn check(path: &str, encoded_slash: bool) -> Result<(), Ambiguity> {
        match super::check(path)? {
            Shape { encoded_slash: true, .. } if !encoded_slash => Err(Ambiguity::EncodedSlash),
            _ => Ok(()),
        }
    }

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/a/b",
            "//a//b/",
            "/file.json",
            "/a..b/c.",
            "/...",
            "/.well-known/x",
            "/a;v=1/b",
            "/a%20b",
            "/%C3%A9",
            "/a+b",
            "/100%25",
            "/a%252fb",
            "/~x/(y)*'!$&,=:@",
            "/%7Euser",
            "/a/..b",
            "/a;..",
        ] {
            assert_eq!(check(path, false), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_two_servers_could_read_in_two_ways_is_refused() {
        use Ambiguity::{
            Backslash, BrokenEscape, Control, DotSegment, EncodedSlash, EndInParameter, Fragment, Overlong,
        };
        for (path, why) in [
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("/a/%2e", DotSegment),
            ("/a/..;/b", DotSegment),
            ("/a/..;x=1/b", DotSegment),
            ("/a/%2e%2e;x/b", DotSegment),
            ("/a/..%3b/b", DotSegment),
            ("/a/%252e%252e/b", DotSegment),
            ("/a/%25252e%25252e/b", DotSegment),
            ("/a/..%252fb", DotSegment),
            ("/a/..%255cb", DotSegment),
            ("/a\\b", Backslash),
            ("/a%5cb", Backslash),
            ("/a%5Cb", Backslash),
            ("/a%2fb", EncodedSlash),
            ("/a%2Fb", EncodedSlash),
            ("/a%00b", Control),
            ("/a%0d%0ab", Control),
            ("/a%7f", Control),
            ("/a%250a", Control),
            ("/a%", BrokenEscape),
            ("/a%2", BrokenEscape),
            ("/a%zz", BrokenEscape),
            ("/a%u002e", BrokenEscape),
            ("/%c0%ae%c0%ae/", Overlong),
            ("/%e0%80%af", Overlong),
            ("/%f0%80%80%af", Overlong),
            ("/%25c0%25af", Overlong),
            ("/%f8%80%80%80%af", Overlong),
            ("/%fc%80%80%80%80%af", Overlong),
            ("/a#b", Fragment),
            ("/token;%252fx", EndInParameter),
            ("/token%3b%252f", EndInParameter),
            ("/a;x=%255c", EndInParameter),
            ("/;%3f/token", EndInParameter),
            ("/;%23/token", EndInParameter),
            ("/a%3b%253F", EndInParameter),
        ] {
            assert_eq!(check(path, false), Err(why), "{path}");
        }
    }

    #[test]
    fn only_what_has_one_spelling_is_plain() {
        let shape = |path| super::check(path).map(|shape| shape.plain);
        for (path, plain) in
            [("/a.b/c-d", true), ("//a", true), ("/.a", false), ("/a;b", false), ("/%61", false)]
        {
            assert_eq!(shape(path), Ok(plain), "{path}");
        }
    }

    #[test]
    fn each_reason_of_a_refusal_is_told_in_its_own_words() {
        use Ambiguity::{
            Backslash, BrokenEscape, Control, DotSegment, EncodedSlash, EncodedTwice, EndInParameter,
            Fragment, Overlong,
        };
        let all = [
            DotSegment,
            Backslash,
            EncodedSlash,
            Control,
            BrokenEscape,
            Overlong,
            EndInParameter,
            Fragment,
            EncodedTwice,
        ];
        let words: std::collections::BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), all.len());
        assert!(words.iter().all(|words| words.starts_with("the ")));
    }

    #[test]
    fn an_encoded_slash_passes_where_the_route_says_so_but_not_as_a_way_out() {
        assert_eq!(check("/a%2fb", true), Ok(()));
        assert_eq!(check("/a%2f..%2fb", true), Err(Ambiguity::DotSegment));
        assert_eq!(check("/..%2fb", true), Err(Ambiguity::DotSegment));
        assert_eq!(check("/token;%2fx", true), Err(Ambiguity::EndInParameter));
        assert_eq!(check("/a%2fb;x", true), Ok(()));
    }

    #[test]
    fn the_canonical_form_is_one_for_all_spellings() {
        for path in [
            "/user/login",
            "/user/login/",
            "//user//login",
            "/USER/Login",
            "/user;a=b/login;c",
            "/us%65r/login",
            "/us%2565r/login",
            "/user%2flogin",
            "/user\\login",
            "/x/../user/./login",
            "/user/login;jsessionid=1/",
            "/user/login%3fa=b",
            "/user/login%23a",
            "/user/login%3f%2fa%2f",
            "/user/login%2520",
            "/user/login.",
            "/user%20./%20login. .",
            "/user/login.json",
            "/user/login.Action",
            "/user/login+",
            "/user/login%c2%a0",
            "/user/login%e2%80%8b",
            "/u%C5%BFer/login",
            "/%ef%bd%95ser/%EF%BC%ACogin",
            "/user/login/.json",
        ] {
            assert_eq!(canonical(path), "/user/login", "{path}");
        }
        for path in ["/user/login.v2", "/user/log.in.x", "/user/logins", "/user.d/login", "/user/.login"] {
            assert_ne!(canonical(path), "/user/login", "{path}");
        }
        let wide = canonical("/user\u{ff05}2flogin");
        assert_eq!(
            (wide.as_str(), canonical(&wide)),
            ("/user\u{ff05}2flogin", wide.clone()),
            "decoding is over"
        );
        assert_eq!(canonical("/"), "");
        assert_eq!(canonical(""), "");
    }

    #[test]
    fn a_script_on_the_way_may_be_what_is_called_or_stand_for_all() {
        for path in [
            "/user/login",
            "/index.php/user/login",
            "/user/index.php/login",
            "/user/login.php/x/y",
            "/USER/Login.PHP/",
            "/user/login/index.html",
            "/user/login/Index",
            "/%69ndex.p%68p//user/login;x",
        ] {
            assert!(super::readings(path).contains(&"/user/login".to_owned()), "{path}");
        }
        for path in ["/user/login/x", "/index/user/login", "/user/login.v2/x", "/user.json/login"] {
            assert!(!super::readings(path).contains(&"/user/login".to_owned()), "{path}");
        }
    }

    #[test]
    fn what_is_encoded_many_times_over_is_decoded_in_one_pass_as_in_many() {
        let passes = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            loop {
                let decoded: Vec<u8> = percent_encoding::percent_decode(&bytes).collect();
                if decoded == bytes {
                    return bytes;
                }
                bytes = decoded;
            }
        };
        let pieces = ["%", "25", "2", "5", "2e", "%25", "%32", "%35", "a", "/"];
        for number in 0..pieces.len().pow(5) {
            let digits = (0..5).map(|place| number / pieces.len().pow(place) % pieces.len());
            let text: String = digits.map(|digit| pieces[digit]).collect();
            assert_eq!(super::decode_until_stable(text.as_bytes()), passes(&text), "{text}");
        }
        // Decoded pass by pass, this would take a minute.
        let deep = format!("/%{}2e", "25".repeat(1_000_000));
        assert_eq!(canonical(&deep), "");
    }
}
