//! Which inputs credentials lend to their readers, beside their outputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::validate::alike::Alike;
use crate::config::validate::credential::Credential;
use crate::route::RouteSpec;

/// Notes of each credential which of its inputs are named by what it may put on requests, and by what its
/// routes do. What it may do by itself always counts, so that a route that changes leaves it as it is.
pub(crate) fn mark(credentials: &mut [Credential], routes: &[Arc<RouteSpec>]) {
    let mut common = Alike::<[Box<str>]>::default();
    for credential in credentials {
        let name = &credential.spec.name;
        let mut named = BTreeSet::new();
        let routes: Vec<_> = routes.iter().filter(|route| route.credential == *name).collect();
        let injections = credential.injections.iter().map(|(_, injection)| injection);
        for injection in
            injections.chain(&credential.injection).chain(routes.iter().map(|route| &*route.injection))
        {
            named.extend(injection.names().map(str::to_owned));
        }
        for verification in credential
            .verification
            .iter()
            .chain(routes.iter().filter_map(|route| route.verification.as_ref()))
        {
            named.extend(verification.value.names().into_iter().map(str::to_owned));
        }
        let lends = credential.secrets.iter().filter(|secret| named.contains(*secret));
        let lends: Vec<Box<str>> = lends.map(|name| name.as_str().into()).collect();
        credential.spec.lends = common.one(lends);
    }
}
