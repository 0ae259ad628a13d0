//! IMAP servers that behave oddly: in ways that the protocol allows (RFC 9051), and in some that it does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bearerd::clock::Clock;

use crate::support::{Reply, Setup, Sidecar, Upstream, canary};

const SENDER: &str = "token@portal.example";

/// A server of one folder. It lives as long as the test's process.
#[derive(Clone)]
struct Server(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    letters: Mutex<Vec<Letter>>,
    /// All commands, without their tags, behind the number of their connection.
    said: Mutex<Vec<String>>,
    connections: AtomicUsize,
    oddity: Oddity,
}

/// A message: its number, when it came, and its text.
#[derive(Clone)]
struct Letter(u32, String, String);

/// Another answer to a command than the usual one.
type Answer = fn(&Server, connection: usize, command: &str) -> Option<String>;

/// This, if messages are asked for.
fn fetched(command: &str, answer: &str) -> Option<String> {
    command.contains("UID FETCH").then(|| answer.to_owned())
}

/// What a server does in its own way.
#[derive(Default)]
struct Oddity {
    /// Answers this to a command: without a tag, which is put where `{tag}` stands. `None` is the usual answer.
    answer: Option<Answer>,
    /// Says this before each answer.
    noise: &'static str,
    /// Sends byte by byte.
    drips: bool,
    capabilities: Option<&'static str>,
}

impl Server {
    fn start(oddity: Oddity) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let server = Self(Arc::new(Shared {
            address: listener.local_addr().expect("an address"),
            letters: Mutex::default(),
            said: Mutex::default(),
            connections: AtomicUsize::new(0),
            oddity,
        }));
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (server, number) =
                    (accepting.clone(), accepting.0.connections.fetch_add(1, Ordering::SeqCst));
                // Whoever hangs up ends it.
                thread::spawn(move || drop(server.serve(stream, number)));
            }
        });
        server
    }

    fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.0.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> Vec<String> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A message from the right sender comes now.
    fn deliver(&self, uid: u32, token: &str) {
        let now = Clock::system()
            .wall()
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%d-%b-%Y %H:%M:%S %z")
            .to_string();
        self.put(uid, token, &now);
    }

    fn put(&self, uid: u32, token: &str, received: &str) {
        let text = format!("From: {SENDER}\r\nSubject: Your token\r\n\r\nYour token is: {token}\r\n");
        self.letters().push(Letter(uid, received.to_owned(), text));
    }

    fn serve(&self, stream: TcpStream, number: usize) -> std::io::Result<()> {
        let mut sender = stream.try_clone()?;
        let mut lines = BufReader::new(stream);
        self.send(&mut sender, "* OK odd\r\n")?;
        let mut line = String::new();
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (tag, command) = line.trim_end().split_once(' ').unwrap_or_default();
            self.0.said.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{number} {command}"));
            let odd = self.0.oddity.answer.and_then(|answer| answer(self, number, command));
            let answer = match odd {
                Some(answer) if answer.is_empty() => return Ok(()),
                Some(answer) => answer,
                None if command == "IDLE" => {
                    self.idle(&mut sender, &mut lines)?;
                    "{tag} OK idled\r\n".to_owned()
                }
                None if command.starts_with("AUTHENTICATE") => {
                    self.send(&mut sender, "+ \r\n")?;
                    lines.read_line(&mut String::new())?;
                    "{tag} OK known\r\n".to_owned()
                }
                None => self.usual(command),
            };
            self.send(&mut sender, &format!("{}{}", self.0.oddity.noise, answer.replace("{tag}", tag)))?;
        }
    }

    fn send(&self, sender: &mut TcpStream, text: &str) -> std::io::Result<()> {
        if !self.0.oddity.drips {
            return sender.write_all(text.as_bytes());
        }
        sender.set_nodelay(true)?;
        text.as_bytes().iter().try_for_each(|byte| {
            thread::sleep(Duration::from_micros(200));
            sender.write_all(&[*byte])
        })
    }

    fn idle(&self, sender: &mut TcpStream, lines: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        let told = self.letters().len();
        self.send(sender, "+ idling\r\n")?;
        lines.get_ref().set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut has_told = false;
        let mut done = Vec::new();
        while !done.ends_with(b"DONE\r\n") {
            let count = self.letters().len();
            if count > told && !has_told {
                self.send(sender, &format!("* {count} EXISTS\r\n"))?;
                has_told = true;
            }
            let mut piece = [0; 64];
            match lines.read(&mut piece) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => done.extend_from_slice(&piece[..length]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        lines.get_ref().set_read_timeout(None)
    }

    fn usual(&self, command: &str) -> String {
        let letters = self.letters().clone();
        let next = letters.last().map_or(1, |letter| letter.0 + 1);
        let told = if command == "CAPABILITY" {
            let capabilities = self.0.oddity.capabilities.unwrap_or("IMAP4rev1 AUTH=PLAIN IDLE MOVE UIDPLUS");
            format!("* CAPABILITY {capabilities}\r\n")
        } else if command.starts_with("SELECT") {
            format!("* {} EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT {next}] y\r\n", letters.len())
        } else if let Some(range) = command.strip_prefix("UID FETCH ") {
            let (range, items) = range.split_once(' ').unwrap_or_default();
            let (first, is_open) = (range.trim_end_matches(":*").parse().unwrap_or(0), range.ends_with(":*"));
            let wanted = |letter: &&Letter| letter.0 == first || (is_open && letter.0 > first);
            let head = items.contains("HEADER.FIELDS");
            let shown = letters.iter().filter(wanted).map(|Letter(uid, received, text)| {
                let (name, text) = if head {
                    ("HEADER.FIELDS (FROM DATE SUBJECT)", text.split_inclusive("\r\n\r\n").next().unwrap_or_default())
                } else {
                    ("", text.as_str())
                };
                format!(
                    "* {uid} FETCH (INTERNALDATE \"{received}\" BODY[{name}]<0> {{{}}}\r\n{text} UID {uid})\r\n",
                    text.len()
                )
            });
            shown.collect()
        } else if command.starts_with("UID SEARCH") {
            let numbers: Vec<_> = letters.iter().map(|letter| letter.0.to_string()).collect();
            format!("* SEARCH {}\r\n", numbers.join(" "))
        } else {
            String::new()
        };
        told + "{tag} OK done\r\n"
    }
}

/// A portal that has a message delivered when it is asked, and a bearerd that waits for it.
struct Stage {
    server: Server,
    portal: Upstream,
    bearerd: Sidecar,
}

impl Stage {
    fn new(oddity: Oddity, lines: &str, asked: impl Fn(&Server) + Send + Sync + 'static) -> Self {
        Self::of(Server::start(oddity), "INBOX", lines, asked)
    }

    fn of(
        server: Server,
        folder: &str,
        lines: &str,
        asked: impl Fn(&Server) + Send + Sync + 'static,
    ) -> Self {
        let delivering = server.clone();
        let portal = Upstream::answering(move |_| {
            asked(&delivering);
            Reply::text("A token is on its way.")
        });
        let bearerd = Setup::new(&format!(
            "[credentials.portal]\nflow = \"login\"\ndefault_lifetime = \"1d\"\n\
             [[credentials.portal.steps]]\nurl = \"{}/token\"\nform = {{ user = \"me\" }}\n\
             [[credentials.portal.steps]]\n\
             outputs = {{ token = {{ regex = \"token is: ([A-Za-z0-9._-]{{8,}})\" }} }}\n\
             [credentials.portal.steps.mail]\nmailbox = \"imap://{}/{folder}\"\nusername = \"me\"\n\
             password = \"the-password-of-the-mailbox\"\nfrom = \"{SENDER}\"\n{lines}\n\
             [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"portal\"\n\
             inject = {{ headers = {{ Authorization = \"Bearer {{token}}\" }} }}\n",
            portal.origin(),
            server.0.address,
            portal.origin(),
        ));
        Self { server, portal, bearerd: bearerd.start() }
    }

    /// Waits until requests carry this token, and the portal was asked once for it.
    #[track_caller]
    fn brings(&self, token: &str) {
        self.bearerd.wait_until_ready();
        assert_eq!(self.bearerd.app().get("/api/x").status(), 200);
        let requests = self.portal.requests();
        let shown = requests.last().expect("a request").field("authorization");
        assert_eq!(shown, Some(format!("Bearer {token}")));
        assert_eq!(requests.len(), 2);
    }

    fn error(&self) -> String {
        self.bearerd.wait("an error", || {
            self.bearerd.credential("portal")["last_error"]["message"].as_str().map(str::to_owned)
        })
    }
}

#[test]
fn what_a_server_says_unasked_is_no_answer_in_whatever_place_it_stands() {
    let noise = "* OK Still here\r\n* 2 EXISTS\r\n* 5 FETCH (FLAGS (\\Seen UID))\r\n* 1 EXPUNGE\r\n* VANISHED 4:6\r\n\
                 * 9 FETCH (UID 99 BODY[] {28}\r\nToken is: not-asked-for-1234)\r\n* FLAGS ()\r\n* 0 RECENT\r\n";
    for drips in [false, true] {
        let token = canary::token();
        let mailed = token.clone();
        let oddity = Oddity { noise, drips, ..Oddity::default() };
        let stage = Stage::new(oddity, "", move |server| server.deliver(7, &mailed));
        stage.brings(&token);
        assert!(stage.server.said().iter().any(|said| said.contains("UID STORE 7 +FLAGS.SILENT (\\Seen)")));
    }
}

#[test]
fn a_server_that_knows_little_is_asked_for_little() {
    let token = canary::token();
    let mailed = token.clone();
    let oddity = Oddity { capabilities: Some("IMAP4rev1"), ..Oddity::default() };
    let stage = Stage::new(oddity, "then = \"move:R&D\"", move |server| server.deliver(7, &mailed));
    stage.brings(&token);
    let said = stage.server.said().join("\n");
    assert!(said.contains("LOGIN \"me\" \"the-password-of-the-mailbox\""), "{said}");
    assert!(
        said.contains("UID COPY 7 \"R&-D\"") && said.contains("UID STORE 7 +FLAGS.SILENT (\\Seen \\Deleted)"),
        "{said}"
    );
    assert!(["IDLE", "MOVE", "EXPUNGE", "NAMESPACE"].iter().all(|word| !said.contains(word)), "{said}");
}

#[test]
fn a_folder_is_found_below_the_prefix_of_its_server_and_made_where_that_helps() {
    let token = canary::token();
    let mailed = token.clone();
    let oddity = Oddity {
        capabilities: Some("IMAP4rev1 AUTH=PLAIN IDLE MOVE NAMESPACE"),
        answer: Some(|server, _, command| match command {
            "NAMESPACE" => Some("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n{tag} OK\r\n".to_owned()),
            "SELECT \"Tokens\"" => Some("{tag} NO [NONEXISTENT] no such folder\r\n".to_owned()),
            "UID MOVE 7 \"Done\"" => Some("{tag} NO outside of all namespaces\r\n".to_owned()),
            "UID MOVE 7 \"INBOX.Done\"" if !server.said().iter().any(|said| said.contains("CREATE")) => {
                Some("{tag} NO [TRYCREATE] make it\r\n".to_owned())
            }
            _ => None,
        }),
        ..Oddity::default()
    };
    let server = Server::start(oddity);
    let stage = Stage::of(server, "Tokens", "then = \"move:Done\"", move |server| server.deliver(7, &mailed));
    stage.brings(&token);
    let said = stage.server.said().join("\n");
    assert!(said.contains("SELECT \"INBOX.Tokens\"") && said.contains("CREATE \"INBOX.Done\""), "{said}");
    assert_eq!(said.matches("UID MOVE 7 \"INBOX.Done\"").count(), 2, "{said}");
    assert_eq!(
        stage.bearerd.credential("portal")["warnings"].as_array().map_or(0, |all| {
            all.iter()
                .filter(|warning| warning.as_str().is_some_and(|text| text.contains("stayed as it was")))
                .count()
        }),
        0
    );
}

#[test]
fn a_server_that_hangs_up_while_it_is_listened_to_is_called_again() {
    let oddity = Oddity {
        answer: Some(|server, _, command| {
            let idles = server.said().iter().filter(|said| said.ends_with("IDLE")).count();
            match (command, idles) {
                ("IDLE", 1) => {
                    server.deliver(7, "an-early-one-1234");
                    Some("* BYE for now\r\n".to_owned())
                }
                _ => None,
            }
        }),
        ..Oddity::default()
    };
    let stage = Stage::new(oddity, "", |_| {});
    let server = stage.server.clone();
    stage.brings("an-early-one-1234");
    assert!(server.0.connections.load(Ordering::SeqCst) >= 3);
}

#[test]
fn a_folder_that_was_made_anew_is_looked_through_by_the_time_at_which_messages_came() {
    let oddity = Oddity {
        answer: Some(|server, _, command| {
            let idles = server.said().iter().filter(|said| said.ends_with("IDLE")).count();
            match command {
                // With the break all numbers change: the old message has a high one, the new one a low one.
                "IDLE" if idles == 1 => {
                    server.letters().clear();
                    server.put(1, "of-last-year-12345", "01-Jan-2025 00:00:00 +0000");
                    server.deliver(2, "the-right-one-12345");
                    server.put(3, "of-yester-year-12345", "01-Jan-2024 00:00:00 +0000");
                    Some(String::new())
                }
                command if command.starts_with("SELECT") && idles > 0 => Some(
                    "* 3 EXISTS\r\n* OK [UIDVALIDITY 2] x\r\n* OK [UIDNEXT 4] y\r\n{tag} OK\r\n".to_owned(),
                ),
                _ => None,
            }
        }),
        ..Oddity::default()
    };
    let server = Server::start(oddity);
    server.put(50, "of-last-year-12345", "01-Jan-2025 00:00:00 +0000");
    let stage = Stage::of(server, "INBOX", "", |_| {});
    stage.brings("the-right-one-12345");
}

#[test]
fn a_server_that_sends_more_than_it_was_asked_for_is_hung_up_on() {
    let cases: [(Answer, &str); 4] = [
        (
            |_, _, command| fetched(command, "* 7 FETCH (UID 7 BODY[] {4294967296}\r\n"),
            "sends more than was asked for",
        ),
        (
            |_, _, command| fetched(command, "* 7 FETCH (BODY[] {99999999999999999999}\r\n"),
            "sends more than was asked for",
        ),
        (|_, _, command| fetched(command, &"x".repeat(100_000)), "sends a line without end"),
        (|_, _, command| fetched(command, "{tag} BAD what?\r\n"), "refused `UID FETCH`: BAD what?"),
    ];
    for (answer, told) in cases {
        let oddity = Oddity { answer: Some(answer), ..Oddity::default() };
        let stage = Stage::new(oddity, "wait = \"1s\"", |server| server.deliver(7, "never-read-12345"));
        let message = stage.error();
        assert!(message.contains(told), "{message}");
        let (now, _) = stage.bearerd.memory();
        assert!(now < 200_000, "{now} KiB");
    }
}

#[test]
fn a_mailbox_that_goes_away_when_it_is_shown_the_password_is_not_shown_it_again_and_again() {
    let oddity = Oddity {
        answer: Some(|_, _, command| command.starts_with("AUTHENTICATE").then(String::new)),
        ..Oddity::default()
    };
    let stage = Stage::new(oddity, "", |_| {});
    let message = stage.error();
    assert!(
        message.contains("broke the connection off when it was shown the name and the password"),
        "{message}"
    );
    let credential = stage.bearerd.credential("portal");
    let again: jiff::Timestamp = credential["renew_at"].as_str().expect("a time").parse().expect("a time");
    assert!(again.duration_since(Clock::system().wall()).as_mins() >= 58, "{credential}");
    assert_eq!(stage.server.0.connections.load(Ordering::SeqCst), 1);
    assert!(stage.portal.requests().is_empty());
}

#[test]
fn a_portal_that_does_not_answer_may_have_had_the_message_sent() {
    let server = Server::start(Oddity::default());
    let (portal, delivering) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"), server.clone());
    let address = portal.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = portal.accept().expect("a question");
        let _ = stream.read(&mut [0; 4096]);
        delivering.deliver(7, "sent-all-the-same-1");
    });
    let upstream = Upstream::start();
    let bearerd = Setup::new(&format!(
        "[credentials.portal]\nflow = \"login\"\ndefault_lifetime = \"1d\"\n\
         [[credentials.portal.steps]]\nurl = \"http://{address}/token\"\nform = {{ user = \"me\" }}\n\
         [[credentials.portal.steps]]\noutputs = {{ token = {{ regex = \"token is: ([a-z0-9-]{{8,}})\" }} }}\n\
         [credentials.portal.steps.mail]\nmailbox = \"imap://{}\"\nusername = \"me\"\n\
         password = \"the-password-of-the-mailbox\"\nfrom = \"{SENDER}\"\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"portal\"\n\
         inject = {{ headers = {{ Authorization = \"Bearer {{token}}\" }} }}\n",
        server.0.address,
        upstream.origin(),
    ))
    .start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(upstream.request().field("authorization").as_deref(), Some("Bearer sent-all-the-same-1"));
}
