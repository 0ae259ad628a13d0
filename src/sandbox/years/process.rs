//! One process of bearerd: the keeper, and what its routes read.

use std::sync::Arc;

use http::HeaderMap;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::credential::flow::{Direct, Issuer};
use crate::credential::keeper::{Keeper, Options, SleepRules, start};
use crate::credential::slot::Slot;
use crate::credential::{Outputs, Owner, State, Status};
use crate::inject::Prepared;
use crate::sandbox::Received;
use crate::sandbox::years::disk::Disk;
use crate::sandbox::years::planted::{Careless, Planted};
use crate::sandbox::years::road::{LOCAL, Road};

/// A process that runs.
pub(super) struct Process {
    pub(super) keeper: Keeper,
    /// By the names of routes.
    slots: Vec<(String, Arc<Slot<Prepared>>)>,
    task: JoinHandle<()>,
}

impl Process {
    pub(super) fn start(
        clock: &Clock,
        road: &Arc<Road>,
        disk: &Disk,
        config: &Config,
        planted: Option<Planted>,
    ) -> Self {
        let road = Arc::clone(road);
        let direct: Direct = Arc::new(move |url, request| Box::pin(Arc::clone(&road).ask(url, request)));
        let options =
            Options { issuer_concurrency: 32, sleep: SleepRules::default(), observe: Box::new(|_, _, _| {}) };
        let mint = Arc::new(Careless { issuer: Issuer::direct(direct, clock.clone()), how: planted });
        let (keeper, task) = start(clock.clone(), Arc::new(disk.clone()), mint, options);
        keeper.reconcile(config.credentials.clone());
        let slot = |route: &Arc<crate::route::RouteSpec>| {
            let (spec, clock) = (Arc::clone(route), clock.clone());
            let prepare = move |outputs: &Outputs| spec.injection.prepare(outputs, &clock);
            let slot = keeper.slot(&Owner::from(&route.credential), Arc::new(prepare));
            (route.name.to_string(), slot.expect("the credential is kept"))
        };
        let slots = config.routes.iter().map(slot).collect();
        Self { slots, keeper, task: tokio::spawn(task) }
    }

    /// The process is killed: what runs ends in the middle. Says whether an exchange was under way.
    pub(super) fn kill(self) -> bool {
        let was_busy = self.keeper.statuses().iter().any(|status| status.running);
        self.task.abort();
        was_busy
    }

    /// All credentials.
    pub(super) fn statuses(&self) -> Vec<Status> {
        self.keeper.statuses()
    }

    /// Whether all credentials are as they should be.
    pub(super) fn is_well(&self) -> bool {
        self.statuses().iter().all(|status| matches!(status.state, State::Ready | State::Renewing))
    }

    /// A request of the app on this route, with what is put on it; `None` if there is no token.
    pub(super) fn request(&self, route: &str, method: &str, path: &str, clock: &Clock) -> Option<Received> {
        let (_, slot) = self.slots.iter().find(|(name, _)| name == route).expect("the plan names a route");
        let held = slot.current(clock.now())?;
        let prepared = &held.as_ref()?.value;
        let mut headers: HeaderMap = prepared.fields().collect();
        if let Some(rendered) = prepared.dynamic(None) {
            headers.extend(rendered.expect("what was prepared can be rendered").headers);
        }
        let (method, target) = (method.parse().expect("a method"), path.parse().expect("a target"));
        Some(Received { method, target, headers, body: Vec::new().into(), from: LOCAL })
    }
}
