//! `bearerd store`: what a store holds is listed, taken out and put in, sealed, and never shown.

use std::fs;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;

use crate::store::{key, with_store};
use crate::support::configuration::granted;
use crate::support::sidecar::run;
use crate::support::{Issuer, Setup, Sidecar, Upstream, bearerd, canary};

/// Runs `bearerd store ..` with the configuration of a folder.
#[track_caller]
fn store(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = bearerd(&["store", "--config"]);
    command.arg(folder.join("bearerd.toml")).args(arguments);
    run(command, input)
}

#[track_caller]
fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// A bearerd with a store that holds a token, and its issuer.
fn filled() -> (Sidecar, Issuer, Upstream) {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let bearerd = with_store(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    bearerd.wait_until_ready();
    (bearerd, issuer, upstream)
}

#[test]
fn mistakes_of_the_configuration_are_told_as_check_tells_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = store(folder.path(), &["list"], "");
    assert_eq!(code(&told), Some(78));
    assert!(told.stderr.starts_with(b"error: the configuration "), "{}", self::told(&told));
}

#[test]
fn a_key_is_64_hexadecimal_digits_and_another_each_time() {
    let keys: Vec<String> = (0..2).map(|_| text(&run(bearerd(&["store", "key"]), ""))).collect();
    assert_ne!(keys[0], keys[1]);
    for key in keys {
        assert!(key.len() == 65 && key.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
}

#[test]
fn a_store_is_listed_without_values_while_no_process_has_it() {
    let (mut bearerd, _issuer, _upstream) = filled();
    for command in ["list", "export"] {
        let refused = store(bearerd.folder(), &[command], "");
        assert_eq!(code(&refused), Some(69), "{}", told(&refused));
        assert!(told(&refused).contains("in use by another process"), "{}", told(&refused));
    }
    bearerd.end_by(Signal::KILL);
    let before = fs::read(bearerd.folder().join("state")).expect("a file");
    let listed = text(&store(bearerd.folder(), &["list"], ""));
    assert!(
        listed.starts_with("CREDENTIAL  SUBJECT  STATE") && listed.contains("\napi         -        ready"),
        "{listed}"
    );
    let listed = store(bearerd.folder(), &["list", "--json"], "");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed["records"][0]["credential"], "api");
    assert_eq!(listed["records"][0]["generation"], 1);
    assert!(fs::read(bearerd.folder().join("state")).expect("a file") == before, "to look changes nothing");
}

#[test]
fn an_export_restores_a_store_that_was_lost() {
    let (mut bearerd, issuer, _upstream) = filled();
    bearerd.end_by(Signal::TERM);
    let export = store(bearerd.folder(), &["export"], "");
    assert_eq!(code(&export), Some(0), "{}", told(&export));
    fs::remove_file(bearerd.folder().join("state")).expect("removed");
    let imported = store(bearerd.folder(), &["import"], &text(&export));
    assert_eq!(code(&imported), Some(0), "{}", told(&imported));
    bearerd.start_again();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(issuer.requests().len(), 1, "the restored token is in use");
}

#[test]
fn an_export_by_another_key_is_imported_by_that_key_only() {
    let (mut bearerd, _issuer, _upstream) = filled();
    bearerd.end_by(Signal::TERM);
    fs::write(bearerd.folder().join("backup-key"), key()).expect("a key");
    let backup_key = bearerd.folder().join("backup-key").display().to_string();
    let export = text(&store(bearerd.folder(), &["export", "--key", &backup_key], ""));
    let refused = store(bearerd.folder(), &["import"], &export);
    assert_eq!(code(&refused), Some(78), "{}", told(&refused));
    assert!(told(&refused).contains("another key"), "{}", told(&refused));
    assert_eq!(code(&store(bearerd.folder(), &["import", "--key", &backup_key], &export)), Some(0));
}

#[test]
fn an_export_that_was_cut_mixed_or_changed_is_refused_whole() {
    let (mut bearerd, _issuer, _upstream) = filled();
    bearerd.end_by(Signal::TERM);
    let export = text(&store(bearerd.folder(), &["export"], ""));
    let lines: Vec<&str> = export.lines().collect();
    let without = |cut: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != cut);
        kept.flat_map(|(_, line)| [*line, "\n"]).collect::<String>()
    };
    let renamed = export.replace("\"credential\":\"api\"", "\"credential\":\"other\"");
    let cut = export[..export.len() / 2].to_owned();
    for wrong in [without(0), without(1), without(2), without(3), renamed, cut, "{}\n".into(), String::new()]
    {
        let refused = store(bearerd.folder(), &["import", "--force"], &wrong);
        assert_eq!(code(&refused), Some(78), "{}\n{wrong}", told(&refused));
    }
}

#[test]
fn an_import_overwrites_nothing_newer_and_no_other_store_unless_forced() {
    let (mut bearerd, _issuer, _upstream) = filled();
    bearerd.end_by(Signal::TERM);
    let old = text(&store(bearerd.folder(), &["export"], ""));
    assert_eq!(code(&store(bearerd.folder(), &["import"], &old)), Some(0), "the same is no conflict");
    bearerd.start_again();
    bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"");
    bearerd.wait_for_generation("api", 2);
    bearerd.end_by(Signal::TERM);
    let refused = store(bearerd.folder(), &["import"], &old);
    assert_eq!(code(&refused), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("not older") && told(&refused).contains("api"), "{}", told(&refused));
    let generation = |bearerd: &Sidecar| {
        let listed = store(bearerd.folder(), &["list", "--json"], "");
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        listed["records"][0]["generation"].as_u64()
    };
    assert_eq!(generation(&bearerd), Some(2), "nothing was written");
    assert_eq!(code(&store(bearerd.folder(), &["import", "--force"], &old)), Some(0));
    assert_eq!(generation(&bearerd), Some(1));

    let (mut other, _issuer, _upstream) = filled();
    other.end_by(Signal::TERM);
    let same_key = fs::read(bearerd.folder().join("store-key")).expect("a key");
    fs::write(other.folder().join("export-key"), same_key).expect("a key");
    let export_key = other.folder().join("export-key").display().to_string();
    let refused = store(other.folder(), &["import", "--key", &export_key], &old);
    assert_eq!(code(&refused), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("another one"), "{}", told(&refused));
    assert_eq!(code(&store(other.folder(), &["import", "--key", &export_key, "--force"], &old)), Some(0));
}

#[test]
fn a_configuration_without_a_store_file_is_told() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let setup = Setup::new(&granted(&issuer, &canary::secret(), &upstream, ""));
    setup.write();
    let refused = store(setup.folder(), &["list"], "");
    assert_eq!(code(&refused), Some(78), "{}", told(&refused));
    let setup = with_store(&granted(&issuer, &canary::secret(), &upstream, ""));
    setup.write();
    let refused = store(setup.folder(), &["list"], "");
    assert!(told(&refused).contains("is not there"), "{}", told(&refused));
}
