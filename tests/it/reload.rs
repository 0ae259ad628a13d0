//! Reload: all or nothing.

use rustix::process::Signal;

use crate::support::configuration::{fixed, granted};
use crate::support::{Issuer, Sidecar, Upstream, canary};

#[test]
fn a_reload_takes_the_new_routes_and_keeps_the_token_of_an_unchanged_credential() {
    let (issuer, upstream, secret) = (Issuer::start(3600), Upstream::start(), canary::secret());
    let config = granted(&issuer, &secret, &upstream, "");
    let bearerd = Sidecar::ready(&config);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    bearerd.rewrite(&config.replace("path = \"/api\"", "path = \"/new\""));
    bearerd.signal(Signal::HUP);
    bearerd.wait("the new route", || (bearerd.app().get("/new/x").status() == 200).then_some(()));
    assert_eq!(bearerd.app().get("/api/x").status(), 404);
    assert_eq!(issuer.requests().len(), 1, "the credential did not change");
}

#[test]
fn a_changed_credential_starts_anew_and_a_removed_one_stops() {
    let (issuer, upstream) = (Issuer::start(3), Upstream::start());
    let (old, new) = (canary::secret(), canary::secret());
    let bearerd = Sidecar::ready(&granted(&issuer, &old, &upstream, "client_auth = \"post\""));
    bearerd.rewrite(&granted(&issuer, &new, &upstream, "client_auth = \"post\""));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    let exchanges = issuer.wait_for(2);
    assert_eq!(exchanges.last().expect("an exchange").form()["client_secret"], new);
    bearerd.rewrite(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.admin().get("/v1/credentials/api").status(), 404);
    let before = issuer.requests().len();
    // Longer than the lifetime of its tokens.
    std::thread::sleep(std::time::Duration::from_millis(3500));
    assert_eq!(issuer.requests().len(), before, "a removed credential is renewed no more");
}
