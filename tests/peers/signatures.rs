//! The `jose` library of others verifies what bearerd signs.

use std::fs;

use crate::counterpart::{here, node};
use crate::support::sidecar::{Setup, run};
use crate::support::{Upstream, canary, configuration};

/// Each algorithm, with what makes a key for it.
const KEYS: [(&str, &[&str]); 4] = [
    ("RS256", &["rsa", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("PS256", &["rsa", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("ES256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("EdDSA", &["ed25519"]),
];

#[test]
fn a_detached_signature_over_the_body_is_taken_by_another_implementation() {
    for (algorithm, kind) in KEYS {
        let upstream = Upstream::start();
        let token = canary::token();
        let long = vec![b'x'; 200_000];
        let bodies: [&[u8]; 4] = [b"", b"{\"txnid\":\"1\"}", b"a.b\r\n\0\xff", &long];
        let setup = Setup::new(&format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
             secrets = {{ signing_key = {{ file = \"key.pem\" }} }}\n\n{}\
             [routes.api.inject.headers]\nAuthorization = \"Bearer {{token}}\"\n\
             x-jws-signature = {{ jws = {{ key = \"signing_key\", alg = \"{algorithm}\", header = {{ kid = \"k 1\" }} }} }}\n",
            configuration::route("key", &upstream)
        ));
        let folder = setup.folder().to_owned();
        let (private, public) = (folder.join("key.pem"), folder.join("public.pem"));
        let mut make = std::process::Command::new("openssl");
        make.args(["genpkey", "-algorithm"]).args(kind).arg("-out").arg(&private);
        assert!(run(make, "").status.success(), "openssl makes a key");
        let mut show = std::process::Command::new("openssl");
        show.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public);
        assert!(run(show, "").status.success(), "openssl shows its public half");
        let bearerd = setup.start();
        for body in bodies {
            let fields = "X-JWS-Signature: forged\r\nContent-Type: application/json\r\n";
            assert_eq!(bearerd.app().request("POST", "/api/x", fields, body).status(), 200);
            let seen = upstream.requests().pop().expect("a request");
            assert!(seen.body == body, "the body passes byte for byte");
            let [signature] = &*seen.fields("x-jws-signature") else {
                panic!("one signature: {}", seen.head())
            };
            let payload = folder.join("payload");
            fs::write(&payload, &seen.body).expect("a file");
            let mut verify = node("node");
            verify
                .arg(here("detached.mjs"))
                .arg(signature)
                .args([&payload, &public])
                .args([algorithm, "k 1"]);
            let verified = run(verify, "");
            assert!(verified.status.success(), "{algorithm}: {}", String::from_utf8_lossy(&verified.stderr));
        }
    }
}
