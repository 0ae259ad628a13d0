//! What a store holds, as it is shown: names, states and times.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::table;
use crate::clock::Clock;
use crate::credential::store::archive::{Archive, Archived};
use crate::credential::store::{REJECTED_TRIES, Record};

/// A JSON document with an object for each record.
pub(super) fn json(archive: &Archive, clock: &Clock) -> String {
    let records: Vec<Value> = archive.records.iter().map(|archived| one(archived, clock.wall())).collect();
    format!("{:#}\n", json!({ "records": records }))
}

fn one(archived: &Archived, now: Timestamp) -> Value {
    let Archived { credential, subject, saved_at, record } = archived;
    let current = record.current.as_ref();
    json!({
        "credential": credential,
        "subject": subject,
        "state": state(record, now),
        "saved_at": saved_at,
        "generation": current.map(|current| current.generation),
        "obtained_at": current.map(|current| current.obtained_at),
        "expires_at": current.and_then(|current| current.expires_at),
        "keeps_replacement": record.replacement.is_some(),
        "renew_by": record.renew_by,
        "rejections": record.rejections.map_or(0, |(_, tries)| tries),
    })
}

/// What a restart would find.
fn state(record: &Record, now: Timestamp) -> &'static str {
    let rejected = record.rejections.is_some_and(|(_, tries)| tries >= REJECTED_TRIES);
    match &record.current {
        _ if record.memo.is_some() => "memo",
        _ if record.in_flight.is_some() => "ambiguous",
        _ if rejected => "rejected",
        Some(current) if current.expires_at.is_none_or(|end| end > now) => "ready",
        Some(_) => "expired",
        None => "pending",
    }
}

/// A line each, for people.
pub(super) fn table(path: &Path, archive: &Archive, clock: &Clock) -> String {
    if archive.records.is_empty() {
        return format!("{} holds no records\n", path.display());
    }
    let now = clock.wall();
    let head = ["CREDENTIAL", "SUBJECT", "STATE", "EXPIRES", "SAVED"];
    let row = |archived: &Archived| {
        let current = archived.record.current.as_ref();
        let seconds = |at: Timestamp| at.round(jiff::Unit::Second).unwrap_or(at).to_string();
        [
            archived.credential.clone(),
            archived.subject.clone().unwrap_or_else(|| "-".to_owned()),
            state(&archived.record, now).to_owned(),
            current.and_then(|current| current.expires_at).map_or_else(|| "-".to_owned(), seconds),
            seconds(archived.saved_at),
        ]
    };
    table::table(head, archive.records.iter().map(row))
}
