//! Sockets that whoever started bearerd has bound: systemd's socket activation (sd_listen_fds(3)).

use std::env;
use std::fmt;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::server::listener::{Address, Socket};

/// The name of a socket that was passed without one (sd_listen_fds_with_names(3)).
const UNNAMED: &str = "unknown";

/// The sockets that this process inherited, by name. They stay open for as long as it runs, so that a
/// listener may go with one reload and come back with another.
#[derive(Debug, Clone, Default)]
pub struct Inherited(Arc<[(String, Passed)]>);

#[derive(Debug)]
enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Neither of them.
    Other,
}

/// Why there is no such socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotInherited {
    /// None has this name; those that there are.
    Unknown(Vec<String>),
    /// Several have this name.
    Several,
    /// It does not listen, or not for streams over TCP or a Unix socket.
    NoListener,
    /// What the system said.
    Broken(String),
}

impl fmt::Display for NotInherited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(names) if names.is_empty() => formatter.write_str(
                "no socket was passed to this process: start it by a socket unit of systemd, or bind an address",
            ),
            Self::Unknown(names) => {
                write!(formatter, "no socket of this name was passed: there is {}", names.join(", "))
            }
            Self::Several => formatter.write_str(
                "several sockets of this name were passed: a socket unit for each, with a \
                 `FileDescriptorName=` of its own, tells them apart",
            ),
            Self::NoListener => formatter.write_str(
                "the socket of this name does not listen for streams: the socket unit needs \
                 `ListenStream=` and `Accept=no`",
            ),
            Self::Broken(reason) => formatter.write_str(reason),
        }
    }
}

impl Inherited {
    /// Takes over what this process was passed. Call it once, before there are threads: the variables
    /// that tell of the sockets are taken out of the environment.
    pub fn of_process() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
            (name.to_owned(), Passed::take(&mut passed, index))
        });
        Self(sockets.collect())
    }

    /// The socket of a name, and where it listens.
    pub fn socket(&self, name: &str) -> Result<(Address, Socket), NotInherited> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        let socket = match (named.next(), named.next()) {
            (Some((_, socket)), None) => socket,
            (Some(_), Some(_)) => return Err(NotInherited::Several),
            (None, _) => {
                return Err(NotInherited::Unknown(self.0.iter().map(|(name, _)| name.clone()).collect()));
            }
        };
        let broken = |error: std::io::Error| NotInherited::Broken(error.to_string());
        match socket {
            Passed::Tcp(listener) if SockRef::from(listener).is_listener().map_err(broken)? => {
                listener.set_nonblocking(true).map_err(broken)?;
                let address = Address::Tcp(listener.local_addr().map_err(broken)?);
                Ok((address, Socket::Tcp(listener.try_clone().map_err(broken)?)))
            }
            Passed::Unix(listener) if SockRef::from(listener).is_listener().map_err(broken)? => {
                listener.set_nonblocking(true).map_err(broken)?;
                let address = listener.local_addr().map_err(broken)?;
                let path = address.as_pathname().map_or_else(|| "(abstract)".into(), PathBuf::from);
                Ok((Address::Unix(path), Socket::Unix(listener.try_clone().map_err(broken)?, None)))
            }
            _ => Err(NotInherited::NoListener),
        }
    }
}

impl Passed {
    fn take(passed: &mut ListenFd, index: usize) -> Self {
        if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
            return Self::Tcp(listener);
        }
        match passed.take_unix_listener(index) {
            Ok(Some(listener)) => Self::Unix(listener),
            _ => Self::Other,
        }
    }
}
