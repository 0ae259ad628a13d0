//! Sockets that accept.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// `127.0.0.1:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/bearerd/app.sock`.
    Unix(PathBuf),
}
