//! Where tokens are good: those that are bound to the address that they were obtained from, and those whose
//! answer says where requests go.

use std::sync::Arc;

use crate::config::tree::Place;
use crate::config::validate::bundle;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::route::RouteSpec;

/// How a route leaves whose token is bound to an address: as its token was obtained, unless it says an
/// egress that leaves from the same address.
pub(crate) fn egress_of_route(
    said: Option<&str>,
    of_credential: &str,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> String {
    let Some(said) = said else { return of_credential.to_owned() };
    let way = |name: &str| {
        let egress = context.egresses.iter().find(|egress| egress.name == name);
        egress.map(|egress| (egress.source, egress.proxy.as_ref().map(|proxy| proxy.origin.clone())))
    };
    // One with mistakes of its own may have meant the same; the default one is not listed.
    let default = || of_credential.is_empty().then(Default::default);
    if let (Some(here), Some(there)) = (way(said), way(of_credential).or_else(default))
        && here != there
    {
        let message = "the token is bound to the address that it was obtained from, and this egress leaves from \
                       another";
        let problem = context.findings.error(place.key("egress"), message);
        problem.help("without `egress` the route leaves as its token was obtained");
    }
    said.to_owned()
}

/// Tells each credential whose answer says where requests go which routes are held to it.
pub(crate) fn note_routes(credentials: &mut [Credential], routes: &[Arc<RouteSpec>]) {
    for credential in credentials {
        let Some(expected) = &mut credential.spec.expected_upstream else { continue };
        let own =
            routes.iter().filter(|route| bundle::base(&route.credential) == credential.spec.name.as_str());
        expected.routes = own.map(|route| (route.name.clone(), route.upstream.origin.clone())).collect();
    }
}
