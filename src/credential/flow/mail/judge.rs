//! Which messages count, and what is taken from them.

use jiff::{SignedDuration, Timestamp};
use mail_parser::{Address, HeaderName, Message, MessageParser};
use regex_lite::Regex;

use crate::credential::Outputs;
use crate::credential::flow::login::answer::{matched, usable};
use crate::credential::flow::login::{Extract, page};
use crate::credential::flow::mail::MailStep;
use crate::secret::{Secret, SecretBuffer};

/// A message that says to be older than what it is to answer, by more than this, is the late answer to an earlier
/// attempt: those lie an hour apart. Clocks may differ by less.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(30);

/// Tells the messages of a step from all others, and counts these for the one who looks for the mistake.
pub(super) struct Judge<'a> {
    step: &'a MailStep,
    since: Timestamp,
    /// From others.
    foreign: usize,
    /// Written before the message was asked for.
    stale: usize,
    /// About something else, or without what is looked for; and what was missed in the last one.
    unfit: usize,
    missed: Option<String>,
}

impl<'a> Judge<'a> {
    /// A judge of what is asked for from `since` on.
    pub(super) fn new(step: &'a MailStep, since: Timestamp) -> Self {
        Self { step, since, foreign: 0, stale: 0, unfit: 0, missed: None }
    }

    /// Whether a message is worth reading, by its head alone (RFC 5322): from the expected sender and nobody
    /// else, about what is expected, and not older than what it answers.
    pub(super) fn wants(&mut self, head: &[u8]) -> bool {
        let head = MessageParser::default().parse_headers(head);
        let sender = head.as_ref().and_then(sender);
        let (Some(head), true) = (&head, sender.is_some_and(|it| it.eq_ignore_ascii_case(&self.step.from)))
        else {
            self.foreign += 1;
            return false;
        };
        let written = head.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
        if written.is_some_and(|at| self.since.duration_since(at) > TOLERANCE) {
            self.stale += 1;
            return false;
        }
        let subject = self.step.subject.as_ref().and_then(|pattern| Regex::new(pattern).ok());
        if subject.is_some_and(|pattern| !pattern.is_match(head.subject().unwrap_or_default())) {
            self.unfit += 1;
            self.missed = Some("the subject is another".to_owned());
            return false;
        }
        true
    }

    /// What is taken from a message; `None` if anything of it is missing.
    pub(super) fn outputs(&mut self, message: &[u8]) -> Option<Outputs> {
        let parsed = MessageParser::default().parse(message);
        let taken = parsed.ok_or_else(|| "it cannot be read".to_owned()).and_then(|message| {
            let outputs = self.step.outputs.iter().map(|(name, extract)| {
                let found = find(extract, &message).and_then(usable);
                Ok((name.clone(), found.map_err(|what| format!("output `{name}`: {what}"))?))
            });
            outputs.collect::<Result<Outputs, String>>()
        });
        match taken {
            Ok(outputs) => Some(outputs),
            Err(what) => {
                self.unfit += 1;
                self.missed = Some(what);
                None
            }
        }
    }

    /// What came in place of the message, for an error: counts, and nothing of the messages themselves.
    pub(super) fn seen(&self) -> String {
        let Self { foreign, stale, unfit, .. } = self;
        let mut seen = Vec::new();
        if *foreign > 0 {
            seen.push(format!("{foreign} came from others"));
        }
        if *stale > 0 {
            seen.push(format!("{stale} had been written before it was asked for"));
        }
        if let (true, Some(missed)) = (*unfit > 0, &self.missed) {
            seen.push(format!("{unfit} did not fit ({missed})"));
        }
        if seen.is_empty() { String::new() } else { format!("; of other messages, {}", seen.join(", ")) }
    }
}

/// The only address that a message says to be from.
fn sender<'a>(head: &'a Message<'_>) -> Option<&'a str> {
    if head.header_values(HeaderName::From).count() != 1 {
        return None;
    }
    match head.from()? {
        Address::List(addresses) if addresses.len() == 1 => addresses[0].address(),
        _ => None,
    }
}

/// An output. A pattern is looked for in the text of a message, and then in what its HTML shows.
fn find(extract: &Extract, message: &Message<'_>) -> Result<Secret, String> {
    match extract {
        Extract::Regex(pattern) => {
            let texts = (0..message.text_body_count()).filter_map(|part| message.body_text(part));
            let shown = (0..message.html_body_count()).filter_map(|part| {
                Some(mail_parser::decoders::html::html_to_text(&message.body_html(part)?).into())
            });
            // A blank that does not break is a blank.
            let found = texts.chain(shown).find_map(|text| matched(pattern, &text.replace('\u{a0}', " ")));
            found.map(|found| on_one_line(&found)).ok_or_else(|| format!("nothing in it matches `{pattern}`"))
        }
        Extract::Css(selection) => {
            let mut pages = (0..message.html_body_count()).filter_map(|part| message.body_html(part));
            let page = pages.next().ok_or_else(|| "it has no HTML".to_owned())?;
            page::find(&page, selection)
        }
        Extract::Json(_) | Extract::Header(_) | Extract::Cookie(_) => {
            Err("a message is looked through by `regex` or `css`: this is a fault of bearerd".to_owned())
        }
    }
}

/// What a pattern has caught over several lines, as one: mail programs break long lines where they like.
fn on_one_line(found: &Secret) -> Secret {
    let mut line = SecretBuffer::with_capacity(found.len());
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if !found.expose().iter().any(is_break) {
        return found.clone();
    }
    found.expose().split(is_break).for_each(|part| line.push(part.trim_ascii()));
    line.into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::Timestamp;

    use super::Judge;
    use crate::credential::flow::login::Extract;
    use crate::credential::flow::login::page::Selection;
    use crate::credential::flow::mail::{MailStep, Mailbox, Then, USUAL_WAIT};

    /// Tue, 14 Nov 2023 22:13:20 +0000
    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn step(extract: Extract) -> MailStep {
        MailStep {
            mailbox: Mailbox::Maildir(PathBuf::new()),
            from: "token@portal.example".to_owned(),
            subject: None,
            wait: USUAL_WAIT,
            then: Then::Seen,
            outputs: vec![("token".to_owned(), extract)],
            expiry: Vec::new(),
        }
    }

    fn wants(head: &str) -> bool {
        let step = MailStep { subject: Some("(?i)access token".to_owned()), ..step(pattern()) };
        Judge::new(&step, NOW).wants(format!("{}\r\n\r\n", head.replace('\n', "\r\n")).as_bytes())
    }

    fn pattern() -> Extract {
        Extract::Regex(r"(?i)token:\s*([\w.-]{8,})".to_owned())
    }

    fn taken(extract: Extract, message: &str) -> Result<String, String> {
        let step = step(extract);
        let mut judge = Judge::new(&step, NOW);
        let outputs = judge.outputs(message.replace('\n', "\r\n").as_bytes());
        let token = outputs.and_then(|outputs| outputs.get("token").cloned());
        token.map(|it| it.expose_str().expect("text").to_owned()).ok_or_else(|| judge.seen())
    }

    #[test]
    fn only_messages_from_the_one_expected_sender_are_read() {
        let subject = "Subject: Your access token";
        for (from, expected) in [
            ("From: token@portal.example", true),
            ("From: \"The Portal\" <Token@Portal.Example>", true),
            ("From: token@portal.example <thief@evil.example>", false),
            ("From: \"token@portal.example\" <thief@evil.example>", false),
            ("From: thief@evil.example, token@portal.example", false),
            ("From: token@portal.example\nFrom: thief@evil.example", false),
            ("From: thief@evil.example\nSender: token@portal.example", false),
            ("From: token@portal.example.evil.example", false),
            ("From: friends: token@portal.example;", false),
            ("Reply-To: token@portal.example", false),
        ] {
            assert_eq!(wants(&format!("{from}\n{subject}")), expected, "{from}");
        }
    }

    #[test]
    fn a_message_is_about_what_is_expected_and_not_older_than_what_it_answers() {
        let head = |date: &str, subject: &str| {
            format!("From: token@portal.example\nDate: {date}\nSubject: {subject}")
        };
        assert!(wants(&head("Tue, 14 Nov 2023 22:13:21 +0000", "Access Token")));
        assert!(wants(&head("Wed, 15 Nov 2023 03:20:00 +0530", "=?utf-8?q?Your_access_token?=")));
        assert!(wants(&head("nonsense", "access token")), "what has no date is judged by when it came");
        assert!(!wants(&head("Tue, 14 Nov 2023 21:13:20 +0000", "Access Token")), "an hour old");
        assert!(!wants(&head("Tue, 14 Nov 2023 22:13:21 +0000", "Newsletter")));
    }

    #[test]
    fn outputs_are_found_in_every_encoding_of_text_and_html() {
        let expected = Ok("abc.DEF-123".to_owned());
        for message in [
            "Content-Type: text/plain\n\nDear user,\nToken: abc.DEF-123\n",
            "Content-Transfer-Encoding: base64\nContent-Type: text/plain\n\nVG9rZW46IGFiYy5ERUYtMTIzCg==\n",
            "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\nToken=3A abc.DE=\nF-123\n",
            "Content-Type: text/html\n\n<p>Token:&nbsp;<b>abc.DEF-123</b></p>\n",
            "Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/plain\n\nsee the other part\n\
             --x\nContent-Type: text/html\n\n<p>Token: abc.DEF-123</p>\n--x--\n",
        ] {
            assert_eq!(taken(pattern(), message), expected, "{message}");
        }
        let selection = |attribute: Option<&str>| {
            Extract::Css(Selection { selector: "#token".to_owned(), attribute: attribute.map(str::to_owned) })
        };
        let html = "Content-Type: text/html\n\n<a id=token data-token='abc.DEF-123'> abc.DEF-123 </a>\n";
        assert_eq!(taken(selection(None), html), expected);
        assert_eq!(taken(selection(Some("data-token")), html), expected);
    }

    #[test]
    fn odd_mails_are_read_for_what_they_are() {
        let expected = Ok("abc.DEF-123".to_owned());
        let attachment = "--x\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\n\
                          Token: from-the-attachment\n";
        for message in [
            // In parts, in parts of parts, beside attachments, to several people.
            format!(
                "To: a@example.org, b@example.org\nCc: c@example.org\nContent-Type: multipart/mixed; boundary=x\n\n\
                 preamble Token: before-all-parts\n--x\nContent-Type: multipart/alternative; boundary=y\n\n\
                 --y\nContent-Type: text/plain\n\nToken: abc.DEF-123\n--y\nContent-Type: text/html\n\n\
                 <p>Token: of-the-html</p>\n--y--\n{attachment}--x--\n"
            ),
            // The first of two counts.
            "Content-Type: text/plain\n\nToken: abc.DEF-123\nToken: another-one\n".to_owned(),
            // Other charsets, and one that nobody knows.
            "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
             F=FCr Sie\nToken: abc.DEF-123\n"
                .to_owned(),
            "Content-Type: text/plain; charset=x-unheard-of\n\nToken: abc.DEF-123\n".to_owned(),
            "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n\
             VABvAGsAZQBuADoAIABhAGIAYwAuAEQARQBGAC0AMQAyADMA\n"
                .to_owned(),
            // No head to speak of.
            "\nToken: abc.DEF-123\n".to_owned(),
            // Cut off, as one is that is larger than what is read.
            format!(
                "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nToken: abc.DEF-123\n\
                 --x\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}",
                "QUJD".repeat(1000)
            ),
        ] {
            assert_eq!(taken(pattern(), &message), expected, "{message}");
        }
        // What is attached is not what the sender says, and a message that somebody forwards is another one's.
        let forwarded = "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nsee below\n\
                         --x\nContent-Type: message/rfc822\n\nFrom: token@portal.example\n\nToken: abc.DEF-123\n--x--\n";
        let attached =
            format!("Content-Type: multipart/mixed; boundary=x\n\n--x\n\nsee there\n{attachment}--x--\n");
        for message in [forwarded, &attached] {
            assert!(taken(pattern(), message).is_err(), "{message}");
        }
    }

    #[test]
    fn a_token_that_was_broken_over_lines_is_joined_where_the_pattern_allows_it() {
        let over_lines = || Extract::Regex(r"(?i)token:\s*([\w.\s-]{8,}?)\r?\n\r?\n".to_owned());
        for message in [
            "Content-Type: text/plain\n\nToken: abc.\nDEF-\n123\n\nRegards\n",
            "Content-Type: text/plain; format=flowed\n\nToken: abc. \n DEF-123\n\nRegards\n",
            "Content-Transfer-Encoding: quoted-printable\n\nToken: abc.=\nDEF-=\n123\n\nRegards\n",
        ] {
            assert_eq!(taken(over_lines(), message), Ok("abc.DEF-123".to_owned()), "{message}");
        }
        // Nothing else is changed.
        let until = Extract::Regex("until (.*)".to_owned());
        assert_eq!(taken(until, "\nuntil 31 December 2026\n"), Ok("31 December 2026".to_owned()));
    }

    #[test]
    fn what_is_missed_is_told_without_anything_of_the_message() {
        let seen =
            taken(pattern(), "Content-Type: text/plain\n\nhunter2 is your word\n").expect_err("no token");
        assert!(seen.contains("output `token`") && seen.contains("nothing in it matches"), "{seen}");
        assert!(!seen.contains("hunter2"), "{seen}");
    }
}
