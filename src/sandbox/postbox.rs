//! The mailbox of somebody who is mailed a token: kept here and shown over IMAP, and put into a Maildir, too, if
//! there is one.

mod imap;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// Whose mailbox it is.
pub const USERNAME: &str = "officer@department.example";
/// The mailbox's password.
pub const PASSWORD: &str = "mailbox-demo-password";

/// One message.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its unique identifier.
    pub uid: u32,
    /// All of it, with its head.
    pub text: String,
    /// It was marked as read.
    pub seen: bool,
    /// The folder that it was moved to; `None` while it is in the inbox.
    pub moved_to: Option<String>,
}

/// A mailbox.
#[derive(Debug)]
pub struct Postbox {
    clock: Clock,
    letters: Mutex<Vec<Letter>>,
    maildir: Mutex<Option<PathBuf>>,
    /// How many messages have come.
    count: watch::Sender<u32>,
}

/// How its server behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// It breaks connections off, until this time since boot.
    pub down_until: Option<Duration>,
    /// It does not tell of news.
    pub deaf: bool,
}

/// A server of one mailbox; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Postbox {
    /// An empty mailbox.
    pub fn new(clock: &Clock) -> Self {
        let count = watch::Sender::new(0);
        Self { clock: clock.clone(), letters: Mutex::default(), maildir: Mutex::default(), count }
    }

    /// What comes from now on is put into this folder, too, which is made a Maildir.
    pub fn also_into(&self, maildir: &Path) -> io::Result<()> {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(maildir.join(part))?;
        }
        *self.maildir.lock().unwrap_or_else(PoisonError::into_inner) = Some(maildir.to_owned());
        Ok(())
    }

    /// A message comes, written at `written`.
    pub fn deliver(&self, from: &str, subject: &str, body: &str, written: Timestamp) {
        let date = written.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let head = format!("From: {from}\r\nTo: {USERNAME}\r\nSubject: {subject}\r\nDate: {date}\r\n");
        let text = format!("{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n");
        let maildir = self.maildir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut letters = self.letters();
        let uid = u32::try_from(letters.len()).unwrap_or(u32::MAX).saturating_add(1);
        if let Some(maildir) = maildir {
            let name = format!("{}.{uid}.sandbox", self.clock.wall().as_second());
            // First as a whole, then where readers look: the rule of Maildirs.
            let made = fs::write(maildir.join("tmp").join(&name), &text);
            let made = made
                .and_then(|()| fs::rename(maildir.join("tmp").join(&name), maildir.join("new").join(&name)));
            if let Err(error) = made {
                tracing::warn!(%error, "a message could not be put into the Maildir");
            }
        }
        letters.push(Letter { uid, text, seen: false, moved_to: None });
        drop(letters);
        self.count.send_replace(uid);
    }

    /// All messages that ever came and were not deleted.
    pub fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves it over IMAP.
    pub async fn serve(self: Arc<Self>, address: SocketAddr, manners: Manners) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { address, task: tokio::spawn(imap::accept(listener, self, manners)) })
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
