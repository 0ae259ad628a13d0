//! A connection that is logged in, with a folder open.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::flow::CONNECT_LIMIT;
use crate::credential::flow::mail::imap::{Authentication, Imap};
use crate::credential::flow::mail::reply::Reply;
use crate::credential::flow::mail::utf7;
use crate::credential::flow::mail::wire::{Outcome, Wire};
use crate::credential::flow::mail::{LARGEST_MESSAGE, Then, Trouble};
use crate::secret::{Secret, SecretBuffer};
use crate::upstream::connect::{Connector, Offer};

/// What is looked at of a message before it is read: when the server received it, and a few fields of its head.
const HEAD: &str = "UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (FROM DATE SUBJECT)]<0.16384>";

/// The session.
pub(super) struct Session {
    wire: Wire,
    /// What the server can, as it says.
    capabilities: Vec<String>,
    /// It said that it tells of news, and does not.
    is_deaf: bool,
    /// What the names of folders begin with, where that is asked for (RFC 9051, section 6.3.10).
    prefix: Option<String>,
}

/// The head of a message.
pub(super) struct Head {
    pub(super) uid: u32,
    /// When the server received it.
    pub(super) received: Option<Timestamp>,
    pub(super) fields: Zeroizing<Vec<u8>>,
}

impl Session {
    /// Connects, begins TLS where that is wanted, and logs in.
    pub(super) async fn open(
        spec: &Imap,
        connector: &Connector,
        username: &Secret,
        password: &Secret,
    ) -> Result<Self, Trouble> {
        let unreachable = |error| Trouble::Lost(format!("cannot be reached: {error}"));
        let opened = connector.connect(&spec.origin, Offer::Nothing, CONNECT_LIMIT).await;
        let wire = Wire::new(opened.map_err(unreachable)?.stream);
        let mut session = Self { wire, capabilities: Vec::new(), is_deaf: false, prefix: None };
        let greeting = session.wire.reply(CONNECT_LIMIT).await?;
        let is_known = greeting.starts_with("* PREAUTH");
        if !greeting.starts_with("* OK") && !is_known {
            return Err(Trouble::Lost("does not welcome anybody, or is no IMAP server".to_owned()));
        }
        session.ask_capabilities().await?;
        if spec.starttls {
            if is_known || !session.can("STARTTLS") {
                let message = "offers no STARTTLS: write `imaps://` if it speaks TLS from the first byte";
                return Err(Trouble::Lost(message.to_owned()));
            }
            session.wire.order("STARTTLS", drop).await?;
            // What has come before TLS is nobody's: it may have been put there by somebody on the way.
            let spoken = || Trouble::Lost("spoke on in plain text after STARTTLS".to_owned());
            let stream = session.wire.into_stream().ok_or_else(spoken)?;
            let secured = connector.secure(&spec.origin, stream, CONNECT_LIMIT).await.map_err(unreachable)?;
            session.wire = Wire::new(secured);
            session.ask_capabilities().await?;
        }
        if !is_known {
            session.log_in(spec, username, password).await?;
            // There may be more once one is known.
            session.ask_capabilities().await?;
        }
        Ok(session)
    }

    async fn log_in(&mut self, spec: &Imap, username: &Secret, password: &Secret) -> Result<(), Trouble> {
        let (user, word) = (username.expose(), password.expose());
        let outcome = if spec.authentication == Authentication::AccessToken {
            if self.can("AUTH=XOAUTH2") {
                let proof = joined(&[b"user=", user, b"\x01auth=Bearer ", word, b"\x01\x01"]);
                self.wire.authenticate("XOAUTH2", proof.expose(), "").await
            } else if self.can("AUTH=OAUTHBEARER") {
                let user = sasl_name(user);
                let proof = joined(&[b"n,a=", user.expose(), b",\x01auth=Bearer ", word, b"\x01\x01"]);
                // RFC 7628, section 3.2.3.
                self.wire.authenticate("OAUTHBEARER", proof.expose(), "AQ==").await
            } else {
                let message = "takes no access tokens (neither XOAUTH2 nor OAUTHBEARER)";
                return Err(Trouble::Lost(message.to_owned()));
            }
        } else if self.can("AUTH=PLAIN") {
            let proof = joined(&[b"\0", user, b"\0", word]);
            self.wire.authenticate("PLAIN", proof.expose(), "*").await
        } else if self.can("LOGINDISABLED") {
            return Err(Trouble::Lost("takes passwords over TLS only: write `imaps://`".to_owned()));
        } else {
            let (Some(username), Some(password)) = (quoted(user), quoted(word)) else {
                return Err(Trouble::Lost("offers no way to send this name and password".to_owned()));
            };
            let command = joined(&[b"LOGIN ", username.expose(), b" ", password.expose()]);
            self.wire.command(command.expose_str().unwrap_or_default(), drop).await
        };
        match outcome {
            Ok(Outcome::Ok) => Ok(()),
            Ok(Outcome::No(why)) => Err(refusal(&why)),
            Err(Trouble::Lost(what)) => {
                Err(Trouble::Unclear(format!("{what} when it was shown the name and the password")))
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn ask_capabilities(&mut self) -> Result<(), Trouble> {
        let mut found = Vec::new();
        let each = |reply: Reply| {
            if reply.starts_with("* CAPABILITY ") {
                found.extend(reply.line.split(' ').skip(2).map(str::to_owned));
            }
        };
        self.wire.order("CAPABILITY", each).await?;
        self.capabilities = found;
        Ok(())
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|it| it.eq_ignore_ascii_case(capability))
    }

    /// Whether the server tells of news by itself.
    pub(super) fn idles(&self) -> bool {
        self.can("IDLE") && !self.is_deaf
    }

    /// Whether it has told of some since the last look.
    pub(super) fn has_news(&self) -> bool {
        self.wire.has_news()
    }

    /// Opens a folder: its identity, and the number of the next message.
    pub(super) async fn select(&mut self, folder: &str) -> Result<(u32, u32), Trouble> {
        let mut refused = None;
        for name in self.names(folder).await? {
            let (mut validity, mut next) = (None, None);
            let each = |reply: Reply| {
                validity = reply.number("UIDVALIDITY").or(validity);
                next = reply.number("UIDNEXT").or(next);
            };
            match self.wire.command(&format!("SELECT {name}"), each).await? {
                Outcome::No(why) => refused = refused.or(Some(why)),
                Outcome::Ok => {
                    let next = match next {
                        Some(next) => next,
                        None => self.behind_the_last().await?,
                    };
                    return Ok((validity.unwrap_or_default(), next));
                }
            }
        }
        Err(Trouble::Lost(format!("does not open the folder `{folder}`: {}", refused.unwrap_or_default())))
    }

    /// The names that a folder may have: as it is written, and below the account's own ones.
    async fn names(&mut self, folder: &str) -> Result<Vec<String>, Trouble> {
        if self.prefix.is_none() && self.can("NAMESPACE") && !folder.eq_ignore_ascii_case("INBOX") {
            let mut told = None;
            let each = |reply: Reply| told = reply.own_prefix().or(told.take());
            self.wire.command("NAMESPACE", each).await?;
            self.prefix = Some(told.unwrap_or_default());
        }
        let prefix = self.prefix.iter().filter(|prefix| !prefix.is_empty() && !folder.starts_with(*prefix));
        let below = prefix.map(|prefix| format!("{prefix}{folder}"));
        let names = std::iter::once(folder.to_owned()).chain(below);
        Ok(names.map(|name| in_quotes(&utf7::encoded(&name))).collect())
    }

    /// For a server that does not tell the next number.
    async fn behind_the_last(&mut self) -> Result<u32, Trouble> {
        let mut last = 0;
        // In an empty folder there is no last message, which some call an error.
        let each = |reply: Reply| last = reply.number("UID").unwrap_or_default().max(last);
        self.wire.command("UID FETCH * (UID)", each).await?;
        Ok(last.saturating_add(1))
    }

    /// The heads of the messages from this number on, in their order.
    pub(super) async fn heads(&mut self, next: u32) -> Result<Vec<Head>, Trouble> {
        self.wire.forget_news();
        let mut heads = Vec::new();
        let each = |reply: Reply| {
            let received = reply.received();
            let head = reply.message("HEADER.FIELDS");
            heads.extend(head.map(|(uid, fields)| Head { uid, received, fields }));
        };
        self.wire.order(&format!("UID FETCH {next}:* ({HEAD})"), each).await?;
        // The last message counts as behind any number (RFC 9051, section 9, on `seq-range`).
        heads.retain(|head| head.uid >= next);
        heads.sort_by_key(|head| head.uid);
        heads.dedup_by_key(|head| head.uid);
        Ok(heads)
    }

    /// The first message that the server received on the day of `since`, or the day before; `None` if there is none.
    pub(super) async fn first_since(&mut self, since: Timestamp) -> Result<Option<u32>, Trouble> {
        let day = since.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        let day = day.to_zoned(TimeZone::UTC).strftime("%d-%b-%Y");
        let mut first: Option<u32> = None;
        let each = |reply: Reply| {
            if reply.starts_with("* SEARCH") {
                let found = reply.line.split(' ').skip(2).filter_map(|uid| uid.parse().ok()).min();
                first = [first, found].into_iter().flatten().min();
            }
        };
        self.wire.order(&format!("UID SEARCH SINCE {day}"), each).await?;
        Ok(first)
    }

    /// A message, as far as it is read at all; `None` if it is not there any more.
    pub(super) async fn text(&mut self, uid: u32) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        let command = format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{LARGEST_MESSAGE}>)");
        let mut found = None;
        let each =
            |reply: Reply| found = reply.message("BODY[]").filter(|(of, _)| *of == uid).or(found.take());
        self.wire.order(&command, each).await?;
        Ok(found.map(|(_, text)| text))
    }

    /// Waits for the server to tell of news (RFC 2177).
    pub(super) async fn idle(&mut self, longest: Duration) -> Result<(), Trouble> {
        let deadline = Clock::instant() + longest;
        let tag = self.wire.begin("IDLE").await?;
        loop {
            match self.wire.until(&tag).await? {
                Ok(reply) if reply.is_invitation() => break,
                Ok(_) => {}
                Err(_) => {
                    // It said that it could, and cannot.
                    self.is_deaf = true;
                    return Ok(());
                }
            }
        }
        while !self.wire.has_news() {
            let left = deadline.saturating_duration_since(Clock::instant());
            let Ok(reply) = tokio::time::timeout(left, self.wire.reply(Duration::MAX)).await else { break };
            let reply = reply?;
            if reply.is_goodbye() {
                return Err(Trouble::Lost("said goodbye".to_owned()));
            }
            if reply.is_tagged(&tag) {
                // It has had enough by itself.
                return Ok(());
            }
        }
        self.wire.send(b"DONE\r\n").await?;
        while self.wire.until(&tag).await?.is_ok() {}
        Ok(())
    }

    /// Does with a message what was to become of it.
    pub(super) async fn dispose(&mut self, uid: u32, then: &Then) -> Result<(), Trouble> {
        match then {
            Then::Seen => self.wire.order(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen)"), drop).await,
            Then::Delete => self.delete(uid).await,
            Then::Move(folder) => {
                let verb = if self.can("MOVE") { "MOVE" } else { "COPY" };
                let mut refused = None;
                for name in self.names(folder).await? {
                    match self.bring(verb, uid, &name).await? {
                        Outcome::Ok if verb == "MOVE" => return Ok(()),
                        Outcome::Ok => return self.delete(uid).await,
                        Outcome::No(why) => refused = refused.or(Some(why)),
                    }
                }
                let why = refused.unwrap_or_default();
                Err(Trouble::Lost(format!("does not move it to the folder `{folder}`: {why}")))
            }
        }
    }

    /// Moves or copies a message to a folder, which is made if the server says that this would help.
    async fn bring(&mut self, verb: &str, uid: u32, name: &str) -> Result<Outcome, Trouble> {
        let command = format!("UID {verb} {uid} {name}");
        match self.wire.command(&command, drop).await? {
            Outcome::No(why) if why.to_ascii_uppercase().contains("[TRYCREATE]") => {
                match self.wire.command(&format!("CREATE {name}"), drop).await? {
                    Outcome::Ok => self.wire.command(&command, drop).await,
                    refused @ Outcome::No(_) => Ok(refused),
                }
            }
            outcome => Ok(outcome),
        }
    }

    /// Without UIDPLUS it is only marked: `EXPUNGE` would take other people's marks along.
    async fn delete(&mut self, uid: u32) -> Result<(), Trouble> {
        self.wire.order(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen \\Deleted)"), drop).await?;
        if self.can("UIDPLUS") {
            self.wire.order(&format!("UID EXPUNGE {uid}"), drop).await?;
        }
        Ok(())
    }

    /// Says goodbye: it is good manners, and nothing depends on it.
    pub(super) async fn leave(&mut self) {
        let _ = self.wire.begin("LOGOUT").await;
    }
}

/// What it means that a server lets nobody in: most of its reasons pass (RFC 9051, section 7.1).
fn refusal(why: &str) -> Trouble {
    let passing = ["[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "[CONTACTADMIN]"];
    let upper = why.to_ascii_uppercase();
    if upper.contains("[PRIVACYREQUIRED]") {
        Trouble::Lost("takes passwords over TLS only: write `imaps://`".to_owned())
    } else if upper.starts_with("BAD") || passing.iter().any(|code| upper.contains(code)) {
        Trouble::Lost(format!("cannot let anybody in now: {why}"))
    } else {
        Trouble::Refused("does not take the name and password".to_owned())
    }
}

/// A name in quotes. It has no control characters: the configuration saw to that, and the coding of names.
fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text in quotes (RFC 9051, section 4.3); `None` if it cannot stand in them.
fn quoted(text: &[u8]) -> Option<Secret> {
    let mut quoted = SecretBuffer::with_capacity(text.len() * 2 + 2);
    quoted.push(b"\"");
    for byte in text {
        if !(b' '..=b'~').contains(byte) {
            return None;
        }
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b"\\");
        }
        quoted.push(&[*byte]);
    }
    quoted.push(b"\"");
    Some(quoted.into())
}

/// A name as it stands between commas (RFC 5801, section 4, `saslname`).
fn sasl_name(name: &[u8]) -> Secret {
    let mut written = SecretBuffer::with_capacity(name.len() * 3);
    for byte in name {
        match byte {
            b',' => written.push(b"=2C"),
            b'=' => written.push(b"=3D"),
            byte => written.push(&[*byte]),
        }
    }
    written.into()
}

fn joined(parts: &[&[u8]]) -> Secret {
    let mut joined = SecretBuffer::with_capacity(256);
    for part in parts {
        joined.push(part);
    }
    joined.into()
}

#[cfg(test)]
mod tests {
    use super::{in_quotes, refusal, sasl_name};
    use crate::credential::flow::mail::Trouble;

    #[test]
    fn a_server_that_is_out_of_order_has_not_refused_the_password() {
        for (why, is_refused) in [
            ("NO [AUTHENTICATIONFAILED] wrong", true),
            ("NO [EXPIRED] change it", true),
            ("NO", true),
            ("NO [UNAVAILABLE] later", false),
            ("NO [PRIVACYREQUIRED] over TLS", false),
            ("BAD what", false),
        ] {
            assert_eq!(matches!(refusal(why), Trouble::Refused(_)), is_refused, "{why}");
        }
    }

    #[test]
    fn names_stand_in_quotes_and_between_commas() {
        assert_eq!(in_quotes(r#"a "b" \ c"#), r#""a \"b\" \\ c""#);
        assert_eq!(sasl_name(b"a,b=c@d").expose(), b"a=2Cb=3Dc@d");
    }
}
