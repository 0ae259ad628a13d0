//! The store: what survives a restart, and what becomes of a file that is not as it was left.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::process::Signal;
use serde_json::json;

use crate::support::configuration::{granted, route};
use crate::support::message::Message;
use crate::support::{Issuer, Reply, Setup, Sidecar, Upstream, canary};

/// A store beside the configuration, sealed with the key in `store-key`.
const STORE: &str =
    "[store]\nkind = \"file\"\npath = \"{folder}/state\"\nkey = { file = \"{folder}/store-key\" }\n\n";

/// A key as `bearerd store key` makes it.
pub fn key() -> String {
    canary::store_key()
}

/// A configuration with a store.
pub fn with_store(rest: &str) -> Setup {
    Setup::new(&format!("{STORE}{rest}")).file("store-key", &key())
}

fn state(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// An issuer each of whose refresh tokens may be used once, from `first` on, as strict ones do: a
/// second use ends the grant.
struct Rotating {
    issuer: Issuer,
    used: Arc<Mutex<Vec<String>>>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Rotating {
    fn start(first: &str, lifetime: u64) -> Self {
        let used = Arc::<Mutex<Vec<String>>>::default();
        let held = Arc::<(Mutex<bool>, Condvar)>::default();
        let (seen, gate, valid) = (Arc::clone(&used), Arc::clone(&held), Mutex::new(first.to_owned()));
        let issuer = Issuer::judging(lifetime, move |request: &Message| {
            let shown = request.form().get("refresh_token").cloned().unwrap_or_default();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(shown.clone());
            let is_held = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(gate.1.wait_while(is_held, |held| *held));
            let mut valid = valid.lock().unwrap_or_else(PoisonError::into_inner);
            if shown != *valid {
                return Some(Reply::json(400, &json!({"error": "invalid_grant"})));
            }
            let (next, token) = (canary::secret(), canary::token());
            valid.clone_from(&next);
            let answer = json!({
                "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "refresh_token": next,
            });
            Some(Reply::json(200, &answer))
        });
        Self { issuer, used, held }
    }

    /// Holds answers back, or lets them go.
    fn hold(&self, held: bool) {
        *self.held.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.held.1.notify_all();
    }

    /// The refresh tokens that it was shown.
    fn used(&self) -> Vec<String> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it was shown none twice.
    fn was_shown_each_once(&self) -> bool {
        let mut used = self.used();
        let count = used.len();
        used.sort();
        used.dedup();
        used.len() == count
    }

    fn credential(&self, upstream: &Upstream) -> String {
        format!(
            "[credentials.api]\nflow = \"oauth2\"\ngrant = \"refresh_token\"\ntoken_url = \"{}\"\n\
             client_id = \"app\"\nclient_auth = \"none\"\nrefresh_token = {{ file = \"{{folder}}/first\" }}\n\n{}",
            self.issuer.url(),
            route("api", upstream),
        )
    }
}

#[test]
fn an_older_copy_of_the_file_that_was_put_back_is_told() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let mut bearerd = with_store(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    bearerd.wait_until_ready();
    bearerd.end_by(Signal::TERM);
    let older = fs::read(state(bearerd.folder())).expect("a file");
    bearerd.start_again();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"").json()["outcome"], "ok");
    bearerd.end_by(Signal::KILL);
    fs::write(state(bearerd.folder()), older).expect("written");
    bearerd.start_again();
    bearerd.wait_until_ready();
    bearerd.log("the warning", |line| line.to_string().contains("an older copy"));
}

#[test]
fn a_file_or_a_folder_that_cannot_be_written_is_told_and_left_as_it_was() {
    for (name, mode, of_folder) in [("the file", 0o400, 0o700), ("its folder", 0o600, 0o500)] {
        let setup = left_behind();
        let (folder, file) = (setup.folder().to_owned(), state(setup.folder()));
        if of_folder == 0o500 {
            fs::remove_file(&file).expect("removed");
        } else {
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("a mode");
        }
        setup.write();
        fs::set_permissions(&folder, Permissions::from_mode(of_folder)).expect("a mode");
        let (code, told) = setup.start_unprivileged_in_vain();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("a mode");
        assert_eq!(code, Some(78), "{name}: {told}");
        assert!(told.contains(&file.display().to_string()) && told.contains("cannot be written"), "{told}");
        assert_eq!(file.exists(), of_folder == 0o700, "nothing was made");
    }
}

#[test]
fn its_files_are_its_users_alone_whatever_the_umask_and_links_in_their_place_are_not_followed() {
    let (first, upstream) = (canary::secret(), Upstream::start());
    let issuer = Rotating::start(&first, 3600);
    let foreign = tempfile::tempdir().expect("a folder");
    let precious = foreign.path().join("precious");
    fs::write(&precious, "precious").expect("a file");
    let setup = with_store(&issuer.credential(&upstream))
        .admin("listen = \"unix:{folder}/admin.sock\"")
        .file("first", &first);
    for ending in ["new", "room", "mark", "repaired"] {
        symlink(&precious, setup.folder().join(format!("state.{ending}"))).expect("a link");
    }
    let bearerd = setup.through(&["/bin/sh", "-c", "umask 0; exec \"$@\"", "sh"]).start();
    bearerd.wait("a token", || (bearerd.app().get("/api/x").status() == 200).then_some(()));
    let mut names = Vec::new();
    for file in fs::read_dir(bearerd.folder()).expect("its folder").flatten() {
        let (name, about) =
            (file.file_name().into_string().expect("a name"), file.metadata().expect("a file"));
        if about.file_type().is_symlink() {
            continue;
        }
        assert_eq!(about.permissions().mode() & 0o077, 0, "{name}");
        names.push(name);
    }
    for name in ["state", "state.mark", "admin.sock"] {
        assert!(names.iter().any(|found| found == name), "{name} among {names:?}");
    }
    assert_eq!(fs::read_to_string(&precious).expect("a file"), "precious");
}

#[test]
fn a_restart_uses_the_stored_token_without_asking_the_issuer() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let mut bearerd = with_store(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    bearerd.wait_until_ready();
    let before = bearerd.credential("api");
    for signal in [Signal::TERM, Signal::KILL] {
        bearerd.end_by(signal);
        bearerd.start_again();
        bearerd.wait_until_ready();
        assert_eq!(bearerd.app().get("/api/x").status(), 200);
        let after = bearerd.credential("api");
        assert_eq!(
            (&after["expires_at"], &after["generation"]),
            (&before["expires_at"], &before["generation"])
        );
    }
    assert_eq!(issuer.requests().len(), 1);
    let token = Some(format!("Bearer {}", issuer.token()));
    assert!(upstream.requests().iter().all(|seen| seen.field("authorization") == token));
}

#[test]
fn a_rotated_refresh_token_survives_a_kill_and_none_is_used_twice() {
    let (first, upstream) = (canary::secret(), Upstream::start());
    let issuer = Rotating::start(&first, 2);
    let mut bearerd = with_store(&issuer.credential(&upstream)).file("first", &first).start();
    for generation in [1, 2, 4, 5] {
        bearerd.wait_for_generation("api", generation);
        bearerd.end_by(Signal::KILL);
        bearerd.start_again();
    }
    bearerd.wait_for_generation("api", 6);
    assert!(issuer.was_shown_each_once(), "{:?}", issuer.used().len());
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn a_second_process_is_told_clearly_that_the_store_is_in_use() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let setup = with_store(&granted(&issuer, &canary::secret(), &upstream, ""));
    let second = Setup::new(&format!(
        "[store]\nkind = \"file\"\npath = \"{0}/state\"\nkey = {{ file = \"{0}/store-key\" }}\n\n{1}",
        setup.folder().display(),
        granted(&issuer, &canary::secret(), &upstream, ""),
    ));
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    let (code, told) = second.start_in_vain();
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

/// A store that was filled and closed, and a configuration for it.
fn left_behind() -> Setup {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let setup = with_store(&granted(&issuer, &canary::secret(), &upstream, ""));
    let key = fs::read_to_string(setup.folder().join("store-key")).expect("a key");
    let again = Setup::new(&format!("{STORE}{}", granted(&issuer, &canary::secret(), &upstream, "")));
    let again = again.file("store-key", &key);
    let mut bearerd = setup.start();
    bearerd.wait_until_ready();
    bearerd.end_by(Signal::TERM);
    fs::copy(state(bearerd.folder()), state(again.folder())).expect("a copy");
    again
}

/// Starts in vain: it ends with 78, names the file, and leaves it as it was.
#[track_caller]
fn is_refused(setup: &Setup, says: &str) {
    let before = fs::read(state(setup.folder())).expect("a file");
    let (code, told) = setup.start_in_vain();
    assert_eq!(code, Some(78), "{told}");
    let path = state(setup.folder()).display().to_string();
    assert!(told.contains(&path) && told.contains(says), "{told}");
    assert!(fs::read(state(setup.folder())).expect("a file") == before, "nothing is overwritten");
}

#[test]
fn a_store_that_is_sealed_with_another_key_is_told_and_left_as_it_was() {
    is_refused(&left_behind().file("store-key", &key()), "another key");
}

#[test]
fn a_store_that_was_torn_truncated_or_replaced_is_told_and_left_as_it_was() {
    let setup = left_behind();
    let path = state(setup.folder());
    let whole = fs::read(&path).expect("a file");
    fs::write(&path, "").expect("written");
    is_refused(&setup, "empty");
    fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    is_refused(&setup, "damaged");
    fs::write(&path, &whole[..5]).expect("written");
    is_refused(&setup, "not a store");
    fs::write(&path, "somebody's notes\n".repeat(999)).expect("written");
    is_refused(&setup, "not a store");
    // A page of it was never written.
    let mut torn = whole.clone();
    let page = torn.chunks_exact_mut(4096).skip(1).find(|page| page.iter().any(|byte| *byte != 0));
    page.expect("a page that holds something").fill(0);
    fs::write(&path, torn).expect("written");
    is_refused(&setup, "damaged");
    fs::write(&path, whole).expect("written");
    setup.start().wait_until_ready();
}

#[test]
fn a_key_that_is_none_is_told_at_its_place() {
    for wrong in ["", "short", &"g".repeat(64), &"ab".repeat(33)] {
        let setup = left_behind().file("store-key", wrong);
        let (code, told) = setup.start_in_vain();
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("key of the store"), "{told}");
    }
}

#[test]
fn with_previous_key_a_store_is_sealed_anew() {
    let setup = left_behind();
    let old = fs::read_to_string(setup.folder().join("store-key")).expect("a key");
    let setup = setup.file("store-key", &key()).file("old-key", &old);
    is_refused(&setup, "another key");
    let rotating =
        setup.replacing("[store]\n", "[store]\nprevious_key = [{ file = \"{folder}/old-key\" }]\n");
    let mut bearerd = rotating.start();
    bearerd.wait_until_ready();
    bearerd.log("sealed anew", |line| {
        line["message"].as_str().is_some_and(|message| message.contains("sealed with the new key"))
    });
    bearerd.end_by(Signal::TERM);
    let text = fs::read_to_string(bearerd.folder().join("bearerd.toml")).expect("a configuration");
    let without: String = text
        .lines()
        .filter(|line| !line.contains("previous_key"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    fs::write(bearerd.folder().join("bearerd.toml"), without).expect("written");
    bearerd.start_again();
    bearerd.wait_until_ready();
}

#[test]
fn three_rejections_of_the_same_input_are_all_over_any_number_of_restarts() {
    let upstream = Upstream::start();
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::json(401, &json!({"error": "invalid_client"}))));
    let mut bearerd = with_store(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    for start in 1..=5 {
        let said = bearerd.wait_for_state("api", "rejected");
        assert_eq!(said["last_error"]["class"], "rejected");
        assert_eq!(issuer.requests().len(), start.min(3));
        bearerd.end_by(if start % 2 == 0 { Signal::TERM } else { Signal::KILL });
        bearerd.start_again();
    }
}

#[test]
fn while_the_disk_is_full_nothing_that_rotates_is_sent_and_the_token_stays_in_use() {
    let (first, upstream) = (canary::secret(), Upstream::start());
    let issuer = Rotating::start(&first, 6);
    let bearerd = with_store(&issuer.credential(&upstream)).file("first", &first).start();
    bearerd.wait_for_generation("api", 1);
    bearerd.limit_file_size(Some(0));
    let said = bearerd.wait_for_state("api", "failing");
    assert!(said["last_error"]["message"].as_str().is_some_and(|said| said.contains("store")), "{said}");
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(issuer.used().len(), 1, "no exchange without a place for its result");
    assert!(bearerd.metric("bearerd_store_errors_total") > 0);
    bearerd.limit_file_size(None);
    bearerd.wait_for_generation("api", 2);
    bearerd.wait_for_state("api", "ready");
    assert!(issuer.was_shown_each_once());
}

#[test]
fn a_result_that_cannot_be_written_is_used_from_memory_and_written_later() {
    let (first, upstream) = (canary::secret(), Upstream::start());
    let issuer = Rotating::start(&first, 60);
    let bearerd = with_store(&issuer.credential(&upstream)).file("first", &first).start();
    bearerd.wait_until_ready();
    let mut bearerd = broken_between_intent_and_result(bearerd, &issuer);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert!(bearerd.metric("bearerd_store_errors_total") > 0);
    bearerd.limit_file_size(None);
    bearerd.wait_for_state("api", "ready");
    bearerd.end_by(Signal::KILL);
    bearerd.start_again();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"").json()["outcome"], "ok");
    assert!(issuer.was_shown_each_once());
}

/// Fills the disk while the issuer thinks, and waits until the new token is used all the same.
fn broken_between_intent_and_result(bearerd: Sidecar, issuer: &Rotating) -> Sidecar {
    issuer.hold(true);
    let generation = bearerd.credential("api")["generation"].as_u64().expect("a number");
    assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh", b"").status(), 202);
    bearerd.wait("the request", || (issuer.used().len() >= 2).then_some(()));
    bearerd.limit_file_size(Some(0));
    issuer.hold(false);
    bearerd.wait_for_generation("api", generation + 1);
    bearerd.wait_for_state("api", "failing");
    bearerd
}

#[test]
fn a_file_that_is_removed_while_it_is_in_use_is_told_and_not_written_into_nothing() {
    let (first, upstream) = (canary::secret(), Upstream::start());
    let issuer = Rotating::start(&first, 60);
    let bearerd = with_store(&issuer.credential(&upstream)).file("first", &first).start();
    bearerd.wait_until_ready();
    let path = state(bearerd.folder());
    fs::rename(&path, path.with_extension("away")).expect("moved");
    bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"");
    let said = bearerd.wait_for_state("api", "failing");
    assert!(
        said["last_error"]["message"].as_str().is_some_and(|said| said.contains("removed or replaced")),
        "{said}"
    );
    assert_eq!(issuer.used().len(), 1);
    fs::rename(path.with_extension("away"), &path).expect("moved back");
    bearerd.wait_for_state("api", "ready");
}

#[test]
fn a_password_is_not_warned_about_where_a_durable_store_counts() {
    let setup = with_store(
        "[credentials.c]\nflow = \"oauth2\"\ngrant = \"password\"\ntoken_url = \"http://127.0.0.1:1/token\"\n\
         client_id = \"c\"\nclient_auth = \"none\"\nusername = \"me\"\npassword = { file = \"{folder}/store-key\" }\n\
         [credentials.d]\nflow = \"oauth2\"\ngrant = \"refresh_token\"\ntoken_url = \"http://127.0.0.1:1/token\"\n\
         client_id = \"c\"\nclient_auth = \"none\"\nrefresh_token = { file = \"{folder}/store-key\" }\n",
    );
    let mut check = crate::support::bearerd(&["check", "--config"]);
    check.arg(setup.write());
    let output = crate::support::sidecar::run(check, "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("durable"), "{told}");
}
