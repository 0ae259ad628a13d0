//! What is wrong now, gathered from all over: what receivers are told of.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credential::CredentialName;
use crate::credential::keeper::Keeper;
use crate::credential::store::Store;
use crate::notification::{Event, Notifications, Sources, Survey, Topic, Trouble, of_credentials, unsettled};
use crate::server::{Listener, Server};
use crate::upstream::connect::{Connector, Connectors};
use crate::upstream::departure::Departure;

/// Nobody is told yet; what is wrong is asked of all that is in force.
pub(super) fn notifications(
    keeper: &Keeper,
    server: &Arc<Server>,
    egress: watch::Receiver<Connectors>,
    store: Arc<dyn Store>,
    clock: &Clock,
) -> Notifications {
    let troubles = {
        let (keeper, server, egress, clock) =
            (keeper.clone(), Arc::clone(server), egress.clone(), clock.clone());
        Box::new(move || {
            let now = clock.wall();
            let mut troubles = of_credentials(&keeper, now);
            troubles.extend(egress.borrow().values().flat_map(|connector| of_egress(connector, now)));
            troubles.extend(of_listeners(&server, now));
            let mut unsettled = unsettled(&keeper);
            unsettled.extend(egress.borrow().values().filter_map(unchecked));
            Survey { troubles, unsettled }
        })
    };
    let exists = {
        let (keeper, server, egress) = (keeper.clone(), Arc::clone(server), egress.clone());
        Box::new(move |name: &str| match name.split_once('.') {
            Some(("egress", name)) => egress.borrow().contains_key(name),
            Some(("listener", name)) => server.listeners().iter().any(|listener| listener.name() == name),
            _ => keeper.spec(&CredentialName::from(name)).is_some(),
        })
    };
    Notifications::new(clock.clone(), egress, Sources { troubles, exists, store })
}

/// An egress whose address was not told yet.
fn unchecked(connector: &Connector) -> Option<String> {
    let is_awaited = connector.spec().expect.is_some();
    let is_unknown = connector.departures().report().departure == Departure::Unknown;
    (is_awaited && is_unknown).then(|| format!("egress.{}", connector.spec().name))
}

fn of_egress(connector: &Connector, now: Timestamp) -> Vec<Trouble> {
    let name = format!("egress.{}", connector.spec().name);
    let mut troubles = Vec::new();
    if let Some(validity) = connector.certificate_validity() {
        troubles.push(Trouble::end_of_certificate(name.clone(), "its client certificate", validity, now));
    }
    if let Some(wrong) = connector.wrong_address() {
        troubles.push(Trouble {
            name,
            topic: Topic::Address,
            event: Event::Address,
            message: wrong.to_string(),
            advice: Some(
                "See to the network's way out; until then no connection is opened by this egress.".to_owned(),
            ),
            may_mend: false,
            ends_at: None,
            lead: Duration::MAX,
        });
    }
    troubles
}

fn of_listeners(server: &Server, now: Timestamp) -> Vec<Trouble> {
    let listeners = server.listeners();
    let shown = listeners.iter().filter_map(|listener| Some((listener, listener.tls()?.validity())));
    let trouble = |(listener, validity): (&Arc<Listener>, (Timestamp, Timestamp))| {
        let name = format!("listener.{}", listener.name());
        Trouble::end_of_certificate(name, "its certificate", validity, now)
    };
    shown.map(trouble).collect()
}
