//! A mail server that takes everything.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::support::{PATIENCE, canary};

/// A mail that came.
#[derive(Debug)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub text: String,
}

/// A mail server on loopback, without TLS and users.
pub struct MailServer {
    address: SocketAddr,
    mails: Receiver<Mail>,
}

impl MailServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, mails) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || converse(stream, &sender));
            }
        });
        Self { address, mails }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[track_caller]
    pub fn next(&self) -> Mail {
        self.mails.recv_timeout(PATIENCE).expect("a mail")
    }
}

/// The lines of a message.
pub fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("\r\n")
}

fn converse(mut stream: TcpStream, mails: &Sender<Mail>) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut mail = Mail { from: String::new(), to: Vec::new(), text: String::new() };
    let mut say = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes());
    let mut line = String::new();
    let _ = say("220 mail.test");
    while let Ok(1..) = reader.read_line(&mut line) {
        canary::look_for_secrets(line.as_bytes());
        let said = std::mem::take(&mut line);
        let told = match said.trim_end().split_once(':').unwrap_or((said.trim_end(), "")) {
            (verb, _) if verb.starts_with("EHLO") => say("250-mail.test\r\n250 8BITMIME"),
            ("MAIL FROM", from) => {
                from.clone_into(&mut mail.from);
                say("250 yes")
            }
            ("RCPT TO", to) => {
                mail.to.push(to.to_owned());
                say("250 yes")
            }
            ("DATA", _) => {
                let _ = say("354 go on");
                while !mail.text.ends_with("\r\n.\r\n") {
                    if !matches!(reader.read_line(&mut mail.text), Ok(1..)) {
                        return;
                    }
                }
                canary::look_for_secrets(mail.text.as_bytes());
                let whole = Mail { from: mail.from.clone(), to: mail.to.clone(), text: mail.text.clone() };
                let _ = mails.send(whole);
                say("250 taken")
            }
            ("QUIT", _) => return,
            _ => say("500 what?"),
        };
        if told.is_err() {
            return;
        }
    }
}
