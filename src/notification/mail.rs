//! Notices by mail: the message itself (RFC 5322); how it leaves is in [`super::smtp`].

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::credential::Source;
use crate::notification::{Event, Notice};
use crate::upstream::Origin;

/// A mail to people, as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct MailSpec {
    /// The server that takes it; of its scheme only the host and the port count.
    pub server: Origin,
    /// How the way there is secured.
    pub security: Security,
    /// Who writes.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// How bearerd shows itself to the server, if it does.
    pub login: Option<MailLogin>,
}

/// How the way to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314, section 3).
    Tls,
    /// TLS after STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// None: a relay on this machine, or one that has nothing else.
    Plain,
}

/// A user of a mail server.
#[derive(Debug, Clone, PartialEq)]
pub struct MailLogin {
    /// The user's name.
    pub user: String,
    /// That user's password, read at each use.
    pub password: Source,
}

/// The longest line of a message in bytes (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;

/// The whole message, its lines ended as on the wire.
pub(super) fn message(spec: &MailSpec, notice: &Notice, now: Timestamp) -> String {
    let text = body(notice);
    let is_plain = text.is_ascii() && text.lines().all(|line| line.len() <= LONGEST_LINE);
    let subject = one_line(&format!("[bearerd] {}", notice.headline()));
    let subject = if subject.is_ascii() { subject } else { encoded_words(&subject) };
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let host = if notice.host.is_empty() { "localhost" } else { &notice.host };
    let urgency = if notice.event == Event::Recovered { "normal" } else { "high" };
    let mut mail = format!(
        "From: {}\r\nTo: {}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{}@{}>\r\n\
         Auto-Submitted: auto-generated\r\nImportance: {urgency}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n",
        one_line(&spec.from),
        one_line(&spec.to.join(",\r\n ")).replace(", ", ",\r\n "),
        notice.id,
        one_line(host),
        if is_plain { "7bit" } else { "base64" },
    );
    if is_plain {
        mail += &text.replace('\n', "\r\n");
    } else {
        let encoded = STANDARD.encode(text.replace('\n', "\r\n"));
        for line in encoded.as_bytes().chunks(76) {
            mail += &String::from_utf8_lossy(line);
            mail += "\r\n";
        }
    }
    mail
}

fn body(notice: &Notice) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: &dyn std::fmt::Display| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{name:<8} {}", one_line(&what.to_string()));
    };
    line("event:", &notice.event.as_str());
    if let Some(was) = notice.was {
        line("was:", &was.as_str());
    }
    line("of:", &notice.name);
    line("what:", &notice.message);
    if let Some(advice) = &notice.advice {
        line("do:", advice);
    }
    line("since:", &format!("{:.0}", notice.since));
    if let Some(end) = notice.ends_at {
        line("ends:", &format!("{end:.0}"));
    }
    line("at:", &format!("{:.0}", notice.at));
    line("host:", &notice.host);
    if notice.number > 1 {
        line("number:", &notice.number);
        for other in &notice.others {
            line("also:", other);
        }
    }
    text
}

/// A text without anything that could end its line: a field would end with it.
fn one_line(text: &str) -> String {
    let cleaned: String = text.chars().map(|next| if next.is_control() { ' ' } else { next }).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A field's text that is not in ASCII (RFC 2047, section 2): words of at most 75 characters, none of which
/// cuts a character in two.
fn encoded_words(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for next in text.chars() {
        if words.last().is_some_and(|word| word.len() + next.len_utf8() > 45) {
            words.push(String::new());
        }
        words.last_mut().expect("there is one from the start").push(next);
    }
    let words: Vec<_> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}
