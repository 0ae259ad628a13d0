//! Sockets that accept.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Type};

use crate::server::ListenerSpec;
use crate::server::inherited::Inherited;
use crate::server::tls::Tls;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Where the configuration wants a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// At an address that bearerd binds.
    To(Address),
    /// `fd:NAME`: at a socket that was bound for bearerd.
    Inherited(String),
}

impl Bind {
    /// Whether the system chooses the port.
    pub fn is_any_port(&self) -> bool {
        matches!(self, Self::To(Address::Tcp(address)) if address.port() == 0)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(address) => address.fmt(formatter),
            Self::Inherited(name) => write!(formatter, "fd:{name}"),
        }
    }
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/bearerd/app.sock`.
    Unix(PathBuf),
}

impl Address {
    /// Whether others than this machine's own programs may reach it.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

impl fmt::Display for Address {
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
    address: Address,
    socket: Socket,
    tls: Option<Arc<Tls>>,
}

/// A bound socket; it does not block.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, with the file that goes when it does, if it is bearerd's own.
    Unix(UnixListener, Option<SocketFile>),
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
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault it is that a listener cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine does not have what is asked for, or not now.
    Machine,
    /// The configuration asks for what must not be.
    Configuration,
}

impl BindError {
    fn new(spec: &ListenerSpec, fault: Fault, reason: impl fmt::Display) -> Self {
        Self { listener: spec.name.clone(), bind: spec.bind.clone(), reason: reason.to_string(), fault }
    }
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
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it shows, if it speaks TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// The socket to accept from.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

/// Binds all listeners, or none. Blocks on the file system where one speaks TLS.
pub fn bind<'a>(
    specs: impl IntoIterator<Item = &'a ListenerSpec>,
    inherited: &Inherited,
) -> Result<Vec<Bound>, BindError> {
    specs.into_iter().map(|spec| bind_one(spec, inherited)).collect()
}

fn bind_one(spec: &ListenerSpec, inherited: &Inherited) -> Result<Bound, BindError> {
    let mode = mode(spec.allow.is_some());
    let (address, socket) = match &spec.bind {
        Bind::To(address) => {
            bind_with_mode(address, mode).map_err(|error| BindError::new(spec, Fault::Machine, error))?
        }
        Bind::Inherited(name) => {
            let misconfigured = |reason| BindError::new(spec, Fault::Configuration, reason);
            let (address, socket) = inherited.socket(name).map_err(|why| misconfigured(why.to_string()))?;
            check_inherited(spec, &address).map_err(|reason| misconfigured(reason.to_owned()))?;
            (address, socket)
        }
    };
    Ok(Bound { tls: load_tls(spec, None)?, spec: spec.clone(), address, socket })
}

/// What the configuration is checked for where it names an address.
fn check_inherited(spec: &ListenerSpec, address: &Address) -> Result<(), &'static str> {
    if spec.tls.is_some() && matches!(address, Address::Unix(_)) {
        return Err("a Unix socket does not speak `tls`: it knows its callers by their uid");
    }
    if matches!(address, Address::Tcp(_)) {
        if spec.needs.gids || spec.needs.cgroup {
            return Err("callers' `gids` and `cgroups` are known on Unix sockets only");
        }
        if spec.needs.uid && address.is_remote() {
            return Err("callers' `uids` are known on this machine only, and this is not a loopback address");
        }
    } else if spec.needs.names {
        return Err("callers show certificates with `names` by TLS, which a Unix socket does not speak");
    }
    if address.is_remote() && !spec.may_be_remote() {
        return Err(
            "it is not a loopback address: everyone who reaches it could use the credentials (bind the \
                    socket to 127.0.0.1, let callers show certificates by `tls.client_ca`, or say \
                    `allow_remote = true`)",
        );
    }
    Ok(())
}

/// What a listener shows and whom it lets in, as its files have it now.
pub(super) fn load_tls(spec: &ListenerSpec, before: Option<&Tls>) -> Result<Option<Arc<Tls>>, BindError> {
    let load = |tls| Tls::load(tls, before).map(Arc::new);
    spec.tls.as_ref().map(load).transpose().map_err(|error| BindError::new(spec, Fault::Configuration, error))
}

/// The mode of a socket that only bearerd's own user may connect to.
const OWN_USER: u32 = 0o600;

/// Others call only where the listener says who: then that is checked.
fn mode(says_who: bool) -> u32 {
    if says_who { 0o666 } else { OWN_USER }
}

/// Lets those connect to a Unix socket that is bound who may by another rule.
pub(super) fn change_mode(path: &Path, says_who: bool) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode(says_who)))
}

/// Binds one socket, and says where: the port is the one that the system gave. A Unix socket is for
/// bearerd's own user alone.
pub fn bind_socket(address: &Address) -> io::Result<(Address, Socket)> {
    bind_with_mode(address, OWN_USER)
}

fn bind_with_mode(address: &Address, mode: u32) -> io::Result<(Address, Socket)> {
    let bound = match address {
        Address::Tcp(address) => bind_tcp(*address),
        Address::Unix(path) => bind_unix(path, mode),
    };
    bound.map_err(|error| io::Error::new(error.kind(), reason(&error)))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".into(),
        io::ErrorKind::PermissionDenied => format!("{error}: ports below 1024 and some folders need rights"),
        io::ErrorKind::NotFound => "its folder is not there".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => error.to_string(),
    }
}

/// Without `SO_REUSEPORT`: a second process on the same port shall fail, not share.
fn bind_tcp(address: SocketAddr) -> io::Result<(Address, Socket)> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    Ok((Address::Tcp(listener.local_addr()?), Socket::Tcp(listener)))
}

/// Binds under a name of its own and renames: the socket never stands there with a mode that is too
/// wide, and a stale one is replaced in one step.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(Address, Socket)> {
    refuse_to_replace(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    // Left by a process of the same number, as containers have it, that was killed just then.
    if refuse_to_replace(&temporary).is_ok() {
        let _ = fs::remove_file(&temporary);
    }
    let listener = UnixListener::bind(&temporary)?;
    let file = SocketFile::new(temporary);
    fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    let file = file.rename(path)?;
    Ok((Address::Unix(path.to_owned()), Socket::Unix(listener, Some(file))))
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

    use super::{Address, Bind, bind};
    use crate::caller::Needs;
    use crate::server::inherited::Inherited;
    use crate::server::{ListenerLimits, ListenerSpec};

    fn spec(address: Address) -> ListenerSpec {
        ListenerSpec {
            name: "app".into(),
            bind: Bind::To(address),
            allow_remote: false,
            tls: None,
            hosts: Vec::new(),
            allow: None,
            needs: Needs::default(),
            accounts: Vec::new(),
            control: false,
            limits: ListenerLimits::default(),
        }
    }

    #[test]
    fn a_port_is_told_and_belongs_to_one_process() {
        let any = Address::Tcp("127.0.0.1:0".parse().expect("address"));
        let first = bind(&[spec(any)], &Inherited::default()).expect("free");
        let Address::Tcp(address) = first[0].address() else { panic!("tcp") };
        assert_ne!(address.port(), 0);
        let second = bind(&[spec(Address::Tcp(*address))], &Inherited::default()).expect_err("taken");
        assert!(second.to_string().contains("another process listens there"), "{second}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("app.sock");
        drop(UnixListener::bind(&path).expect("bind"));
        let aside = folder.path().join(format!("app.sock.{}", std::process::id()));
        drop(UnixListener::bind(&aside).expect("bind"));
        let live = bind(&[spec(Address::Unix(path.clone()))], &Inherited::default())
            .expect("a stale one is replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(!aside.exists(), "so is what a start that was killed left");
        bind(&[spec(Address::Unix(path.clone()))], &Inherited::default()).expect_err("a live one is not");
        drop(live);
        assert!(!path.exists(), "it goes with its listener");
        std::fs::write(&path, "data").expect("write");
        bind(&[spec(Address::Unix(path.clone()))], &Inherited::default()).expect_err("a file is not");
        assert_eq!(std::fs::read(&path).expect("still there"), b"data");
    }
}
