//! What connections must have in common so that a request may take any of them.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::upstream::Origin;
use crate::upstream::connect::Connector;
use crate::upstream::pool::PoolLimits;

/// Where connections lead, how they are opened, and how long they are kept. Routes that agree in all of
/// this share it, and with it their connections; a reload keeps it for as long as a route is left.
#[derive(Debug)]
pub struct Destination {
    /// Where they lead.
    pub origin: Origin,
    /// How they are opened: by which egress, and as whom.
    pub connector: Connector,
    /// How they are kept.
    pub limits: PoolLimits,
    /// The `Host` that the origin gets, whatever the app sent.
    pub authority: HeaderValue,
    /// What the origin wants to see in the next proof of possession (`DPoP-Nonce`, RFC 9449, section 8).
    pub nonce: ArcSwapOption<HeaderValue>,
}

impl Destination {
    /// A destination that nobody shares yet.
    pub fn new(origin: Origin, connector: Connector, limits: PoolLimits) -> Self {
        // A host that `Url` took is a valid field value; nothing is forwarded without one.
        let authority = HeaderValue::from_str(&origin.authority());
        let authority = authority.unwrap_or_else(|_| HeaderValue::from_static("invalid."));
        Self { origin, connector, limits, authority, nonce: ArcSwapOption::empty() }
    }
}

/// The destinations of a route table while it is made.
#[derive(Debug, Default)]
pub struct Destinations<'a>(HashMap<(&'a Origin, PoolLimits), Vec<Arc<Destination>>>);

impl<'a> Destinations<'a> {
    /// Knows a destination that is in use.
    pub fn insert(&mut self, known: &'a Arc<Destination>) {
        let alike = self.0.entry((&known.origin, known.limits)).or_default();
        if !alike.iter().any(|other| Arc::ptr_eq(other, known)) {
            alike.push(Arc::clone(known));
        }
    }

    /// The destination of these: a known one, or a new one.
    pub fn find(
        &mut self,
        origin: &'a Origin,
        connector: &Connector,
        limits: PoolLimits,
    ) -> Arc<Destination> {
        let alike = self.0.entry((origin, limits)).or_default();
        if let Some(known) = alike.iter().find(|known| known.connector.is(connector)) {
            return Arc::clone(known);
        }
        let new = Arc::new(Destination::new(origin.clone(), connector.clone(), limits));
        alike.push(Arc::clone(&new));
        new
    }
}
