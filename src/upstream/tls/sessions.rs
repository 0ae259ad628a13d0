//! Sessions of servers, to resume them: then a handshake needs no certificate and less of both CPUs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::upstream::egress::BITES;

#[cfg(test)]
mod tests;

/// How many TLS 1.3 tickets of a server are kept; beyond, the oldest go. A ticket is used once (RFC 8446,
/// appendix C.4) and the next comes only with the answer, so this many connections to a server that
/// closes after each answer can be under way at once, and all resume. A ticket holds its own copy of
/// the server's certificates: with 4 KiB of them, a server's tickets take 1 MiB at most.
const TICKETS: usize = 256;

/// The sessions of an identity, in memory only.
pub(super) struct Sessions {
    servers: Mutex<VecDeque<Server>>,
    /// How many servers are remembered; beyond, the one that was met longest ago is forgotten.
    most: usize,
}

/// What is remembered of a server.
struct Server {
    name: ServerName<'static>,
    /// The group of its last key exchange: the next client hello offers a share of it at once.
    group: Option<NamedGroup>,
    /// Its last session of TLS 1.2, which may be resumed any number of times.
    session: Option<Tls12ClientSessionValue>,
    /// The oldest first.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Server {
    fn new(name: ServerName<'static>) -> Self {
        Self { name, group: None, session: None, tickets: VecDeque::new() }
    }
}

impl Sessions {
    /// Room for the sessions of so many servers.
    pub(super) fn new(most: usize) -> Self {
        Self { servers: Mutex::default(), most }
    }

    /// Reads or takes something of a server, if it is known.
    fn recall<T>(&self, name: &ServerName<'_>, part: impl FnOnce(&mut Server) -> Option<T>) -> Option<T> {
        self.servers().iter_mut().find(|server| server.name == *name).and_then(part)
    }

    /// Notes something of a server, which is now the one that was met last.
    fn note(&self, name: ServerName<'static>, change: impl FnOnce(&mut Server)) {
        let mut servers = self.servers();
        let known = servers.iter().position(|server| server.name == name);
        let mut server = known.and_then(|at| servers.remove(at)).unwrap_or_else(|| Server::new(name));
        change(&mut server);
        if servers.len() >= self.most && servers.pop_front().is_some() {
            BITES.tls_servers.increment();
        }
        servers.push_back(server);
    }

    fn servers(&self) -> MutexGuard<'_, VecDeque<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.note(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.recall(name, |server| server.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.note(name, |server| server.session = Some(session));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.recall(name, |server| server.session.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.recall(name, |server| server.session.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.note(name, |server| {
            if server.tickets.len() == TICKETS {
                server.tickets.pop_front();
            }
            server.tickets.push_back(ticket);
        });
    }

    /// The newest: the server is the likeliest to still hold the key of that one.
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.recall(name, |server| server.tickets.pop_back())
    }
}

/// Tells nothing: every session is a secret.
impl fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sessions").finish_non_exhaustive()
    }
}
