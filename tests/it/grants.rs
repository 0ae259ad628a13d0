//! Grants as an issuer and an upstream see them.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::configuration::route;
use crate::support::{Issuer, Reply, Setup, Upstream, canary};

/// As kubelet lays a projected volume out: what an app reads are links through `..data` into a folder
/// of this time, and one rename swaps all of them.
#[test]
fn a_swapped_service_account_token_is_exchanged_at_once() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let setup = Setup::new(&format!(
        "[credentials.pod]\nflow = \"oauth2\"\ngrant = \"token_exchange\"\ntoken_url = \"{}\"\n\
         subject_token = {{ file = \"{{folder}}/token\" }}\naudience = \"api\"\n\n{}",
        issuer.url(),
        route("pod", &upstream),
    ));
    let folder = setup.folder().to_owned();
    let project = |time: &str, token: &str| {
        fs::create_dir(folder.join(time)).expect("a folder");
        fs::write(folder.join(time).join("token"), token).expect("a token");
        symlink(time, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a swap");
    };
    let (first, second) = (canary::secret(), canary::secret());
    project("..2026_11_22_05", &first);
    symlink("..data/token", folder.join("token")).expect("a link");
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);

    project("..2026_11_22_06", &second);
    bearerd.wait_for_generation("pod", 2);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);

    let requests = issuer.wait_for(2);
    for (request, token) in requests.iter().zip([&first, &second]) {
        let form = request.form();
        let sent: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            sent,
            [
                ("audience", "api"),
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", token),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ]
        );
        assert_eq!(request.field("authorization"), None, "the token says who the client is");
    }
    let used: Vec<_> = upstream.requests().iter().filter_map(|seen| seen.field("authorization")).collect();
    assert_eq!(used, issuer.granted().iter().map(|token| format!("Bearer {token}")).collect::<Vec<_>>());
}

#[test]
fn what_an_exchange_brought_is_used_though_it_is_no_access_token() {
    let issuer = Issuer::shaped(|token| {
        json!({
            "access_token": token,
            "token_type": "N_A",
            "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "expires_in": "3600",
        })
    });
    let upstream = Upstream::start();
    let bearerd = Setup::new(&format!(
        "[credentials.pod]\nflow = \"oauth2\"\ngrant = \"token_exchange\"\ntoken_url = \"{}\"\n\
         subject_token = {{ value = \"{}\" }}\nrequested_token_type = \"jwt\"\n\n{}",
        issuer.url(),
        canary::secret(),
        route("pod", &upstream),
    ))
    .start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(upstream.request().field("authorization"), Some(format!("Bearer {}", issuer.token())));
}

#[test]
fn an_error_that_only_a_description_names_is_a_rejection_and_is_told() {
    let refusal = Reply::json(400, &json!({"error_description": "invalid_grant: the subject is gone"}));
    let (issuer, upstream) = (Issuer::start(3600).then(refusal), Upstream::start());
    let bearerd = Setup::new(&format!(
        "[credentials.pod]\nflow = \"oauth2\"\ngrant = \"token_exchange\"\ntoken_url = \"{}\"\n\
         subject_token = {{ value = \"{}\" }}\n\n{}",
        issuer.url(),
        canary::secret(),
        route("pod", &upstream),
    ))
    .start();
    let said = bearerd.wait_for_state("pod", "rejected");
    assert!(
        said["last_error"]["message"].as_str().is_some_and(|it| it.contains("`invalid_grant`")),
        "{said}"
    );
    assert_eq!(issuer.requests().len(), 1);
}
