//! `bearerd forecast` beside a bearerd that runs.

use std::process::Output;

use serde_json::Value;

use crate::store::with_store;
use crate::support::configuration::{fixed, granted};
use crate::support::sidecar::run;
use crate::support::{Issuer, Setup, Sidecar, Upstream, canary};

fn forecast(bearerd: &Sidecar) -> (Option<i32>, Value, String) {
    let mut command = crate::support::bearerd(&["forecast", "--days", "60", "--json", "--config"]);
    command.arg(bearerd.folder().join("bearerd.toml"));
    let Output { status, stdout, stderr } = run(command, "");
    let told = serde_json::from_slice(&stdout).expect("a JSON document");
    (status.code(), told, String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_forecast_begins_with_what_a_running_bearerd_holds() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(7 * 86_400));
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + &format!(
            "[credentials.mailed]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = \"never\"\n",
            canary::token()
        );
    let bearerd = with_store(&configuration).start();
    bearerd.wait_until_ready();
    let (code, told, said) = forecast(&bearerd);
    assert_eq!((code, told["has_records"].as_bool()), (Some(0), Some(true)), "{told} {said}");
    let api = &told["credentials"][0];
    assert_eq!((&api["lifetime"], &api["lifetime_by"]), (&(7 * 86_400).into(), &"record".into()), "{told}");

    // A person puts a token in that ends: the running process knows, and no file but the store.
    let end =
        (bearerd::clock::Clock::system().wall() + std::time::Duration::from_secs(30 * 86_400)).to_string();
    let set = bearerd.command(&["set", "mailed", "--expires", &end], &canary::token());
    assert_eq!(set.status.code(), Some(0), "{}", String::from_utf8_lossy(&set.stderr));
    let (code, told, said) = forecast(&bearerd);
    assert_eq!(code, Some(1), "{told} {said}");
    assert_eq!((&told["events"][0]["name"], &told["events"][0]["kind"]), (&"mailed".into(), &"ends".into()));
    assert_eq!(bearerd.app().get("/api/x").status(), 200, "it goes on");
}

#[test]
fn a_forecast_says_what_it_cannot_know_of_a_store_in_memory() {
    let upstream = Upstream::start();
    let bearerd = Setup::new(&fixed(&canary::token(), &upstream)).start();
    bearerd.wait_until_ready();
    let (_, told, said) = forecast(&bearerd);
    assert_eq!(told["has_records"], false);
    assert!(said.contains("the store is in memory") && said.contains("is not known here"), "{said}");
}
