//! Every preset against the wire of its vendor, from outside. What goes over it stands in a file for each
//! vendor, `tests/vendors/NAME.toml`: a new vendor needs no Rust. `tests/vendors/README.md` tells its words.
//!
//! The built binary runs between a server that is asked and answers as the file says, and an upstream that
//! does. Exact requests are compared, each in its turn; what the app gets; what each error means; and that
//! nobody who may not see a secret does.

mod fixture;
pub mod material;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use bearerd::config::preset::PRESETS;

use crate::house::{files, read};
use fixture::Fixture;

/// Presets that are not of one vendor, or whose tests are older (`presets.rs`, `logins/sandbox.rs`).
const TESTED_ELSEWHERE: [&str; 11] = [
    "bearer",
    "basic",
    "api-key",
    "digilocker",
    "digilocker-partner",
    "nic-ma",
    "nic-ma-portal",
    "payhub",
    "sahamati-entity",
    "sahamati-secret",
    "sahamati-user",
];

/// How many vendors are tried at once.
const AT_ONCE: usize = 4;

#[test]
fn every_vendor_is_asked_and_understood_as_its_wire_says() {
    let vendors = Mutex::new(fixtures());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(path) = next(&vendors) {
                    if let Err(why) = Fixture::read(&path).and_then(|fixture| run::all(&fixture)) {
                        let place = path.display();
                        failed.lock().expect("no panic").push(format!("{place}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn every_preset_of_a_vendor_has_a_wire() {
    let wired: Vec<String> = fixtures().iter().map(|path| read(path)).collect();
    for preset in PRESETS.iter().filter(|preset| !TESTED_ELSEWHERE.contains(&preset.name)) {
        let line = format!("preset = \"{}\"", preset.name);
        assert!(wired.iter().any(|text| text.contains(&line)), "tests/vendors has nothing with {line}");
    }
}

fn fixtures() -> Vec<PathBuf> {
    let mut found = files(Path::new("tests/vendors"), "toml");
    // Presets of one's own lie beside them.
    found.retain(|path| path.parent().is_some_and(|folder| folder.ends_with("vendors")));
    found.sort();
    assert!(found.len() >= 15, "{found:?}");
    found
}

fn next(vendors: &Mutex<Vec<PathBuf>>) -> Option<PathBuf> {
    vendors.lock().expect("no panic").pop()
}
