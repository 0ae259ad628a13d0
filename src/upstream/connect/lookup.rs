//! Names to addresses, and which of those may be dialed. What was judged is what is dialed: no name
//! is looked up twice for one connection, and none is remembered for the next.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

use crate::upstream::connect::error::{ConnectError, Shortage};
use crate::upstream::{EgressSpec, address, egress};

/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 8;

/// Asks the system's resolver, a few names at a time.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Semaphore>);

impl Resolver {
    /// One that asks for so many names at once.
    pub(super) fn new(lookups: usize) -> Self {
        Self(Arc::new(Semaphore::new(lookups)))
    }

    /// The addresses of a host that may be dialed by `egress`; at least one. `is_consent` says that
    /// whoever configured the name means it wherever it leads.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
        egress: &EgressSpec,
        is_consent: bool,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let forbidden = |address: IpAddr| ConnectError::Forbidden { host: host.to_owned(), address };
        if address::is_metadata_name(host) {
            return Err(ConnectError::ForbiddenName { host: host.to_owned() });
        }
        let (found, is_consent) = if let Ok(literal) = host.parse::<IpAddr>() {
            (vec![literal], true)
        } else if host == "localhost" {
            // RFC 6761, section 6.3: this name is never asked of a server.
            (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], true)
        } else {
            (self.look_up(host).await?, is_consent || egress.allow_private)
        };
        let usable: Vec<_> = found.into_iter().filter(|address| egress.can_dial(*address)).collect();
        let Some(first) = usable.first().copied() else {
            let reason = "it has no address of the kind that its egress uses".to_owned();
            return Err(ConnectError::Resolve { host: host.to_owned(), reason });
        };
        let may_be_dialed = |address: &IpAddr| {
            !address::is_metadata(*address) && (is_consent || !address::is_private(*address))
        };
        let allowed = take_turns(usable.into_iter().filter(may_be_dialed));
        if allowed.is_empty() {
            return Err(forbidden(first));
        }
        Ok(allowed.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Asks on a thread of the runtime's pool, since it may block for long.
    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let failed = |reason: String| ConnectError::Resolve { host: host.to_owned(), reason };
        if self.0.available_permits() == 0 {
            egress::BITES.lookups.increment();
        }
        let permit = Arc::clone(&self.0)
            .acquire_owned()
            .await
            .map_err(|_| failed("bearerd is shutting down".to_owned()))?;
        let name = host.to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the resolver is done, also when nobody waits for it any more.
            let _permit = permit;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        match answer.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => match shortage() {
                Some(shortage) => Err(ConnectError::Exhausted(shortage)),
                None => Err(failed(reason(&error))),
            },
            Err(_) => Err(failed("the look-up was broken off".to_owned())),
        }
    }
}

/// Whether no socket can be made now: the resolver does not tell that from a name that it cannot find.
fn shortage() -> Option<Shortage> {
    TcpSocket::new_v4().err().as_ref().and_then(Shortage::of_sockets)
}

/// The resolver's own words, without the prefix of the standard library.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// Lets IPv6 and IPv4 take turns, starting with the kind that the resolver put first (RFC 8305,
/// section 4), so that a family without a way out costs one turn.
fn take_turns(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let all: Vec<_> = addresses.collect();
    let first_is_v4 = all.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = all.iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut turns = Vec::with_capacity(all.len());
    for turn in 0..all.len() {
        turns.extend(first.get(turn));
        turns.extend(second.get(turn));
    }
    turns.truncate(MOST_ADDRESSES);
    turns
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Resolver, egress, take_turns};

    #[tokio::test]
    async fn no_more_names_are_looked_up_at_once_than_the_limit_says_and_those_that_wait_are_counted() {
        let (resolver, waited) = (Resolver::new(2), egress::BITES.lookups.get());
        let look_up = || resolver.look_up("localhost");
        let (one, two, three) = tokio::join!(look_up(), look_up(), look_up());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert_eq!(egress::BITES.lookups.get() - waited, 1);
    }

    #[test]
    fn families_take_turns_from_the_one_that_came_first() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let mixed = parse(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"]);
        let turns = parse(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(take_turns(mixed.into_iter()), turns);
    }
}
