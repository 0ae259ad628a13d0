//! Who is at the other end of a connection, and whether he may call at all.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;

use crate::caller::{Denied, Peer};
use crate::certificate::AlternativeNames;
use crate::proxy::{Code, ProxyError};
use crate::server::socket::AppStream;
use crate::server::{Address, Listener, Settings, peer};

/// Who is at the other end of a connection.
#[derive(Debug, Default)]
pub struct Visitor {
    /// What is known of him, if any rule asks.
    pub peer: Option<Box<Peer>>,
    /// What his requests are answered with, if he may not call.
    pub refusal: Option<Box<ProxyError>>,
}

impl Visitor {
    /// Whoever has just connected, over TCP `from` some address.
    pub(super) fn meet(stream: &AppStream, from: Option<IpAddr>, listener: &Listener) -> Self {
        let settings = listener.settings.load();
        let look = || Box::new(Peer { address: from, ..peer::look(stream, settings.needs) });
        let peer = settings.needs.any().then(look);
        let refusal = check_way(from, &listener.address)
            .and_then(|()| check_process(stream, peer.as_deref(), &settings))
            .err()
            .map(|denied| Box::new(refusal(denied)));
        Self { peer, refusal }
    }

    /// The same, as his certificate names him.
    pub(super) fn introduce(&mut self, stream: &AppStream, settings: &Settings) {
        let Some(peer) = self.peer.as_mut().filter(|_| settings.needs.names) else { return };
        let certificate = match stream {
            AppStream::Tls(stream) => {
                stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first)
            }
            AppStream::Tcp(_) | AppStream::Unix(_) => None,
        };
        peer.names = certificate.map(AlternativeNames::of).ok_or_else(|| "it showed no certificate".into());
        let checked = settings.allow.as_ref().map_or(Ok(()), |rule| rule.check_names(peer));
        self.refusal = self.refusal.take().or_else(|| checked.err().map(|denied| Box::new(refusal(denied))));
    }
}

fn refusal(denied: Denied) -> ProxyError {
    ProxyError::new(Code::CallerDenied, denied.detail).because(denied.cause).and_close()
}

/// A listener on loopback takes nobody from elsewhere, not even where the network leads him there
/// (CVE-2020-8558).
fn check_way(from: Option<IpAddr>, to: &Address) -> Result<(), Denied> {
    match from {
        Some(from) if !to.is_remote() && !from.to_canonical().is_loopback() => Err(Denied {
            detail: "this listener is for this machine alone",
            cause: format!("it came from {from} to a loopback address"),
        }),
        _ => Ok(()),
    }
}

/// Without a rule a Unix socket takes bearerd's own user alone.
fn check_process(stream: &AppStream, peer: Option<&Peer>, settings: &Settings) -> Result<(), Denied> {
    match (&settings.allow, stream, peer) {
        (Some(rule), _, peer) => rule.check_process(peer.unwrap_or(&Peer::default())),
        (None, AppStream::Tcp(_) | AppStream::Tls(_), _) => Ok(()),
        (None, AppStream::Unix(stream), _) => {
            let detail = "this user may not call";
            let own = rustix::process::geteuid().as_raw();
            match stream.peer_cred() {
                Ok(caller) if caller.uid() == own => Ok(()),
                Ok(caller) => {
                    let cause =
                        format!("the caller's uid is {}, and without `allow` only {own} may", caller.uid());
                    Err(Denied { detail, cause })
                }
                Err(error) => Err(Denied { detail, cause: format!("its user is not known: {error}") }),
            }
        }
    }
}
