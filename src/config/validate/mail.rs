//! A step that waits for a message.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::config::raw::scalar::parse_duration;
use crate::config::raw::step::{LoginStep, Mail};
use crate::config::suggest::nearest;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::endpoint::Endpoint;
use crate::config::validate::expiry;
use crate::config::validate::login::Reader;
use crate::credential::flow::login::Extract;
use crate::credential::flow::mail::{Authentication, Imap, MailStep, Mailbox, Then, USUAL_WAIT};
use crate::upstream::{Origin, Scheme, Url};

/// The keys of a step that asks; none of them goes with `mail`.
const ASKING: [&str; 12] = [
    "method", "url", "headers", "query", "form", "json", "body", "submit", "follow", "success", "reject",
    "warn",
];

/// How mailboxes are written.
const MAILBOXES: &str = "such as \"imaps://imap.example.org/INBOX\" or \"maildir:/var/mail/bearerd\"";

pub(super) fn step(
    reader: &Reader<'_>,
    raw: &LoginStep,
    mail: &Mail,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<MailStep> {
    let outer = reader.place;
    for key in ASKING.iter().filter(|key| outer.has(key)) {
        let message = format!("a step asks, or waits for a message: `{key}` does not go with `mail`");
        context.findings.error_at(outer.key(key).key_span(), message);
    }
    let place = outer.key("mail");
    for (key, value, why) in [
        ("mailbox", &mail.mailbox, "it says where the message comes"),
        ("from", &mail.from, "anybody can send a message: it says who sends the right one"),
    ] {
        if value.is_none() && !place.is_spoiled(key) {
            context.findings.missing(place, key, why);
        }
    }
    let plainly = |text: &Option<String>| text.as_ref().and_then(|text| reader.names.plainly(text));
    let mailbox = plainly(&mail.mailbox).and_then(|text| mailbox(&text, reader, mail, context));
    if let Some(Mailbox::Imap(imap)) = &mailbox {
        let scheme = if imap.is_plain() { imap.origin.scheme } else { Scheme::Https };
        let origin = Origin { scheme, ..imap.origin.clone() };
        endpoints.push(Endpoint { origin, path: "/".to_owned() });
    }
    let from = plainly(&mail.from).and_then(|text| address(text, place.key("from"), context));
    let subject = plainly(&mail.subject);
    if subject.as_ref().is_some_and(|pattern| regex_lite::Regex::new(pattern).is_err()) {
        context.findings.error(place.key("subject"), "this is not a regular expression");
    }
    let wait = plainly(&mail.wait).map_or(Some(USUAL_WAIT), |text| wait(&text, place.key("wait"), context));
    let then = plainly(&mail.then).map_or(Some(Then::Seen), |text| then(&text, place.key("then"), context));
    let outputs = reader.outputs(raw, context);
    if raw.outputs.is_empty() && !outer.is_spoiled("outputs") {
        context.findings.missing(outer, "outputs", "they say what is taken from the message");
    }
    for (name, extract) in &outputs {
        if !matches!(extract, Extract::Regex(_) | Extract::Css(_)) {
            let message = "a message is looked through by `regex` or `css`";
            context.findings.error(outer.key("outputs").key(name), message);
        }
    }
    let expiry = expiry::rules(raw, outer, context);
    Some(MailStep { mailbox: mailbox?, from: from?, subject, wait: wait?, then: then?, outputs, expiry })
}

fn mailbox(text: &str, reader: &Reader<'_>, mail: &Mail, context: &mut Context<'_>) -> Option<Mailbox> {
    let place = reader.place.key("mail");
    if let Some(path) = text.strip_prefix("maildir:") {
        if mail.starttls.is_some() {
            context.findings.error(place.key("starttls"), "a folder of this machine is no server");
        }
        if path.is_empty() {
            context.findings.error(place.key("mailbox"), "this names no folder").help(MAILBOXES);
            return None;
        }
        return Some(Mailbox::Maildir(context.path(path)));
    }
    let at = server(text);
    if at.is_none() {
        context.findings.error(place.key("mailbox"), "this is not a mailbox").help(MAILBOXES);
    }
    let mut template = |key: &str, text: &Option<String>| {
        let Some(text) = text else {
            if !place.is_spoiled(key) {
                context.findings.missing(place, key, "a server wants to know whose mailbox it is");
            }
            return None;
        };
        reader.template(text, place.key(key), context)
    };
    let username = template("username", &mail.username);
    let password = template("password", &mail.password);
    let authentication = match mail.auth.as_ref().map(|text| reader.names.plainly(text)) {
        None => Some(Authentication::Password),
        Some(text) => match text?.as_str() {
            "password" => Some(Authentication::Password),
            "access_token" => Some(Authentication::AccessToken),
            word => {
                let known = ["password", "access_token"];
                let message = "this is not `password` or `access_token`";
                context.findings.error(place.key("auth"), message).meant(nearest(word, known));
                None
            }
        },
    };
    let (origin, folder) = at?;
    let is_secured = origin.scheme == Scheme::Https;
    if is_secured && mail.starttls.is_some() {
        let message = "`imaps://` speaks TLS from the first byte: `starttls` goes with `imap://`";
        context.findings.error(place.key("starttls"), message);
    }
    Some(Mailbox::Imap(Imap {
        starttls: !is_secured && mail.starttls.unwrap_or(!origin.is_loopback()),
        origin,
        folder,
        username: username?,
        password: password?,
        authentication: authentication?,
    }))
}

/// The server and the folder of `imaps://host:port/folder` (RFC 5092).
fn server(text: &str) -> Option<(Origin, String)> {
    let (scheme, port, rest) = match text.split_once("://")? {
        ("imaps", rest) => (Scheme::Https, 993, rest),
        ("imap", rest) => (Scheme::Http, 143, rest),
        _ => return None,
    };
    let (authority, folder) = rest.split_once('/').unwrap_or((rest, ""));
    // The syntax of an authority is that of HTTP, and its default port is another one.
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let mut origin = format!("{}://{authority}", scheme.as_str()).parse::<Url>().ok()?.origin;
    if !has_port {
        origin.port = port;
    }
    let folder = percent_decode_str(folder).decode_utf8().ok()?;
    let folder = if folder.is_empty() { "INBOX" } else { &folder };
    is_folder(folder).then(|| (origin, folder.to_owned()))
}

/// Whether a folder can be called so.
fn is_folder(folder: &str) -> bool {
    !folder.is_empty() && !folder.contains(char::is_control)
}

/// A bare address (RFC 5322, section 3.4.1).
fn address(text: String, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    let is_one = text.split_once('@').is_some_and(|(local, domain)| {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        is_part(local)
            && is_part(domain)
            && !domain.contains('@')
            && !text.contains(['<', '>', ',', ';', '"'])
    });
    if is_one {
        return Some(text);
    }
    let problem = context.findings.error(place, "this is not the address of a sender");
    problem.help("such as \"token@portal.example\", without a name and brackets");
    None
}

fn wait(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Duration> {
    let length = parse_duration(text).filter(|length| !length.is_zero());
    if length.is_none() {
        context.findings.error(place, "this is not a duration").help("such as \"50m\"");
    }
    length
}

fn then(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Then> {
    match text {
        "seen" => return Some(Then::Seen),
        "delete" => return Some(Then::Delete),
        _ => {}
    }
    match text.strip_prefix("move:") {
        Some(folder) if is_folder(folder) && !folder.contains("..") && !folder.starts_with('/') => {
            Some(Then::Move(folder.to_owned()))
        }
        Some(_) => {
            context.findings.error(place, "this names no folder that could be moved to");
            None
        }
        None => {
            let message = "this is not `seen`, `delete` or `move:FOLDER`";
            context.findings.error(place, message).meant(nearest(text, ["seen", "delete"]));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::server;

    fn read(text: &str) -> Option<String> {
        let (origin, folder) = server(text)?;
        Some(format!("{} {}:{} {folder}", origin.scheme.as_str(), origin.host, origin.port))
    }

    #[test]
    fn a_mailbox_is_a_server_and_a_folder() {
        for (text, expected) in [
            ("imaps://imap.example.org", "https imap.example.org:993 INBOX"),
            ("imaps://imap.example.org/", "https imap.example.org:993 INBOX"),
            ("imaps://IMAP.example.org:1993/Tokens/New", "https imap.example.org:1993 Tokens/New"),
            ("imap://127.0.0.1/My%20Tokens", "http 127.0.0.1:143 My Tokens"),
            ("imap://[::1]/x", "http ::1:143 x"),
            ("imaps://h/B%C3%BCro", "https h:993 Büro"),
            ("imaps://h/Büro", "https h:993 Büro"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in [
            "imap.example.org",
            "https://imap.example.org",
            "imaps://",
            "imaps://me@host/",
            "imaps://h/%0D",
            "imaps://h/%FF",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
