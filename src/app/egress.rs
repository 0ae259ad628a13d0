//! Keeps the ways out in step with their files: authorities, client certificates, proxies' passwords.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::lookout;
use crate::upstream::connect::{Connector, Connectors};

/// Renews each of the connectors in force when a file of its own may have changed. What cannot be used
/// is told, and the old stays.
pub(super) async fn keep_fresh(mut connectors: watch::Receiver<Connectors>, clock: Clock) {
    // Most have no files: then nothing is looked after.
    let Ok(first) = connectors.wait_for(|some| !files(some).is_empty()).await.map(|some| files(&some)) else {
        return;
    };
    let watched = watch::Sender::new(Arc::new(first));
    let in_force = connectors.clone();
    let renewing = lookout::run(watched.subscribe(), move |changed| {
        for (name, connector) in in_force.borrow().iter() {
            if connector.spec().files().any(|file| changed.contains(file)) {
                let (name, connector, clock) = (name.clone(), connector.clone(), clock.clone());
                // It is told in the log how it ends.
                drop(tokio::task::spawn_blocking(move || renew(&name, &connector, &clock)));
            }
        }
    });
    let following = async {
        while connectors.changed().await.is_ok() {
            watched.send_replace(Arc::new(files(&connectors.borrow_and_update())));
        }
    };
    tokio::select! {
        () = renewing => {}
        () = following => {}
    }
}

fn files(connectors: &Connectors) -> BTreeSet<Arc<Path>> {
    let files = connectors.values().flat_map(|connector| connector.spec().files());
    files.map(|file| file.as_path().into()).collect()
}

fn renew(egress: &str, connector: &Connector, clock: &Clock) {
    match connector.renew() {
        Ok(false) => {}
        Ok(true) => {
            let ends_at = connector.certificate_ends_at();
            let ends = ends_at.map(|end| end.to_string()).unwrap_or_default();
            tracing::info!(
                egress,
                certificate_ends_at = ends,
                "the files of an egress have changed: connections are opened by the new ones"
            );
            if ends_at.is_some_and(|end| end <= clock.wall()) {
                tracing::warn!(egress, "the new client certificate has ended already");
            }
        }
        Err(error) => {
            tracing::error!(egress, %error, "the files of an egress have changed and cannot be used: the old ones stay in use");
        }
    }
}
