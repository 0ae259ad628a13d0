//! Sockets that accept.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::server::ListenerSpec;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// `127.0.0.1:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/bearerd/app.sock`.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A listener whose socket is bound, but not yet accepted from.
#[derive(Debug)]
pub struct Bound {
    spec: ListenerSpec,
    address: Bind,
    socket: Socket,
}

/// A bound socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Why a listener cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindError {
    /// The listener's name in the configuration.
    pub listener: String,
    /// Where it should listen.
    pub bind: Bind,
    /// What the system said, and what to do.
    pub reason: String,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the listener `{}` cannot listen on {}: {}", self.listener, self.bind, self.reason)
    }
}

impl std::error::Error for BindError {}

impl Bound {
    /// What the configuration says.
    pub fn spec(&self) -> &ListenerSpec {
        &self.spec
    }

    /// Where it listens; the port is the one that the system gave.
    pub fn address(&self) -> &Bind {
        &self.address
    }

    /// The socket to accept from.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

/// Binds all listeners, or none.
pub fn bind(specs: &[ListenerSpec]) -> Result<Vec<Bound>, BindError> {
    specs.iter().map(bind_one).collect()
}

fn bind_one(spec: &ListenerSpec) -> Result<Bound, BindError> {
    let failed = |error: io::Error| BindError {
        listener: spec.name.clone(),
        bind: spec.bind.clone(),
        reason: error.to_string(),
    };
    let (address, socket) = bind_socket(&spec.bind).map_err(failed)?;
    Ok(Bound { spec: spec.clone(), address, socket })
}

/// Binds one socket, and says where: the port is the one that the system gave.
pub fn bind_socket(bind: &Bind) -> io::Result<(Bind, Socket)> {
    Ok(match bind {
        Bind::Tcp(address) => {
            let socket = TcpListener::bind(address)?;
            (Bind::Tcp(socket.local_addr()?), Socket::Tcp(socket))
        }
        Bind::Unix(path) => (bind.clone(), Socket::Unix(UnixListener::bind(path)?)),
    })
}
