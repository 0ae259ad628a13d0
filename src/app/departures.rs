//! Asks at start, and then again and again, from which address the world sees the connections of each egress
//! that expects one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::upstream::connect::{Connector, Connectors};
use crate::upstream::departure::{Departure, check};

/// While the address is wrong, or is not known, it is asked for more often.
const IN_TROUBLE: Duration = Duration::from_secs(60);

/// While nothing leaves because the address is not known.
const IN_STRICT_TROUBLE: Duration = Duration::from_secs(5);

/// Has connections wait for the first check of their egress.
pub(super) fn await_first_checks(connectors: &Connectors) {
    for connector in connectors.values().filter(|connector| connector.spec().expect.is_some()) {
        connector.departures().await_check();
    }
}

/// Checks all egresses of the connectors in force that expect an address.
pub(super) async fn keep_checking(mut connectors: watch::Receiver<Connectors>, clock: Clock) {
    loop {
        // Those of the connectors before end here.
        let mut checking = JoinSet::new();
        for connector in connectors.borrow_and_update().values() {
            if connector.spec().expect.is_some() {
                checking.spawn(check_for_ever(connector.clone(), clock.clone()));
            }
        }
        if connectors.changed().await.is_err() {
            return;
        }
    }
}

async fn check_for_ever(connector: Connector, clock: Clock) {
    let Some(expect) = connector.spec().expect.as_ref() else { return };
    let (every, strict) = (expect.every, expect.strict);
    let egress = connector.spec().name.clone();
    let mut was_reached = true;
    loop {
        let before = connector.departures().report().departure;
        let outcome = check(&connector, &clock).await;
        match &outcome {
            Ok(now) if *now == before => tracing::debug!(egress, "connections leave from the same address"),
            Ok(Departure::Expected(address)) => {
                tracing::info!(egress, %address, "connections leave from an address that is expected");
            }
            Ok(_) => {
                let reason = connector.wrong_address().map(|wrong| wrong.to_string()).unwrap_or_default();
                tracing::error!(
                    egress,
                    reason,
                    "no connection is opened by this egress until it leaves from the right address"
                );
            }
            Err(reason) if was_reached && strict && before == Departure::Unknown => {
                tracing::error!(
                    egress,
                    reason,
                    "the address that connections leave from is not known: none is opened before it is"
                );
            }
            Err(reason) if was_reached => {
                tracing::warn!(
                    egress,
                    reason,
                    "the address that connections leave from is not known: all goes on as before"
                );
            }
            Err(reason) => tracing::debug!(egress, reason, "the address is not known"),
        }
        was_reached = outcome.is_ok();
        let is_well = matches!(outcome, Ok(Departure::Expected(_)));
        let is_unknown = connector.departures().report().departure == Departure::Unknown;
        let in_trouble = if strict && is_unknown { IN_STRICT_TROUBLE } else { IN_TROUBLE };
        tokio::time::sleep(if is_well { every } else { every.min(in_trouble) }).await;
    }
}
