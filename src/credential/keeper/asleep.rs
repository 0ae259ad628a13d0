//! What is known of a subject that sleeps: nothing but its record.

use crate::clock::Moment;
use crate::credential::store::Record;
use crate::credential::{CredentialSpec, Expiry, Owner, State, Status};

/// What a record tells. Without one, nobody has logged in yet.
pub(super) fn status(owner: &Owner, spec: &CredentialSpec, record: &Record, now: Moment) -> Status {
    let current = record.current.as_ref();
    let expiry = current.map(|it| Expiry::taken_up(it.obtained_at, it.expires_at, now));
    let is_valid = expiry.is_some_and(|expiry| expiry.is_usable(now));
    let state = match record {
        _ if is_valid => State::Ready,
        Record { rejections: Some(_), .. } => State::Rejected,
        Record { replacement: None, .. } => State::LoginRequired,
        Record { in_flight: Some(_), .. } if !spec.retry_ambiguous => State::LoginRequired,
        // Whoever asks for it has it renewed.
        _ => State::Expired,
    };
    Status {
        state,
        generation: current.map_or(0, |current| current.generation),
        obtained_at: current.map(|current| current.obtained_at),
        expires_at: current.and_then(|current| current.expires_at),
        optional: spec.optional,
        asleep: true,
        ..Status::unknown(owner.clone(), spec.flow.as_str())
    }
}
