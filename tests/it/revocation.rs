//! Tokens that are revoked at their issuer (RFC 7009).

use rustix::process::Signal;
use serde_json::json;

use crate::support::configuration::route;
use crate::support::{Issuer, Reply, Setup, Upstream, canary};

/// An issuer that notes revocations, and a credential that it is the issuer of.
fn setup(issuer: &Issuer, upstream: &Upstream, lines: &str) -> Setup {
    Setup::new(&format!(
        "[credentials.api]\nflow = \"oauth2\"\ntoken_url = \"{}\"\nrevocation_url = \"{}/revoke\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\n{lines}\n\n{}",
        issuer.url(),
        issuer.origin(),
        canary::secret(),
        route("api", upstream),
    ))
}

fn issuer(status: u16) -> Issuer {
    Issuer::judging(3600, move |request| {
        (request.target() == "/revoke").then(|| Reply::json(status, &json!({})))
    })
}

#[test]
fn a_token_is_revoked_at_the_end_where_that_is_wanted() {
    for (status, told) in [(200, "revoked"), (503, "not revoked")] {
        let (issuer, upstream) = (issuer(status), Upstream::start());
        let lines = "grant = \"client_credentials\"\nrevoke_on_exit = true";
        let mut bearerd = setup(&issuer, &upstream, lines).start();
        bearerd.wait_until_ready();
        assert_eq!(bearerd.app().get("/api/x").status(), 200);
        bearerd.signal(Signal::TERM);
        assert!(bearerd.wait_for_exit().success(), "an issuer that is down holds nobody up");
        let requests = issuer.requests();
        let revocation = requests.last().expect("a revocation");
        assert_eq!(revocation.start_line(), "POST /revoke HTTP/1.1");
        assert!(revocation.field("authorization").is_some_and(|it| it.starts_with("Basic ")));
        let form = revocation.form();
        assert_eq!(
            (form["token"].clone(), form["token_type_hint"].as_str()),
            (issuer.token(), "access_token")
        );
        bearerd.log(told, |line| line["message"] == told && line["credential"] == "api");
    }
}

#[test]
fn without_the_wish_nothing_is_revoked_at_the_end() {
    let (issuer, upstream) = (issuer(200), Upstream::start());
    let mut bearerd = setup(&issuer, &upstream, "grant = \"client_credentials\"").start();
    bearerd.wait_until_ready();
    bearerd.signal(Signal::TERM);
    assert!(bearerd.wait_for_exit().success());
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn whoever_logs_out_has_the_refresh_token_revoked_and_then_the_access_token() {
    let (issuer, upstream) = (issuer(200), Upstream::start());
    let refresh = canary::secret();
    let lines = format!("grant = \"refresh_token\"\nrefresh_token = {{ value = \"{refresh}\" }}");
    let bearerd = setup(&issuer, &upstream, &lines).start();
    bearerd.wait_until_ready();
    let answer = bearerd.control("POST", "/v1/credentials/api/logout", b"");
    assert_eq!(answer.status(), 202, "{}", answer.text());
    assert_eq!(bearerd.wait_for_state("api", "revoked")["state"], "revoked");
    let revoked: Vec<_> = issuer.wait_for(3)[1..]
        .iter()
        .map(|request| (request.form()["token"].clone(), request.form()["token_type_hint"].clone()))
        .collect();
    let tokens = [(refresh, "refresh_token".to_owned()), (issuer.token(), "access_token".to_owned())];
    assert_eq!(revoked, tokens);
    assert_eq!(bearerd.app().get("/api/x").status(), 503);
}
