//! The audit: the main scenarios at the finest level of logs, with a canary for every secret, and then
//! everything that anybody but root, the issuer and the upstream could see of them is searched.

mod evidence;
mod house;
mod outlets;
mod people;

use std::fs;

use base64::Engine;
use bearerd::clock::Clock;

use crate::support::canary;
use crate::support::sidecar::ADMIN_TOKEN;
use evidence::Evidence;
use house::House;
use outlets::{Outlets, PLACES};

#[test]
fn no_secret_shows_anywhere() {
    let mut evidence = Evidence::default();
    evidence.know(ADMIN_TOKEN);
    House::start(|setup| setup).live(&mut evidence);
    Outlets::start(None).live(&mut evidence);
    people::live(&mut evidence);
    people::receive(&mut evidence);
    assert!(evidence.places() > 200, "{}", evidence.places());
    assert_eq!(evidence.hits(), [""; 0]);
}

#[test]
fn the_audit_finds_a_leak_that_was_planted() {
    let secret = canary::secret();
    let mut evidence = Evidence::default();
    // A variable that the configuration does not name stays where it is.
    let house = House::start(|setup| setup.variable("FORGOTTEN", &secret));
    // What bearerd writes beside its configuration, in every form that something on its way may give it.
    let leaks: Vec<_> =
        canary::forms(&canary::secret()).into_iter().map(|(name, _)| (name, canary::secret())).collect();
    let mut forms = Vec::new();
    for (number, (_, leak)) in leaks.iter().enumerate() {
        let (name, form) = canary::forms(leak).swap_remove(number);
        fs::write(house.folder().join(format!("planted-{number}")), form).expect("a file");
        forms.push(name);
    }
    house.live(&mut evidence);
    let hits = evidence.hits();
    let of = |secret: &str| hits.iter().filter(|hit| hit.contains(secret)).collect::<Vec<_>>();
    // The process's own, and that of its first thread, which is the same.
    let threads = of(&secret);
    assert!(!threads.is_empty() && threads.iter().all(|hit| hit.contains("/environ")), "{hits:?}");
    for ((_, leak), form) in leaks.iter().zip(forms) {
        let found = of(leak);
        // Once with the process alive, and once with it gone.
        assert!(found.len() == 2 && found.iter().all(|hit| hit.contains("/planted-")), "{form}: {found:?}");
    }
    assert_eq!(hits.len(), threads.len() + 2 * leaks.len(), "{hits:?}");
}

#[test]
fn the_audit_finds_a_leak_by_each_outlet() {
    // No canary, which whatever reads an answer in these tests would find before the audit does.
    let planted = format!("planted-{}", Clock::system().uuid());
    let mut evidence = Evidence::default();
    evidence.know(&planted);
    Outlets::start(Some(&planted)).live(&mut evidence);
    let hits = evidence.hits();
    for place in PLACES {
        assert!(hits.iter().any(|hit| hit.starts_with(place)), "{place}: {hits:?}");
    }
}

#[test]
fn the_audit_knows_a_secret_in_every_form() {
    let secret = canary::secret();
    let is_found = |bytes: Vec<u8>| {
        let mut evidence = Evidence::default();
        evidence.know("not-a-canary");
        evidence.add("a place", bytes);
        !evidence.hits().is_empty()
    };
    for (name, form) in canary::forms(&secret) {
        assert!(is_found(format!("before {form} behind").into_bytes()), "{name}: {form}");
        assert!(is_found(form.into_bytes()), "{name}");
    }
    for before in ["", "x", "xy", "xyz"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}:behind"));
        assert!(is_found(text.clone().into_bytes()), "{text}");
    }
    assert!(is_found(b"not-a-canary".to_vec()) && is_found(b"bm90LWEtY2FuYXJ5".to_vec()));
    assert!(!is_found(b"cnry-scr-but-another".to_vec()) && !is_found(Vec::new()));
}
