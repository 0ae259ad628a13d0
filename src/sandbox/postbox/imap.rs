//! As much of IMAP (RFC 3501) as it takes to wait for a message, strictly.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Letter, Manners, PASSWORD, Postbox, USERNAME};

/// How often a server that is slow to tell of news does it at least.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

pub(super) async fn accept(listener: TcpListener, postbox: Arc<Postbox>, manners: Manners) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if manners.down_until.is_none_or(|until| postbox.clock.boot() >= until) {
            let visit = Visit {
                postbox: Arc::clone(&postbox),
                manners,
                is_known: false,
                is_selected: false,
                told: 0,
            };
            connections.spawn(visit.serve(stream));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection.
struct Visit {
    postbox: Arc<Postbox>,
    manners: Manners,
    is_known: bool,
    is_selected: bool,
    /// How many messages had come when it last looked: later ones are told as soon as it listens.
    told: u32,
}

impl Visit {
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = BufReader::new(stream);
        if stream.write_all(b"* OK the mailbox of the sandbox\r\n").await.is_err() {
            return;
        }
        let mut line = String::new();
        loop {
            line.clear();
            match stream.read_line(&mut line).await {
                Ok(length) if length > 0 && line.ends_with("\r\n") => {}
                _ => return,
            }
            let Some((tag, command)) = line.trim_end().split_once(' ') else { return };
            let answer = match command {
                "IDLE" if self.is_selected && !self.manners.deaf => {
                    if self.idle(&mut stream).await.is_none() {
                        return;
                    }
                    format!("{tag} OK idled\r\n")
                }
                "AUTHENTICATE PLAIN" => {
                    let mut proof = String::new();
                    if stream.write_all(b"+ \r\n").await.is_err()
                        || stream.read_line(&mut proof).await.is_err()
                    {
                        return;
                    }
                    self.know(tag, proof.trim_end())
                }
                command => self.answer(tag, command),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() || command == "LOGOUT" {
                return;
            }
        }
    }

    fn know(&mut self, tag: &str, proof: &str) -> String {
        let expected = BASE64_STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"));
        self.is_known = proof == expected;
        if self.is_known {
            format!("{tag} OK welcome\r\n")
        } else {
            format!("{tag} NO [AUTHENTICATIONFAILED] wrong name or password\r\n")
        }
    }

    /// Tells of news until the other side has had enough.
    async fn idle(&mut self, stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Option<()> {
        let mut count = self.postbox.count.subscribe();
        stream.write_all(b"+ idling\r\n").await.ok()?;
        let mut line = String::new();
        loop {
            let come = *count.borrow_and_update();
            if come != self.told {
                self.told = come;
                let news = format!("* {} EXISTS\r\n", self.inbox().len());
                stream.write_all(news.as_bytes()).await.ok()?;
            }
            tokio::select! {
                read = stream.read_line(&mut line) => {
                    return (read.is_ok() && line == "DONE\r\n").then_some(());
                }
                changed = tokio::time::timeout(PATIENCE, count.changed()) => {
                    changed.ok()?.ok()?;
                }
            }
        }
    }

    fn inbox(&self) -> Vec<Letter> {
        self.postbox.letters().iter().filter(|letter| letter.moved_to.is_none()).cloned().collect()
    }

    fn answer(&mut self, tag: &str, command: &str) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        if matches!(words.as_slice(), ["SELECT", ..] | ["UID", "FETCH", ..]) {
            self.told = *self.postbox.count.borrow();
        }
        match words.as_slice() {
            ["CAPABILITY"] => {
                let idle = if self.manners.deaf { "" } else { " IDLE" };
                format!("* CAPABILITY IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS{idle}\r\n{tag} OK\r\n")
            }
            ["NOOP"] => format!("{tag} OK\r\n"),
            ["LOGOUT"] => format!("* BYE\r\n{tag} OK\r\n"),
            ["SELECT", "\"INBOX\""] if self.is_known => {
                self.is_selected = true;
                let next = self.postbox.letters().last().map_or(1, |letter| letter.uid + 1);
                let exists = self.inbox().len();
                format!(
                    "* {exists} EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT {next}]\r\n{tag} OK [READ-WRITE]\r\n"
                )
            }
            ["UID", "FETCH", range, items @ ..] if self.is_selected => {
                self.fetch(tag, range, &items.join(" "))
            }
            ["UID", what @ ("STORE" | "MOVE" | "EXPUNGE"), uid, rest @ ..] if self.is_selected => {
                self.change(what, uid, &rest.join(" "));
                format!("{tag} OK\r\n")
            }
            _ => format!("{tag} BAD not now, or not here\r\n"),
        }
    }

    fn fetch(&self, tag: &str, range: &str, items: &str) -> String {
        let inbox = self.inbox();
        let last = inbox.last().map_or(0, |letter| letter.uid);
        let (first, end) = match range.split_once(':') {
            // The last message counts as behind any number.
            Some((first, _)) => (first.parse().unwrap_or(u32::MAX).min(last), u32::MAX),
            None => (range.parse().unwrap_or(0), range.parse().unwrap_or(0)),
        };
        let mut answer = String::new();
        for (index, letter) in inbox.iter().enumerate().filter(|(_, it)| (first..=end).contains(&it.uid)) {
            let (head, _) = letter.text.split_once("\r\n\r\n").unwrap_or((&letter.text, ""));
            let (name, text) = if items.contains("HEADER.FIELDS (FROM DATE SUBJECT)") {
                let wanted =
                    |line: &&str| ["From:", "Date:", "Subject:"].iter().any(|field| line.starts_with(field));
                let lines: Vec<&str> = head.split("\r\n").filter(wanted).collect();
                ("BODY[HEADER.FIELDS (FROM DATE SUBJECT)]", format!("{}\r\n\r\n", lines.join("\r\n")))
            } else {
                ("BODY[]<0>", letter.text.clone())
            };
            let (number, uid, length) = (index + 1, letter.uid, text.len());
            let _ = write!(answer, "* {number} FETCH (UID {uid} {name} {{{length}}}\r\n{text})\r\n");
        }
        answer + &format!("{tag} OK\r\n")
    }

    fn change(&self, what: &str, uid: &str, rest: &str) {
        let mut letters = self.postbox.letters();
        let Some(letter) = letters.iter_mut().find(|letter| uid.parse() == Ok(letter.uid)) else { return };
        match what {
            "STORE" => letter.seen |= rest.contains("\\Seen"),
            "MOVE" => letter.moved_to = Some(rest.trim_matches('"').to_owned()),
            _ => letter.moved_to = Some("nowhere".to_owned()),
        }
    }
}
