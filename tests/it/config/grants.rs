//! What is wrong with a grant, a client authentication, or a route of a token that is bound.

use std::fs;

use bearerd::credential::{CredentialName, Flow, Source};

use super::{accepted, around, mistakes};
use crate::support::tls::Authority;

#[test]
fn grants_and_client_authentications_are_checked() {
    let told = mistakes(&around(
        r#"
[credentials.a]
flow = "oauth2"
grant = "token_exchange"
token_url = "https://issuer.example/token"
subject_token_type = "acces_token"
actor_token_type = "jwt"
resource = ["not-a-uri", "https://a/#b"]
audience = []
[credentials.b]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://127.0.0.1:1/token"
client_id = "b"
client_auth = "tls"
client_secret = { env = "SECRET" }
subject_token = { env = "SECRET" }
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "c"
client_auth = "client_secret_jwt"
client_assertion = { jwt = { key = { env = "SECRET" }, alg = "ES256" } }
certificate_bound = true
[credentials.d]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "d"
client_auth = "client_secret_jwt"
[credentials.e]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "e"
client_auth = "private_key_jwt"
client_assertion = { jwt = { key = { env = "SECRET" }, alg = "HS256" } }
client_key = { env = "SECRET" }
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    7:14 `subject_token` is missing: this grant takes it
    7:14 `actor_token` is missing: `actor_token_type` tells of it
    11:22 this is neither a token type nor a URI of one (did you mean `access_token`?)
    13:1 a resource is an absolute URI without `#` (a name that only the issuer knows is an `audience`)
    14:1 `audience` names at least one, and none is empty
    15:14 `client_cert` is missing: the issuer knows the client by its certificate: `client_cert` and `client_key` stand here, or on the credential's `egress`
    18:13 a client certificate is shown over https:// only
    21:1 `client_secret` is not used with this `client_auth`
    22:1 `subject_token` belongs to the grant `token_exchange`
    29:62 the algorithms of `client_secret_jwt` are HS256, HS384 and HS512
    30:21 tokens are bound to a certificate, and none is shown to the issuer (`client_cert` and `client_key` stand here, or on the credential's `egress`)
    31:14 `client_secret` is missing: the client's assertion is signed with it
    37:14 `client_cert` is missing: the certificate of `client_key`
    43:62 the algorithms of `private_key_jwt` are those of private keys, such as ES256 and RS256
    "#);
}

#[test]
fn keys_of_proofs_checks_of_id_tokens_and_revocations_are_checked() {
    let told = mistakes(&around(
        r#"
[credentials.a]
flow = "oauth2"
grant = "refresh_token"
token_url = "https://issuer.example/token"
client_id = "a"
client_auth = "none"
refresh_token = { env = "SECRET" }
dpop = true
revoke_on_exit = true
[credentials.b]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "b"
client_secret = { env = "SECRET" }
dpop = { key = { env = "SECRET" }, alg = "HS256" }
inject = { headers = { dpop = "{access_token}" } }
outputs = { dpop_key = "/x" }
revoke_on_exit = true
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "c"
client_secret = { env = "SECRET" }
dpop = { alg = "ES256" }
id_token = { jwks_url = "http://issuer.example/keys" }
[credentials.d]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "d"
client_secret = { env = "SECRET" }
id_token = { issuer = "https://issuer.example" }
dpop = "yes"
[credentials.e]
flow = "oauth2"
grant = "token_exchange"
token_url = "https://issuer.example/token"
subject_token = { credential = "d", output = "id_token" }
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    9:9 the refresh token may rotate, and no durable store keeps the next one (after a restart the configured refresh token may be used up: `[store] kind = "file"` keeps it)
    14:8 the refresh tokens of a public client are bound to the key, too: one that is made at each start would lose them (such as dpop = { key = { file = "dpop-key.pem" } })
    15:18 with the token, this grant would lose what renews it (`bearerd logout` revokes it when nobody needs it any more)
    16:14 `revocation_url` is missing: `revoke_on_exit` tells the issuer there
    22:1 an output cannot be called `dpop_key` beside `dpop`
    22:42 this is not one of the algorithms `ES256`, `ES384`, `ES512`, `EdDSA`, `PS256`, `PS384`, `PS512`, `RS256`, `RS384` and `RS512` (did you mean `ES256`?)
    23:24 the credential's `dpop` makes this field for each request
    32:16 `alg` is of `key`: a key that is made signs by ES256
    33:1 `issuer` is missing: a token of another issuer is none
    33:25 over plain HTTP anybody on the way could show other keys (use https://)
    34:14 the ID token of `d` is used, and nothing says by which keys it is signed (say `issuer`, or `id_token = { issuer, jwks_url }`: until then only its claims are checked)
    40:1 `jwks_url` is missing: the keys of the signatures lie there; an `issuer` tells it too
    41:8 true, false or a table is wanted here, not a text
    "#);
}

/// A credential that is known by a certificate, and a route with further lines.
fn bound(folder: &str, credential: &str, route: &str) -> String {
    format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[egress.other]
source = "127.0.0.1"
[egress.same]
client_cert = "{folder}/cert.pem"
client_key = "{folder}/key.pem"
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "c"
{credential}
[routes.r]
path = "/r"
upstream = "https://api.example"
credential = "c"
{route}
"#
    )
}

#[test]
fn the_route_of_a_bound_token_shows_the_certificate_that_its_issuer_was_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = Authority::new().named("client");
    fs::write(folder.path().join("cert.pem"), identity.cert).expect("a file");
    fs::write(folder.path().join("key.pem"), identity.key).expect("a file");
    let place = folder.path().display().to_string();
    let own = format!(
        "client_auth = \"tls\"\nclient_cert = \"{place}/cert.pem\"\nclient_key = \"{place}/key.pem\""
    );
    let of_egress = "client_auth = \"tls\"\negress = \"same\"";
    for (credential, route, egress) in [
        (own.as_str(), "", "credentials.c"),
        (&own, "egress = \"same\"", "same"),
        (of_egress, "", "same"),
        (of_egress, "egress = \"same\"", "same"),
        ("client_auth = \"tls\"\negress = \"same\"\ncertificate_bound = false", "", ""),
        ("client_auth = \"none\"\negress = \"same\"\ncertificate_bound = true", "", "same"),
    ] {
        let loaded = accepted(&bound(&place, credential, route));
        let found = loaded.config.routes.iter().find(|found| *found.name == *"r").expect("the route");
        assert_eq!(found.egress, egress, "{credential} {route}");
    }
    let loaded = accepted(&bound(&place, &format!("{own}\negress = \"other\""), ""));
    let made = loaded.config.egress.iter().find(|egress| egress.name == "credentials.c").expect("an egress");
    assert!(made.certificate.is_some() && made.source.is_some(), "all else is that of its egress");

    for credential in [own.as_str(), of_egress] {
        let told = mistakes(&bound(&place, credential, "egress = \"other\""));
        assert!(told.contains("this egress shows another or none"), "{told}");
    }
    let plain = bound(&place, of_egress, "").replace("https://api.example", "http://127.0.0.1:1");
    let warnings = accepted(&plain).warnings;
    assert!(warnings.iter().any(|warning| warning.message.contains("not shown without TLS")), "{warnings:?}");
}

#[test]
fn what_is_exchanged_is_of_the_type_that_its_source_says() {
    let loaded = accepted(&around(
        r#"
[credentials.user]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "u"
client_secret = { env = "SECRET" }
[credentials.c]
flow = "oauth2"
grant = "token_exchange"
token_url = "https://issuer.example/token"
subject_token = { env = "SECRET" }
actor_token = { credential = "user", output = "id_token" }
requested_token_type = "urn:example:own"
audience = ["a", "b"]
[credentials.chained]
flow = "oauth2"
grant = "token_exchange"
token_url = "https://issuer.example/token"
subject_token = { credential = "user" }
subject_token_type = "id_token"
resource = "https://api.example"
"#,
    ));
    let params = |name: &str| {
        let name = CredentialName::from(name);
        let spec = loaded.config.credentials.iter().find(|spec| spec.name == name).expect("a credential");
        let Flow::OAuth2(flow) = &spec.flow else { panic!("an OAuth flow") };
        assert!(matches!(spec.inputs.get("subject_token"), Some(Source::Value(_) | Source::Output { .. })));
        flow.params
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_text().expect("plain")))
            .collect::<Vec<_>>()
    };
    let standard = "urn:ietf:params:oauth:token-type:";
    assert_eq!(
        params("c"),
        [
            format!("subject_token_type={standard}jwt"),
            format!("actor_token_type={standard}id_token"),
            "requested_token_type=urn:example:own".to_owned(),
            "audience=a".to_owned(),
            "audience=b".to_owned(),
        ]
    );
    assert_eq!(
        params("chained"),
        [format!("subject_token_type={standard}id_token"), "resource=https://api.example".to_owned()]
    );
}
