//! Issuers that say where requests go: each tenant of theirs has an address of its own, and a token is good
//! for nothing elsewhere.

use crate::credential::flow::json::{Json, scalar_text};
use crate::upstream::{Origin, Url};

/// `expect_upstream = "/instance_url"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedUpstream {
    /// JSON pointer (RFC 6901) to the address in the token answer.
    pub pointer: String,
    /// The routes that use the credential, each with where it leads.
    pub routes: Vec<(String, Origin)>,
}

impl ExpectedUpstream {
    /// Holds the routes to what an answer says. The error names the first route that leads elsewhere, and
    /// says what its `upstream` should be. An answer that says nothing is only worth a warning, which is what
    /// a success brings then.
    pub(in crate::credential) fn check(&self, answer: &Json) -> Result<Option<String>, String> {
        let said = answer.at(&self.pointer).and_then(scalar_text);
        let Some(said) = said.and_then(|said| said.parse::<Url>().ok()) else {
            return Ok(Some(format!("the token answer has no address at `{}`", self.pointer)));
        };
        let elsewhere = self.routes.iter().find(|(_, origin)| !origin.is_same_server(&said.origin));
        elsewhere.map_or(Ok(None), |(route, origin)| {
            Err(format!(
                "its token is for requests to {}, and the route `{route}` leads to {origin}: set the `upstream` of \
                 the route to that address",
                said.origin
            ))
        })
    }
}
