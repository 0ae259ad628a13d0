//! The phases of a request that need neither token nor network: match, policy.

use std::sync::Arc;

use crate::http1::RequestHead;
use crate::proxy::admit::{Door, Found};
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::logins::OWN_PATHS;
use crate::proxy::subject::Claim;
use crate::route::matcher::Matcher;
use crate::route::policy::Denial;
use crate::route::{Route, path};

/// The route that a request was matched to, before its policy was asked.
#[derive(Debug)]
pub struct Choice<'table, 'head> {
    /// The route.
    pub route: &'table Arc<Route>,
    /// What admission found in the head.
    pub found: Found<'head>,
    shape: path::Shape,
}

/// Who answers a request that was admitted.
#[derive(Debug)]
pub enum Chosen<'table, 'head> {
    /// The upstream of a route.
    Route(Choice<'table, 'head>),
    /// bearerd, what an app asks of its users' logins.
    Control(Found<'head>),
    /// bearerd, with nothing to say.
    Nobody,
}

/// Finds who answers a request that was admitted, among the routes of its listener.
pub fn choose<'table, 'head>(
    routes: Option<&'table Matcher>,
    door: &Door,
    found: Found<'head>,
) -> Result<Chosen<'table, 'head>, ProxyError> {
    if found.answer_here || found.path == "*" {
        return Ok(Chosen::Nobody);
    }
    if door.control && found.path.starts_with(OWN_PATHS) {
        return Ok(Chosen::Control(found));
    }
    let shape =
        path::check(found.path).map_err(|why| ProxyError::new(Code::PathAmbiguous, why.to_string()))?;
    let route = routes.and_then(|routes| {
        let host = if routes.has_hosts() { found.host() } else { "".into() };
        routes.find(&host, found.path)
    });
    let route = route.ok_or_else(|| ProxyError::new(Code::NoRoute, "no route takes this host and path"))?;
    Ok(Chosen::Route(Choice { route, found, shape }))
}

impl<'head> Choice<'_, 'head> {
    /// What the request claims of its route, and whether the route's policy lets it pass.
    pub fn claim(&self, head: &'head RequestHead) -> Result<Claim<'head>, ProxyError> {
        if self.shape.encoded_slash && !self.route.spec.encoded_slash {
            return Err(ProxyError::new(Code::PathAmbiguous, path::Ambiguity::EncodedSlash.to_string()));
        }
        let claim = Claim::of(self.route, head, self.found.path)?;
        let denied = self.route.check(&head.method, &claim.rest, self.shape).err();
        let why = match denied {
            None => return Ok(claim),
            Some(Denial::NoRule) => "no `allow` rule of the route takes this method and path",
            Some(Denial::TokenEndpoint) => "token endpoints cannot be called through a route",
        };
        Err(ProxyError::new(Code::NotAllowed, why))
    }
}
