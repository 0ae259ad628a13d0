use std::sync::Arc;

use rustls::client::{ClientSessionStore, Resumption};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{BITES, Sessions, TICKETS};
use crate::upstream::testing::Authority;

const SERVERS: usize = 5;

fn name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).expect("a name")
}

/// Sessions after one connection to a server that sends this many tickets.
async fn after_tickets(count: usize) -> Sessions {
    let authority = Authority::new();
    let mut server = ServerConfig::clone(&authority.server("a.example"));
    server.send_tls13_tickets = count;
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates([authority.der()]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let sessions = Arc::new(Sessions::new(SERVERS));
    client.resumption = Resumption::store(Arc::clone(&sessions) as _);

    let (near, far) = tokio::io::duplex(1 << 20);
    let serve = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await.expect("a handshake");
        stream.shutdown().await.expect("a client");
    };
    let visit = async {
        let stream = TlsConnector::from(Arc::new(client)).connect(name("a.example"), near).await;
        stream.expect("a handshake").read_to_end(&mut Vec::new()).await.expect("an end");
    };
    tokio::join!(serve, visit);
    Arc::into_inner(sessions).expect("the connection is gone")
}

#[tokio::test]
async fn a_ticket_is_used_once() {
    let sessions = after_tickets(2).await;
    assert!(sessions.take_tls13_ticket(&name("b.example")).is_none());
    for left in [true, true, false] {
        assert_eq!(sessions.take_tls13_ticket(&name("a.example")).is_some(), left);
    }
}

#[tokio::test]
async fn tickets_of_a_server_are_bounded() {
    let sessions = after_tickets(TICKETS + 1).await;
    let taken = std::iter::from_fn(|| sessions.take_tls13_ticket(&name("a.example")));
    assert_eq!(taken.count(), TICKETS);
}

#[test]
fn the_server_that_was_met_longest_ago_is_forgotten_first() {
    let sessions = Sessions::new(SERVERS);
    let meet = |number: usize| sessions.set_kx_hint(name(&format!("{number}.example")), NamedGroup::X25519);
    let is_known = |number: usize| sessions.kx_hint(&name(&format!("{number}.example"))).is_some();
    (0..SERVERS).for_each(meet);
    meet(0);
    let forgotten = BITES.tls_servers.get();
    meet(SERVERS);
    assert_eq!(BITES.tls_servers.get() - forgotten, 1);
    let known: Vec<_> = (0..=SERVERS).filter(|number| is_known(*number)).collect();
    assert_eq!(known, (0..=SERVERS).filter(|number| *number != 1).collect::<Vec<_>>());
}
