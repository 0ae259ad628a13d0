//! Four vendors on loopback, for laptops, for CI and for the demo, and their neighbours behind one more port.
//!
//! Each of the four is one file, the neighbours are a table: a token service, and behind it a small data API that answers only to
//! the right token. The simulators are strict: whatever differs from the vendor's documents gets
//! the vendor's own error answer and is kept as a complaint, so that a test can ask for silence.
//!
//! ```text
//! connection -> station (faults, ledger) -> simulator (one vendor) -> answer
//! ```

mod answer;
mod configuration;
pub mod digilocker;
pub mod fault;
mod grants;
pub mod neighbours;
pub mod nic;
pub mod payhub;
pub mod postbox;
mod received;
pub mod sahamati;
mod station;
mod token;
mod tour;
#[cfg(test)]
mod years;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

pub use answer::Answer;
pub use fault::{Fault, Part, ScriptedFault};
pub use postbox::Postbox;
pub use received::Received;
pub use station::{Record, Station};
pub use token::{Dead, TokenBook};
pub use tour::{Exchange, Tour};

use crate::clock::Clock;

/// The vendors that are simulated, in the order of [`Self::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Mission Antyodaya of the National Informatics Centre: a static token, plain HTTP.
    NicMa,
    /// Sahamati's token service: user token, entity secret, entity token.
    Sahamati,
    /// PayHub: a login that gives a token and a key, and HTTP 200 for everything.
    Payhub,
    /// DigiLocker: OAuth 2.0 with refresh tokens that rotate.
    Digilocker,
    /// The common shapes of other token services, side by side.
    Neighbours,
}

impl Vendor {
    /// All that is simulated, in the order of their ports.
    pub const ALL: [Self; 5] =
        [Self::NicMa, Self::Sahamati, Self::Payhub, Self::Digilocker, Self::Neighbours];
    /// Those that the demo shows.
    pub const SHOWN: [Self; 4] = [Self::NicMa, Self::Sahamati, Self::Payhub, Self::Digilocker];

    /// The name on the command line and in the ready configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NicMa => "nic-ma",
            Self::Sahamati => "sahamati",
            Self::Payhub => "payhub",
            Self::Digilocker => "digilocker",
            Self::Neighbours => "neighbours",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Vendor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|vendor| vendor.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("no vendor is called `{text}`; there are {known}")
        })
    }
}

/// One vendor as its [`Station`] sees it: a request in, an answer out.
pub trait Simulator: Send + Sync {
    /// Answers as the vendor would; an answer to something off carries a complaint.
    fn answer(&self, request: &Received) -> Answer;

    /// Whether a path belongs to the token service and not to the data API.
    fn is_issuer(&self, path: &str) -> bool;

    /// The tokens that were handed out.
    fn tokens(&self) -> &TokenBook;
}

/// All vendors, listening until this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    stations: [Station; 5],
    neighbours: Arc<neighbours::Neighbours>,
    postbox: Arc<Postbox>,
    mail_server: postbox::Server,
}

impl Sandbox {
    /// Starts all vendors on 127.0.0.1.
    ///
    /// They get `first_port` and the ports after it: the four vendors, the mailbox of whoever is mailed tokens,
    /// the neighbours; 0 stands for any free ones.
    ///
    /// # Errors
    /// If a port is taken.
    pub async fn start(first_port: u16, faults: &[ScriptedFault], clock: &Clock) -> io::Result<Self> {
        let postbox = Arc::new(Postbox::new(clock));
        let lifetime = fault::lifetime(faults.iter().filter(|fault| fault.vendor == Vendor::Neighbours));
        let tokens = TokenBook::new(clock.clone(), lifetime);
        let neighbours = Arc::new(neighbours::Neighbours::new(tokens, clock.clone()));
        let open = async |vendor: Vendor, offset: u16| {
            let port = if first_port == 0 { 0 } else { first_port.saturating_add(offset) };
            let faults: Vec<_> = faults.iter().filter(|fault| fault.vendor == vendor).cloned().collect();
            let tokens = TokenBook::new(clock.clone(), fault::lifetime(faults.iter()));
            let simulator: Arc<dyn Simulator> = match vendor {
                Vendor::NicMa => {
                    Arc::new(nic::NicMa::new(tokens, clock.clone(), &faults, Arc::clone(&postbox)))
                }
                Vendor::Sahamati => {
                    let rules = fault::rules_of_secrets(&faults);
                    Arc::new(sahamati::Sahamati::new(tokens, clock.clone(), rules))
                }
                Vendor::Payhub => Arc::new(payhub::Payhub::new(tokens, clock.clone())),
                Vendor::Digilocker => Arc::new(digilocker::Digilocker::new(tokens, clock.clone())),
                Vendor::Neighbours => Arc::clone(&neighbours) as _,
            };
            Station::open(vendor, (Ipv4Addr::LOCALHOST, port).into(), simulator, faults, clock.clone()).await
        };
        let stations = [
            open(Vendor::NicMa, 0).await?,
            open(Vendor::Sahamati, 1).await?,
            open(Vendor::Payhub, 2).await?,
            open(Vendor::Digilocker, 3).await?,
            open(Vendor::Neighbours, 5).await?,
        ];
        let port = if first_port == 0 { 0 } else { first_port.saturating_add(4) };
        let manners = fault::manners_of_mail(faults, clock);
        let mail_server = Arc::clone(&postbox).serve((Ipv4Addr::LOCALHOST, port).into(), manners).await?;
        Ok(Self { stations, neighbours, postbox, mail_server })
    }

    /// The mailbox that tokens are mailed to.
    pub fn postbox(&self) -> &Arc<Postbox> {
        &self.postbox
    }

    /// Where that is served over IMAP: `imap://127.0.0.1:PORT/INBOX`.
    pub fn mailbox(&self) -> String {
        format!("imap://{}/INBOX", self.mail_server.address())
    }

    /// A credential and a route for each of the neighbours.
    pub fn neighbours_configuration(&self) -> String {
        neighbours::configuration(&self.neighbours, &self.station(Vendor::Neighbours).origin())
    }

    /// One vendor's running simulator.
    pub fn station(&self, vendor: Vendor) -> &Station {
        &self.stations[vendor as usize]
    }

    /// All running simulators, in the order of [`Vendor::ALL`].
    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// Everything that any vendor found off, as `vendor: what`.
    pub fn complaints(&self) -> Vec<String> {
        let of = |station: &Station| {
            let vendor = station.vendor();
            station.complaints().into_iter().map(move |complaint| format!("{vendor}: {complaint}"))
        };
        self.stations.iter().flat_map(of).collect()
    }
}
