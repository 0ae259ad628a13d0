//! Mission Antyodaya of the National Informatics Centre: a token that a person fetches.
//!
//! The token is mailed to a registered person, who has a portal make it, or whose bearerd does that. All is plain
//! HTTP, as the vendor's is.

mod portal;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;

use super::fault::{Fault, ScriptedFault};
use super::postbox::Postbox;
use super::token::TokenBook;
use super::{Answer, Received, Simulator, Tour};
use crate::clock::Clock;
use portal::Portal;

/// The token that was mailed.
pub const TOKEN: &str = "nic-ma-demo-token-3b7e51f0c2a94d68";

/// Who is registered at the portal.
pub const EMAIL: &str = "officer@department.example";
/// The password of the portal.
pub const PASSWORD: &str = "nic-ma-demo-password";
/// Who sends the token.
pub const SENDER: &str = "NIC Auth Server <token@nicauth.example>";

const DATA: &str = "/api/gram-panchayats";
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// The simulator.
#[derive(Debug)]
pub struct NicMa {
    tokens: TokenBook,
    portal: Portal,
    /// Where calls have to come from.
    bound_to: Option<IpAddr>,
}

impl NicMa {
    /// A vendor that has mailed [`TOKEN`] just now, and will mail further ones into this box.
    pub fn new(tokens: TokenBook, clock: Clock, faults: &[ScriptedFault], postbox: Arc<Postbox>) -> Self {
        tokens.issue(TOKEN, tokens.lifetime(LIFETIME), "the registered address");
        let bound_to = faults.iter().find_map(|scripted| match scripted.fault {
            Fault::Address(address) => Some(address),
            _ => None,
        });
        Self { tokens, portal: Portal::new(clock, faults, postbox), bound_to }
    }

    fn data(&self, request: &Received) -> Result<Answer, Answer> {
        let token = request.bearer().map_err(|complaint| unauthorized().because(complaint))?;
        self.tokens.check(token).map_err(|dead| unauthorized().because(dead))?;
        if let Some(address) = self.bound_to.filter(|address| *address != request.from) {
            // The vendor says no more than that.
            let complaint = format!("the token is bound to {address}, and is shown from {}", request.from);
            return Err(Answer::json(403, &json!({"message": "Forbidden"})).because(complaint));
        }
        Ok(Answer::json(
            200,
            &json!({"state": "Kerala", "gram_panchayats": [
                {"code": 221_384, "name": "Vazhakkulam", "score": 87},
                {"code": 221_391, "name": "Kizhakkambalam", "score": 91},
            ]}),
        ))
    }
}

impl Simulator for NicMa {
    fn answer(&self, request: &Received) -> Answer {
        let answer = match (request.method.as_str(), request.path()) {
            ("GET", DATA) => self.data(request),
            (_, path) if path.starts_with(portal::PREFIX) => Ok(self.portal.answer(request, &self.tokens)),
            _ => {
                Err(Answer::json(404, &json!({"message": "Not Found"})).because("there is no such endpoint"))
            }
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn is_issuer(&self, path: &str) -> bool {
        path.starts_with(portal::PREFIX)
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }
}

/// What there is to see here: one call.
pub(super) fn tour() -> Tour {
    Tour {
        method: Method::GET,
        app_path: "/nic-ma/api/gram-panchayats",
        path: DATA,
        body: "",
        exchanges: &[],
        rotating: None,
        refusal: "HTTP 401",
        lifetime: None,
    }
}

fn unauthorized() -> Answer {
    Answer::json(401, &json!({"message": "Unauthorized"}))
}
