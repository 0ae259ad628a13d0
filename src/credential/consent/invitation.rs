//! Invitations: tickets with which a browser may begin a login, and nothing else. They are signed and
//! not kept, so that a request without a token costs no memory.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::credential::{CredentialName, Owner, Subject};

/// How long an invitation counts.
const LIFETIME: Duration = Duration::from_secs(600);
/// The length of the end and of the signature, in bytes.
const END: usize = 8;
const SIGNATURE: usize = 32;

/// Signs invitations and reads them.
pub struct Invitations {
    key: hmac::Key,
    clock: Clock,
}

impl Invitations {
    /// With a key of its own: invitations end with the process.
    pub(super) fn new(clock: &Clock) -> Self {
        let mut key = [0; 32];
        clock.fill_random(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), clock: clock.clone() }
    }

    /// A ticket for an owner, which counts for 10 minutes. It may stand in a URL as it is.
    pub fn invite(&self, owner: &Owner) -> String {
        let end = (self.clock.boot() + LIFETIME).as_secs().to_be_bytes();
        let mut bytes = end.to_vec();
        bytes.extend_from_slice(owner.credential.as_str().as_bytes());
        if let Some(subject) = &owner.subject {
            bytes.push(0);
            bytes.extend_from_slice(subject.as_str().as_bytes());
        }
        let signature = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(signature.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whom a ticket is for; `None` if it is not one of ours, or too old.
    pub fn read(&self, ticket: &str) -> Option<Owner> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (said, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
        let signed = hmac::sign(&self.key, said);
        if !bool::from(signed.as_ref().ct_eq(signature)) {
            return None;
        }
        let (end, owner) = said.split_at_checked(END)?;
        if self.clock.boot().as_secs() >= u64::from_be_bytes(end.try_into().ok()?) {
            return None;
        }
        let owner = std::str::from_utf8(owner).ok()?;
        Some(match owner.split_once('\0') {
            None => CredentialName::from(owner).into(),
            Some((credential, subject)) => Owner::subject(credential.into(), Subject::new(subject).ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::Invitations;
    use crate::clock::Clock;
    use crate::credential::{Owner, Subject};

    #[tokio::test(start_paused = true)]
    async fn an_invitation_is_for_one_owner_and_ten_minutes() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
        let invitations = Invitations::new(&clock);
        let alice = Owner::subject("c".into(), Subject::new("alice \u{e9}").expect("a subject"));
        for owner in [Owner::from("c"), alice] {
            let ticket = invitations.invite(&owner);
            assert_eq!(invitations.read(&ticket), Some(owner));
            for at in 0..ticket.len() {
                let other = if ticket.as_bytes()[at] == b'A' { "B" } else { "A" };
                let mut forged = ticket.clone();
                forged.replace_range(at..=at, other);
                assert_eq!(invitations.read(&forged), None, "{at}");
            }
            assert_eq!(Invitations::new(&clock).read(&ticket), None);
        }
        let ticket = invitations.invite(&Owner::from("c"));
        clock.suspend(Duration::from_secs(599));
        assert!(invitations.read(&ticket).is_some());
        clock.suspend(Duration::from_secs(1));
        assert_eq!(invitations.read(&ticket), None);
        assert_eq!(invitations.read(""), None);
    }
}
