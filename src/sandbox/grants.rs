//! What people have granted: each grant has one refresh token that is good, and remembers those that
//! were.

use std::collections::HashSet;

use crate::clock::Clock;
use crate::sandbox::token;

/// All grants; a number tells them apart.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Grants(Vec<Grant>);

#[derive(Debug)]
struct Grant {
    refresh_token: String,
    used: HashSet<String>,
    alive: bool,
}

impl Grants {
    /// Begins with a grant whose refresh token is known.
    pub(in crate::sandbox) fn with(refresh_token: &str) -> Self {
        let mut grants = Self::default();
        grants.add(refresh_token.to_owned());
        grants
    }

    /// A person has consented: the number of the grant.
    pub(in crate::sandbox) fn add(&mut self, refresh_token: String) -> usize {
        self.0.push(Grant { refresh_token, used: HashSet::new(), alive: true });
        self.0.len() - 1
    }

    /// Takes a refresh token and gives the grant's number and its next token. A token that is shown a
    /// second time kills the grant (RFC 9700, section 4.14.2).
    pub(in crate::sandbox) fn rotate(
        &mut self,
        shown: &str,
        clock: &Clock,
    ) -> Result<(usize, String), &'static str> {
        let is_of = |grant: &Grant| grant.refresh_token == shown || grant.used.contains(shown);
        let number = self.0.iter().position(is_of).ok_or("an unknown refresh token")?;
        let grant = &mut self.0[number];
        if !grant.alive {
            return Err("the grant is dead: a refresh token was used twice, or it was revoked");
        }
        if grant.refresh_token != shown {
            grant.alive = false;
            return Err("an old refresh token: the grant is dead from now on");
        }
        let next = token::opaque(clock);
        grant.used.insert(std::mem::replace(&mut grant.refresh_token, next.clone()));
        Ok((number, next))
    }

    /// Whether a grant still counts; `name` is what its tokens are bound to.
    pub(in crate::sandbox) fn is_alive(&self, name: &str) -> bool {
        name.parse().ok().and_then(|number: usize| self.0.get(number)).is_some_and(|grant| grant.alive)
    }

    /// Ends the grant of a refresh token, or of the name that an access token is bound to.
    pub(in crate::sandbox) fn revoke(&mut self, token: &str, name: Option<&str>) {
        let number = name.and_then(|name| name.parse().ok());
        for (at, grant) in self.0.iter_mut().enumerate() {
            if grant.refresh_token == token || number == Some(at) {
                grant.alive = false;
            }
        }
    }
}
