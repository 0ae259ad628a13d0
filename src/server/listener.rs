//! Sockets that accept.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Type};

use crate::server::ListenerSpec;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

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

/// A bound socket; it does not block.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, with the file that goes when it does.
    Unix(UnixListener, SocketFile),
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
    // Other users call only where the listener names them: then their uid is checked.
    let mode = if spec.allow_uids.is_empty() { OWN_USER } else { 0o666 };
    let (address, socket) = bind_with_mode(&spec.bind, mode).map_err(|error| BindError {
        listener: spec.name.clone(),
        bind: spec.bind.clone(),
        reason: error.to_string(),
    })?;
    Ok(Bound { spec: spec.clone(), address, socket })
}

/// The mode of a socket that only bearerd's own user may connect to.
const OWN_USER: u32 = 0o600;

/// Binds one socket, and says where: the port is the one that the system gave. A Unix socket is for
/// bearerd's own user alone.
pub fn bind_socket(bind: &Bind) -> io::Result<(Bind, Socket)> {
    bind_with_mode(bind, OWN_USER)
}

fn bind_with_mode(bind: &Bind, mode: u32) -> io::Result<(Bind, Socket)> {
    let bound = match bind {
        Bind::Tcp(address) => bind_tcp(*address),
        Bind::Unix(path) => bind_unix(path, mode),
    };
    bound.map_err(|error| io::Error::new(error.kind(), reason(&error)))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".into(),
        io::ErrorKind::PermissionDenied => format!("{error}: ports below 1024 and some folders need rights"),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => error.to_string(),
    }
}

/// Without `SO_REUSEPORT`: a second process on the same port shall fail, not share.
fn bind_tcp(address: SocketAddr) -> io::Result<(Bind, Socket)> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    Ok((Bind::Tcp(listener.local_addr()?), Socket::Tcp(listener)))
}

/// Binds under a name of its own and renames: the socket never stands there with a mode that is too
/// wide, and a stale one is replaced in one step.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(Bind, Socket)> {
    refuse_to_replace(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let listener = UnixListener::bind(&temporary)?;
    let file = SocketFile::new(temporary);
    fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    let file = file.rename(path)?;
    Ok((Bind::Unix(path.to_owned()), Socket::Unix(listener, file)))
}

/// Only a socket that nobody listens on any more may be replaced.
fn refuse_to_replace(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::other("there is a file that is not a socket; remove it or choose another path"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(error) => Err(error),
        },
    }
}

/// The file of a Unix socket, removed with it unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: PathBuf) -> Self {
        Self { identity: identity(&path), path }
    }

    fn rename(mut self, path: &Path) -> io::Result<Self> {
        fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(self)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // If it cannot be removed it is stale, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::{Bind, bind};
    use crate::server::{ListenerLimits, ListenerSpec};

    fn spec(bind: Bind) -> ListenerSpec {
        ListenerSpec {
            name: "app".into(),
            bind,
            hosts: Vec::new(),
            allow_uids: Vec::new(),
            limits: ListenerLimits::default(),
        }
    }

    #[test]
    fn a_port_is_told_and_belongs_to_one_process() {
        let any = Bind::Tcp("127.0.0.1:0".parse().expect("address"));
        let first = bind(&[spec(any)]).expect("free");
        let Bind::Tcp(address) = first[0].address() else { panic!("tcp") };
        assert_ne!(address.port(), 0);
        let second = bind(&[spec(Bind::Tcp(*address))]).expect_err("taken");
        assert!(second.to_string().contains("another process listens there"), "{second}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("app.sock");
        drop(UnixListener::bind(&path).expect("bind"));
        let live = bind(&[spec(Bind::Unix(path.clone()))]).expect("a stale one is replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        bind(&[spec(Bind::Unix(path.clone()))]).expect_err("a live one is not");
        drop(live);
        assert!(!path.exists(), "it goes with its listener");
        std::fs::write(&path, "data").expect("write");
        bind(&[spec(Bind::Unix(path.clone()))]).expect_err("a file is not");
        assert_eq!(std::fs::read(&path).expect("still there"), b"data");
    }
}
