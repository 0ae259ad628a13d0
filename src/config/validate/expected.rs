//! Where tokens are good, if their issuer's answer says it.

use std::sync::Arc;

use crate::config::validate::bundle;
use crate::config::validate::credential::Credential;
use crate::route::RouteSpec;

/// Tells each credential whose answer says where requests go which routes are held to it.
pub(crate) fn note_routes(credentials: &mut [Credential], routes: &[Arc<RouteSpec>]) {
    for credential in credentials {
        let Some(expected) = &mut credential.spec.expected_upstream else { continue };
        let own =
            routes.iter().filter(|route| bundle::base(&route.credential) == credential.spec.name.as_str());
        expected.routes = own.map(|route| (route.name.to_string(), route.upstream.origin.clone())).collect();
    }
}
