//! Readiness: whether every credential that a route needs was obtained once.

use std::collections::BTreeSet;

use crate::admin::Admin;
use crate::credential::Status;

/// Why the proxy is not ready; `None` if it is.
pub(super) fn unready(admin: &Admin) -> Option<String> {
    if *admin.draining.borrow() {
        return Some("it drains: no new work, please".to_owned());
    }
    let table = admin.table.load();
    let needed: BTreeSet<_> = table.routes().iter().map(|route| &route.spec.credential).collect();
    let missing: Vec<String> = needed
        .into_iter()
        .filter_map(|name| admin.keeper.status(&name.into()))
        .filter(|status| status.generation == 0 && !status.optional)
        .filter(|status| !waits_for_a_person(admin, status))
        .map(|status| format!("`{}` ({})", status.owner, status.state.as_str()))
        .collect();
    (!missing.is_empty()).then(|| format!("there is no token yet of {}", missing.join(", ")))
}

/// Whether nobody but a person can obtain it: a sidecar must not be held back by that.
fn waits_for_a_person(admin: &Admin, status: &Status) -> bool {
    let spec = admin.keeper.spec(&status.owner.credential);
    spec.is_some_and(|spec| spec.flow.is_interactive())
}
