//! The phases of a request that need neither token nor network: admit, match, policy.

use std::sync::Arc;

use http::request::Parts;

use crate::proxy::admit::{self, Door, Found};
use crate::proxy::error::{Code, ProxyError};
use crate::route::policy::Denial;
use crate::route::{Route, RouteTable, path};

/// The route that a request was matched to, before its policy was asked.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What admission found in the head.
    pub found: Found,
    shape: path::Shape,
}

/// Admits a request and finds its route; `None` if bearerd answers it itself.
pub fn choose<'a>(
    table: &'a RouteTable,
    door: &Door,
    parts: &Parts,
    pseudonym: &str,
) -> Result<Option<Choice<'a>>, ProxyError> {
    let routes = table.listener(&door.listener);
    let has_host = |host: &str| routes.is_some_and(|routes| routes.has_host(host));
    let found = admit::admit(door, parts, pseudonym, &has_host)?;
    if found.answer_here || parts.uri.path() == "*" {
        return Ok(None);
    }
    let shape =
        path::check(parts.uri.path()).map_err(|why| ProxyError::new(Code::PathAmbiguous, why.to_string()))?;
    let host = match routes {
        Some(routes) if routes.has_hosts() => admit::host(&parts.headers, &parts.uri),
        _ => String::new(),
    };
    let route = routes.and_then(|routes| routes.find(&host, parts.uri.path()));
    let route = route.ok_or_else(|| ProxyError::new(Code::NoRoute, "no route takes this host and path"))?;
    Ok(Some(Choice { route, found, shape }))
}

impl Choice<'_> {
    /// Asks the route's policy.
    pub fn check_policy(&self, parts: &Parts) -> Result<(), ProxyError> {
        if self.shape.encoded_slash && !self.route.spec.encoded_slash {
            return Err(ProxyError::new(Code::PathAmbiguous, path::Ambiguity::EncodedSlash.to_string()));
        }
        let stripped = self.route.strip(parts.uri.path());
        self.route.policy.check(&parts.method, &self.route.base, stripped, self.shape).map_err(|denial| {
            ProxyError::new(
                Code::NotAllowed,
                match denial {
                    Denial::NoRule => "no `allow` rule of the route takes this method and path",
                    Denial::TokenEndpoint => "token endpoints cannot be called through a route",
                },
            )
        })
    }
}
