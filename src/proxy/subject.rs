//! Whose token a request asks for, and what of its path is left without that.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::credential::Subject;
use crate::credential::owner::Pseudonym;
use crate::http1::RequestHead;
use crate::http1::field::is_same_name;
use crate::proxy::error::{Code, ProxyError};
use crate::route::{Route, SubjectSource, path};

/// What a request asks its route for.
#[derive(Debug)]
pub struct Claim<'head> {
    /// Whose token it wants, where the route asks; it can be a subject.
    pub subject: Option<Cow<'head, str>>,
    /// The segment that told the subject, as it was sent.
    pub segment: Option<&'head str>,
    /// The path behind the route's prefix, without that segment: what is forwarded.
    pub rest: Cow<'head, str>,
}

impl<'head> Claim<'head> {
    /// What a request claims that the route takes, by its head and its path.
    pub fn of(route: &Route, head: &'head RequestHead, path: &'head str) -> Result<Self, ProxyError> {
        let stripped = route.strip(path);
        match route.subject() {
            None => Ok(Self { subject: None, segment: None, rest: stripped.into() }),
            Some(SubjectSource::Header(name)) => {
                let subject = in_field(head, name.as_str())?;
                Ok(Self { subject: Some(subject.into()), segment: None, rest: stripped.into() })
            }
            Some(SubjectSource::Path(number)) => {
                let (before, segment, after) =
                    cut(stripped, *number).ok_or_else(|| missing("the path ends before it"))?;
                let subject = decoded(segment)?;
                let rest = if before.is_empty() { after.into() } else { [before, after].concat().into() };
                Ok(Self { subject: Some(subject), segment: Some(segment), rest })
            }
        }
    }
}

/// The value of the one field of this name. A second one, in any spelling, might be read by someone else.
fn in_field<'head>(head: &'head RequestHead, name: &str) -> Result<&'head str, ProxyError> {
    let mut fields = head.fields.iter().filter(|field| is_same_name(field.name, name.as_bytes()));
    let field = fields.next().ok_or_else(|| missing("the field is missing"))?;
    if fields.next().is_some() {
        return Err(missing("the field stands there twice"));
    }
    if !field.name.eq_ignore_ascii_case(name.as_bytes()) {
        return Err(missing("the field is spelled with an underscore"));
    }
    fit(std::str::from_utf8(field.value).map_err(|_| missing("it is not UTF-8"))?)
}

/// A segment, its escapes decoded once. What would decode a second time has two readings.
fn decoded(segment: &str) -> Result<Cow<'_, str>, ProxyError> {
    let subject = percent_decode_str(segment).decode_utf8().map_err(|_| missing("it is not UTF-8"))?;
    fit(&subject)?;
    if percent_decode_str(&subject).count() != subject.len() {
        return Err(ProxyError::new(Code::PathAmbiguous, path::Ambiguity::EncodedTwice.to_string()));
    }
    Ok(subject)
}

fn fit(subject: &str) -> Result<&str, ProxyError> {
    Subject::check(subject).map_err(|why| missing(&why.to_string()))?;
    Ok(subject)
}

fn missing(why: &str) -> ProxyError {
    ProxyError::new(Code::SubjectMissing, format!("the route asks for whom the request is: {why}"))
}

/// A path cut at its segment of this number, counted from 1: what stands before the segment and its
/// slash, the segment, and what follows.
fn cut(path: &str, number: usize) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    for _ in 1..number {
        start += 1 + path.get(start + 1..)?.find('/')?;
    }
    let behind = path.get(start + 1..)?;
    let end = behind.find('/').unwrap_or(behind.len());
    Some((&path[..start], &behind[..end], &behind[end..]))
}

/// A path as the log may show it: a segment that tells a subject is covered by the subject's pseudonym. What
/// does not begin with the route's prefix, in the form in which it was sent, is not shown further.
pub(super) fn in_log<'path>(route: &Route, path: &'path str) -> Cow<'path, str> {
    let Some(SubjectSource::Path(number)) = route.subject() else { return path.into() };
    let prefix = route.prefix();
    match path.strip_prefix(prefix).and_then(|stripped| cut(stripped, *number)) {
        Some((before, segment, after)) => {
            let pseudonym = Pseudonym::of(&percent_decode_str(segment).decode_utf8_lossy());
            format!("{prefix}{before}/{pseudonym}{after}").into()
        }
        None => format!("{prefix}/").into(),
    }
}

/// Puts a segment back where [`Claim::of`] took it from; `None` if the path ends before.
pub fn put_back(path: &str, number: usize, segment: &str) -> Option<String> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let mut at = 0;
    for _ in 1..number {
        let behind = path.get(at + 1..end)?;
        at += 1 + behind.find('/').unwrap_or(behind.len());
    }
    Some(format!("{}/{segment}{}", &path[..at], &path[at..]))
}

#[cfg(test)]
mod tests {
    use super::{cut, decoded, put_back};
    use crate::proxy::Code;

    #[test]
    fn a_path_is_cut_at_a_segment() {
        for (path, number, pieces) in [
            ("/alice/files", 1, Some(("", "alice", "/files"))),
            ("/alice", 1, Some(("", "alice", ""))),
            ("/v2/alice/files/1", 2, Some(("/v2", "alice", "/files/1"))),
            ("/v2/alice", 2, Some(("/v2", "alice", ""))),
            ("//files", 1, Some(("", "", "/files"))),
            ("/", 1, Some(("", "", ""))),
            ("", 1, None),
            ("/v2", 2, None),
            ("/v2/", 3, None),
        ] {
            assert_eq!(cut(path, number), pieces, "{path} {number}");
        }
    }

    #[test]
    fn what_was_cut_out_is_put_back() {
        for (rest, number, path) in [
            ("/files?x=/", 1, Some("/alice/files?x=/")),
            ("", 1, Some("/alice")),
            ("?x", 1, Some("/alice?x")),
            ("/v2/files#x", 2, Some("/v2/alice/files#x")),
            ("/v2", 2, Some("/v2/alice")),
            ("", 2, None),
            ("?a/b", 2, None),
        ] {
            assert_eq!(put_back(rest, number, "alice").as_deref(), path, "{rest} {number}");
        }
    }

    #[test]
    fn a_segment_is_decoded_once() {
        for (segment, subject) in
            [("alice", "alice"), ("%61lice", "alice"), ("a%20b", "a b"), ("%C3%A4", "ä"), ("100%25", "100%")]
        {
            assert_eq!(decoded(segment).expect("a subject"), subject);
        }
        for (segment, code) in [
            ("%2561lice", Code::PathAmbiguous),
            ("", Code::SubjectMissing),
            ("%ff", Code::SubjectMissing),
            ("a%0ab", Code::SubjectMissing),
        ] {
            assert_eq!(decoded(segment).expect_err("refused").code, code, "{segment}");
        }
    }
}
