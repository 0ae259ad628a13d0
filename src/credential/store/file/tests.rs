//! What a file keeps, and what becomes of one that is not as it was left.

mod faults;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use tempfile::TempDir;

use super::disk::Disk;
use super::{FileStore, Keys, OpenFault, age, opening};
use crate::clock::Clock;
use crate::credential::store::seal::StoreKey;
use crate::credential::store::{Current, InFlight, Record, Store};
use crate::credential::{CredentialName, Owner, Subject};
use crate::secret::Secret;

/// A folder for a store, and the key of it.
struct Place {
    folder: TempDir,
    key: Secret,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), key: StoreKey::generate(&Clock::system()) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn keys(&self) -> Keys {
        Keys { current: self.key.clone(), previous: Vec::new() }
    }

    #[track_caller]
    fn open(&self) -> FileStore {
        FileStore::open(&self.path(), &self.keys(), &Clock::system()).expect("a store")
    }

    #[track_caller]
    fn refuses(&self) -> OpenFault {
        let before = fs::read(self.path()).expect("a file");
        let refused = FileStore::open(&self.path(), &self.keys(), &Clock::system());
        let error = refused.err().expect("a store that cannot be opened");
        assert!(fs::read(self.path()).expect("a file") == before, "nothing is overwritten");
        assert!(error.to_string().contains(&self.path().display().to_string()), "{error}");
        error.fault
    }
}

/// A record that holds something of every kind.
fn record(number: u64) -> Record {
    Record {
        replacement: Some(([1; 32], Secret::from(format!("refresh-{number}")))),
        renew_by: Timestamp::from_second(i64::try_from(number).expect("small")).ok(),
        in_flight: Some(InFlight { value: [2; 32], again: false }),
        reusable: None,
        rejections: Some(([3; 32], 2)),
        current: Some(Current {
            inputs: [4; 32],
            generation: number,
            obtained_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::from_second(3600).ok(),
            outputs: [("access_token".to_owned(), Secret::from(format!("access-{number}")))].into(),
        }),
        ..Record::default()
    }
}

fn subject(credential: &str, subject: &str) -> Owner {
    Owner::subject(CredentialName::from(credential), Subject::new(subject).expect("a subject"))
}

fn saved(store: &FileStore, owner: &Owner, record: &Record) {
    wait(store.save(owner, record.clone())).expect("saved");
}

fn loaded(store: &FileStore, owner: &Owner) -> Record {
    wait(store.load(owner)).expect("loaded")
}

/// Waits for what another thread does.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn what_was_saved_is_there_after_a_restart_and_an_empty_record_is_not() {
    let place = Place::new();
    let (own, alice) = (Owner::from("api"), subject("api", "alice"));
    let store = place.open();
    assert_eq!(loaded(&store, &own), Record::default());
    saved(&store, &own, &record(1));
    saved(&store, &alice, &record(2));
    saved(&store, &subject("api", "bob"), &record(3));
    saved(&store, &subject("api", "bob"), &Record::default());
    drop(store);
    let store = place.open();
    assert_eq!((loaded(&store, &own), loaded(&store, &alice)), (record(1), record(2)));
    assert_eq!(loaded(&store, &subject("api", "bob")), Record::default());
    assert_eq!(wait(store.count(&CredentialName::from("api"))), Ok(1));
}

#[test]
fn a_file_lacks_what_was_written_after_it_was_copied() {
    let (place, owner) = (Place::new(), Owner::from("api"));
    let store = place.open();
    saved(&store, &owner, &record(1));
    drop(store);
    let older = fs::read(place.path()).expect("a file");
    let store = place.open();
    for number in 2..5 {
        saved(&store, &owner, &record(number));
    }
    drop(store);
    let missing = |content: &[u8]| {
        fs::write(place.path(), content).expect("written");
        let mut disk = Disk::open(&place.path(), true).expect("a disk").expect("a file");
        let opened =
            opening::open(&mut disk, &place.keys(), &Clock::system(), |_, _, _| ()).expect("a store");
        age::missing(&disk, &opened.sealer.store, age::writes(&opened.database).expect("a count"))
    };
    let newest = fs::read(place.path()).expect("a file");
    assert_eq!((missing(&newest), missing(&older)), (0, 3));
    // It is used all the same, and told once.
    fs::write(place.path(), &older).expect("written");
    assert_eq!(loaded(&place.open(), &owner), record(1));
    assert_eq!(missing(&older), 0);
    // What was noted of another store says nothing of this one.
    let other = Place::new();
    drop(other.open());
    fs::copy(other.path(), place.path()).expect("a copy");
    let store = FileStore::open(&place.path(), &other.keys(), &Clock::system()).expect("a store");
    assert_eq!(loaded(&store, &owner), Record::default());
}

#[test]
fn fingerprints_hold_over_restarts_and_differ_between_stores() {
    let (one, other) = (Place::new(), Place::new());
    let inputs = [("password".to_owned(), Secret::from("p"))].into();
    let first = one.open().fingerprint(&inputs);
    assert_eq!(one.open().fingerprint(&inputs), first);
    assert_ne!(other.open().fingerprint(&inputs), first);
}

#[test]
fn the_file_is_for_its_owner_alone_and_shows_no_value() {
    let place = Place::new();
    let store = place.open();
    saved(&store, &Owner::from("api"), &record(1));
    drop(store);
    let mode = fs::metadata(place.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = fs::read(place.path()).expect("a file");
    for secret in ["refresh-1", "access-1", place.key.expose_str().expect("text")] {
        assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none());
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).expect("a mode");
    drop(place.open());
    let mode = fs::metadata(place.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others' rights are taken away");
}

#[test]
fn one_process_at_a_time_has_it() {
    let place = Place::new();
    let store = place.open();
    let error = FileStore::open(&place.path(), &place.keys(), &Clock::system()).err().expect("refused");
    assert!(matches!(error.fault, OpenFault::InUse), "{error}");
    drop(store);
    place.open();
}

#[test]
fn subjects_are_listed_in_their_order_page_by_page() {
    let place = Place::new();
    let store = place.open();
    let names = ["a", "ab", "b", "c\u{10ffff}", "é"];
    for name in names.iter().rev() {
        saved(&store, &subject("api", name), &record(1));
    }
    for other in ["ap", "api-2"] {
        saved(&store, &Owner::from(other), &record(1));
        saved(&store, &subject(other, "z"), &record(1));
    }
    saved(&store, &Owner::from("api"), &record(1));
    let api = CredentialName::from("api");
    let page = |after: Option<&str>, limit| {
        let after = after.map(|after| Subject::new(after).expect("a subject"));
        let found = wait(store.subjects(&api, after.as_ref(), limit)).expect("subjects");
        found.iter().map(|subject| subject.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 100), names);
    assert_eq!(page(None, 2), ["a", "ab"]);
    assert_eq!(page(Some("ab"), 2), ["b", "c\u{10ffff}"]);
    assert_eq!(page(Some("aa"), 1), ["ab"], "behind one that is not there");
    assert_eq!(page(Some("é"), 10), Vec::<String>::new());
    assert_eq!(wait(store.count(&api)), Ok(5));
}

#[test]
fn refresh_tokens_that_end_are_told_in_their_order() {
    let place = Place::new();
    let store = place.open();
    for (name, end) in [("a", 30), ("b", 10), ("c", 20), ("d", 40)] {
        saved(&store, &subject("api", name), &record(end));
    }
    saved(&store, &subject("api", "e"), &Record { renew_by: None, ..record(1) });
    let before = |second, limit| {
        let before = Timestamp::from_second(second).expect("a time");
        let found = wait(store.lapsing(before, limit)).expect("owners");
        found.into_iter().map(|(end, owner)| (end.as_second(), owner.to_string())).collect::<Vec<_>>()
    };
    let told = |name: &str, end| (end, format!("api ({name})"));
    assert_eq!(before(40, 10), [told("b", 10), told("c", 20), told("a", 30)]);
    assert_eq!(before(100, 2), [told("b", 10), told("c", 20)]);
}

#[test]
fn many_that_save_at_once_share_few_syncs() {
    let place = Place::new();
    let store = place.open();
    let owners: Vec<Owner> = (0..500).map(|number| subject("api", &number.to_string())).collect();
    let saves: Vec<_> = owners.iter().map(|owner| store.begin(owner, record(7))).collect();
    for save in saves {
        wait(save).expect("saved");
    }
    assert_eq!(wait(store.count(&CredentialName::from("api"))), Ok(500));
    drop(store);
    let store = place.open();
    assert!(owners.iter().all(|owner| loaded(&store, owner) == record(7)));
}

#[test]
fn another_key_is_told_and_changes_nothing() {
    let mut place = Place::new();
    saved(&place.open(), &Owner::from("api"), &record(1));
    let right = std::mem::replace(&mut place.key, StoreKey::generate(&Clock::system()));
    assert!(matches!(place.refuses(), OpenFault::WrongKey));
    place.key = right;
    assert_eq!(loaded(&place.open(), &Owner::from("api")), record(1));
}

#[test]
fn with_a_previous_key_everything_is_sealed_anew() {
    let mut place = Place::new();
    saved(&place.open(), &Owner::from("api"), &record(1));
    saved(&place.open(), &subject("api", "alice"), &record(2));
    let fingerprint = place.open().fingerprint(&[].into());
    let old = std::mem::replace(&mut place.key, StoreKey::generate(&Clock::system()));
    let stranger = StoreKey::generate(&Clock::system());
    let keys = Keys { previous: vec![stranger, old.clone()], ..place.keys() };
    let store = FileStore::open(&place.path(), &keys, &Clock::system()).expect("a store");
    assert_eq!(loaded(&store, &Owner::from("api")), record(1));
    saved(&store, &Owner::from("later"), &record(3));
    drop(store);
    let store = place.open();
    assert_eq!(loaded(&store, &subject("api", "alice")), record(2));
    assert_eq!(loaded(&store, &Owner::from("later")), record(3));
    assert_eq!(store.fingerprint(&[].into()), fingerprint);
    drop(store);
    place.key = old;
    assert!(matches!(place.refuses(), OpenFault::WrongKey));
}

#[test]
fn what_is_no_store_is_left_alone() {
    let place = Place::new();
    fs::write(place.path(), "").expect("written");
    assert!(matches!(place.refuses(), OpenFault::Empty));
    fs::write(place.path(), "the notes of somebody".repeat(1000)).expect("written");
    assert!(matches!(place.refuses(), OpenFault::NotAStore));
    fs::remove_file(place.path()).expect("removed");
    let database = redb::Database::create(place.path()).expect("a database of another program");
    let transaction = database.begin_write().expect("a transaction");
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("meta");
    transaction.open_table(table).expect("a table").insert(1, 2).expect("inserted");
    transaction.commit().expect("committed");
    drop(database);
    assert!(matches!(place.refuses(), OpenFault::NotAStore));
    fs::remove_file(place.path()).expect("removed");
    fs::create_dir(place.path()).expect("a folder");
    let refused = FileStore::open(&place.path(), &place.keys(), &Clock::system()).err().expect("refused");
    assert!(matches!(refused.fault, OpenFault::NotAFile), "{refused}");
    let nowhere = place.folder.path().join("missing/state");
    let refused = FileStore::open(&nowhere, &place.keys(), &Clock::system()).err().expect("refused");
    assert!(matches!(refused.fault, OpenFault::NoFolder), "{refused}");
}

/// A store with some records, closed in order or not.
fn filled(in_order: bool) -> Place {
    let place = Place::new();
    let store = place.open();
    for number in 0..40 {
        saved(&store, &subject("api", &number.to_string()), &record(number));
    }
    if in_order {
        drop(store);
        return place;
    }
    // As a kill leaves it: the bytes that are there while it is open.
    let torn = Place { key: place.key.clone(), ..Place::new() };
    fs::copy(place.path(), torn.path()).expect("a copy");
    torn
}

#[test]
fn a_store_that_was_not_closed_in_order_is_repaired_and_has_everything() {
    let place = filled(false);
    let store = place.open();
    for number in 0..40 {
        assert_eq!(loaded(&store, &subject("api", &number.to_string())), record(number));
    }
    let names: Vec<_> = fs::read_dir(place.folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
}

#[test]
fn a_file_that_was_cut_anywhere_is_told_and_changes_nothing() {
    for in_order in [true, false] {
        let place = filled(in_order);
        let whole = fs::read(place.path()).expect("a file");
        for part in 1..16 {
            fs::write(place.path(), &whole[..whole.len() * part / 16]).expect("written");
            let fault = place.refuses();
            assert!(matches!(fault, OpenFault::Damaged(_) | OpenFault::NotAStore), "{part}: {fault:?}");
        }
    }
}

#[test]
fn a_changed_byte_is_told_or_does_not_matter() {
    for in_order in [true, false] {
        let place = filled(in_order);
        let whole = fs::read(place.path()).expect("a file");
        let mut told = 0;
        let of_the_head = (0..320).filter(|at| *at != 9).step_by(3);
        for at in of_the_head.chain((0..whole.len()).step_by(whole.len() / 97)) {
            fs::write(place.path(), &whole).expect("written");
            let mut file = fs::OpenOptions::new().write(true).open(place.path()).expect("a file");
            file.seek(SeekFrom::Start(at as u64)).expect("a place");
            file.write_all(&[!whole[at]]).expect("written");
            let before = fs::read(place.path()).expect("a file");
            match FileStore::open(&place.path(), &place.keys(), &Clock::system()) {
                Ok(store) => {
                    for number in 0..40 {
                        assert_eq!(
                            loaded(&store, &subject("api", &number.to_string())),
                            record(number),
                            "{at}"
                        );
                    }
                }
                Err(error) => {
                    told += 1;
                    assert!(!matches!(error.fault, OpenFault::InUse | OpenFault::Disk(_)), "{at}: {error}");
                    assert!(fs::read(place.path()).expect("a file") == before, "{at}: {error}");
                }
            }
        }
        assert!(told > 5, "{told}");
    }
}
