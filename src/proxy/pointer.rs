//! Reading values out of the beginning of a JSON document.
//!
//! An answer may be longer than what is looked at, so the document may break off anywhere: what
//! stands whole before the break is found, and nothing is guessed. Reading ends with the last value that
//! is asked for, so that an answer which tells it first does not wait for the rest.

use std::borrow::Cow;

use serde_json::Value;

/// What the beginning of a document says about a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One of the tests holds.
    Holds,
    /// None can hold, whatever follows.
    Fails,
    /// It depends on what follows.
    Open,
}

/// Whether `beginning` has, at one of the pointers (RFC 6901), one of the values that stand with it.
pub fn test(beginning: &[u8], tests: &[(String, Vec<Value>)]) -> Verdict {
    let unseen = tests.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let mut reader = Reader { bytes: beginning, at: 0, tests, unseen, path: Vec::new(), found: false };
    match reader.value() {
        _ if reader.found => Verdict::Holds,
        Ok(()) | Err(Stop::Malformed | Stop::Settled) => Verdict::Fails,
        Err(Stop::End) => Verdict::Open,
    }
}

/// Why reading stopped before the document's end.
enum Stop {
    /// The bytes ended.
    End,
    /// This is not JSON.
    Malformed,
    /// All that is asked for was there.
    Settled,
}

/// Deeper documents are not looked into.
const MAXIMUM_DEPTH: usize = 64;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    tests: &'a [(String, Vec<Value>)],
    /// The pointers at which nothing was found yet.
    unseen: Vec<&'a str>,
    /// The reference tokens that lead to the value at hand, unescaped.
    path: Vec<String>,
    found: bool,
}

impl Reader<'_> {
    fn peek(&mut self) -> Result<u8, Stop> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().ok_or(Stop::End)
    }

    fn value(&mut self) -> Result<(), Stop> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => drop(self.string()?),
            _ => self.literal()?,
        }
        self.judge(start)
    }

    /// Compares the value that began at `start` and ended here.
    fn judge(&mut self, start: usize) -> Result<(), Stop> {
        let here = |pointer: &str| {
            let mut tokens = self.path.iter();
            let mut parts = pointer.split('/').skip(1);
            parts.all(|part| tokens.next().is_some_and(|token| *token == unescape(part)))
                && tokens.next().is_none()
        };
        let wanted: Vec<&(String, Vec<Value>)> =
            self.tests.iter().filter(|(pointer, _)| here(pointer)).collect();
        if !wanted.is_empty() {
            let value: Value =
                serde_json::from_slice(&self.bytes[start..self.at]).map_err(|_| Stop::Malformed)?;
            let is_met = |values: &[Value]| values.iter().any(|wanted| is_equal(wanted, &value));
            self.found |= wanted.iter().any(|(_, values)| is_met(values));
            self.unseen.retain(|pointer| !wanted.iter().any(|(wanted, _)| wanted == pointer));
            if self.found || self.unseen.is_empty() {
                return Err(Stop::Settled);
            }
        }
        Ok(())
    }

    fn object(&mut self) -> Result<(), Stop> {
        self.at += 1;
        if self.path.len() >= MAXIMUM_DEPTH {
            return Err(Stop::Malformed);
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek()? != b'"' {
                return Err(Stop::Malformed);
            }
            let key = self.string()?;
            self.expect(b':')?;
            self.path.push(key);
            self.value()?;
            self.path.pop();
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self) -> Result<(), Stop> {
        self.at += 1;
        if self.path.len() >= MAXIMUM_DEPTH {
            return Err(Stop::Malformed);
        }
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        for index in 0_usize.. {
            self.path.push(index.to_string());
            self.value()?;
            self.path.pop();
            if !self.goes_on(b']')? {
                break;
            }
        }
        Ok(())
    }

    /// Steps over a comma, or over the end of an object or array.
    fn goes_on(&mut self, end: u8) -> Result<bool, Stop> {
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => Ok(true),
            next if next == end => Ok(false),
            _ => Err(Stop::Malformed),
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.peek()? != wanted {
            return Err(Stop::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<String, Stop> {
        let start = self.at;
        let mut at = start + 1;
        loop {
            let offset =
                memchr::memchr2(b'"', b'\\', &self.bytes[at.min(self.bytes.len())..]).ok_or(Stop::End)?;
            at += offset;
            if self.bytes[at] == b'"' {
                break;
            }
            at += 2;
        }
        self.at = at + 1;
        serde_json::from_slice(&self.bytes[start..self.at]).map_err(|_| Stop::Malformed)
    }

    /// A number, `true`, `false` or `null`: whole only if something follows.
    fn literal(&mut self) -> Result<(), Stop> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = self.bytes[self.at..].iter().take_while(|byte| is_part(byte)).count();
        if length == 0 {
            return Err(Stop::Malformed);
        }
        self.at += length;
        // A document may be one literal, but then it is no answer that refuses.
        if self.at == self.bytes.len() { Err(Stop::End) } else { Ok(()) }
    }
}

fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

/// Equal, where numbers are equal by value and a number may stand as text.
fn is_equal(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Number(wanted), Value::Number(value)) => wanted.as_f64() == value.as_f64(),
        (Value::Number(wanted), Value::String(text)) => text.trim() == wanted.to_string(),
        _ => wanted == value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Verdict, test};

    fn tests() -> Vec<(String, Vec<Value>)> {
        vec![
            ("/responseCode".into(), vec![json!(403), json!(401)]),
            ("/error/0/a~1b".into(), vec![json!("dead")]),
        ]
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        for (document, verdict) in [
            (r#"{"responseCode":403}"#, Verdict::Holds),
            (r#" {"a":[1,{"b":"}"}], "responseCode" : 401.0 , "x":1}"#, Verdict::Holds),
            (r#"{"responseCode":"403"}"#, Verdict::Holds),
            (r#"{"responseCode":"200"}"#, Verdict::Fails),
            (r#"{"a":{},"b":[],"responseCode":403}"#, Verdict::Holds),
            (r#"{"a":[1},"responseCode":403}"#, Verdict::Fails),
            (r#"{"error":[{"a/b":"dead"}]}"#, Verdict::Holds),
            (r#"{"response\u0043ode":403}"#, Verdict::Holds),
            (r#"{"responseCode":200}"#, Verdict::Fails),
            (r#"{"data":{"responseCode":403}}"#, Verdict::Fails),
            (r#"{"text":"\"responseCode\":403"}"#, Verdict::Fails),
            (r#"[{"responseCode":403}]"#, Verdict::Fails),
            ("<html>", Verdict::Fails),
            ("{]", Verdict::Fails),
        ] {
            assert_eq!(test(document.as_bytes(), &tests()), verdict, "{document}");
        }
    }

    #[test]
    fn a_document_that_has_told_all_that_is_asked_for_needs_no_end() {
        let code = [("/responseCode".to_owned(), vec![json!(403)])];
        for (beginning, verdict) in [
            (r#"{"responseCode":200,"data":["#, Verdict::Fails),
            (r#"{"a":{"responseCode":200},"data":["#, Verdict::Open),
            (r#"{"responseCode":403,"data":["#, Verdict::Holds),
            // A number may go on.
            (r#"{"responseCode":403"#, Verdict::Open),
        ] {
            assert_eq!(test(beginning.as_bytes(), &code), verdict, "{beginning}");
        }
        assert_eq!(test(br#"{"responseCode":200,"data":["#, &tests()), Verdict::Open);
    }

    #[test]
    fn a_document_that_breaks_off_is_judged_by_what_stands_whole() {
        let document = r#"{"list":[1,2,{"k":"v\"w"}],"responseCode":403,"data":"long"}"#;
        let known = document.find(",\"data").expect("there");
        for end in 0..document.len() {
            let verdict = test(&document.as_bytes()[..end], &tests());
            assert_eq!(verdict, if end > known { Verdict::Holds } else { Verdict::Open }, "{end}");
        }
        assert_eq!(test(br#"{"responseCode":40"#, &tests()), Verdict::Open);
    }
}
