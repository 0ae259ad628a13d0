use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{AssertionSpec, Claim, Inputs, Source, read, read_source};
use crate::clock::Clock;
use crate::credential::flow::StaticFlow;
use crate::credential::flow::fixed::Expires;
use crate::credential::{CredentialName, CredentialSpec, Flow};
use crate::named::Named;
use crate::secret::Secret;
use crate::template::Template;

async fn read_alone(source: &Source) -> Result<Secret, String> {
    read_source("x", source, &|_, _| None, &Clock::system()).await.map_err(|error| error.to_string())
}

fn command(argv: &[&str]) -> Source {
    Source::Command {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn one_line_break_is_taken_off_a_file_and_no_more() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for (content, value) in [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        ("secret\n\n", "secret\n"),
        ("a\r", "a\r"),
    ] {
        std::fs::write(file.path(), content).expect("a file");
        let read = read_alone(&Source::File(file.path().into())).await;
        assert_eq!(read, Ok(Secret::from(value)), "{content:?}");
    }
}

#[tokio::test]
async fn a_file_that_brings_nothing_is_told_by_name_and_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let source = Source::File(path.clone().into());
    let expected = async |reason: &str| {
        let error = read_alone(&source).await.expect_err("it cannot be read");
        assert!(error.contains(reason) && error.contains(path.to_str().expect("text")), "{error}");
    };
    expected("does not exist").await;
    for empty in ["", "\n", "\r\n"] {
        std::fs::write(&path, empty).expect("a file");
        expected("is empty").await;
    }
    std::fs::write(&path, vec![b'a'; super::LARGEST + 1]).expect("a file");
    expected("is larger than").await;
    let error = read_alone(&Source::File(folder.path().into())).await.expect_err("a directory");
    assert!(error.contains("is a folder, not a file"), "{error}");
}

#[tokio::test]
async fn a_command_sees_a_scrubbed_environment_and_no_input_or_shell() {
    assert_eq!(read_alone(&command(&["printf", "%s\n", "a$HOME b"])).await, Ok(Secret::from("a$HOME b")));
    let environment = read_alone(&command(&["env"])).await.expect("an environment");
    for line in environment.expose_str().expect("text").lines() {
        let name = line.split('=').next().expect("a name");
        assert!(crate::confinement::ENVIRONMENT.contains(&name), "{name}");
    }
    let error = read_alone(&command(&["cat"])).await.expect_err("there is no input");
    assert!(error.contains("printed nothing"), "{error}");
}

#[tokio::test]
async fn a_command_that_fails_is_told_without_what_it_said() {
    let error = read_alone(&command(&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"])).await;
    let error = error.expect_err("it fails");
    assert!(error.contains("`sh` failed (exit status: 3)") && !error.contains("hunter2"), "{error}");
    let error = read_alone(&command(&["/nonexistent/program"])).await.expect_err("no such program");
    assert!(error.contains("`/nonexistent/program` does not exist"), "{error}");
    let error = read_alone(&command(&["no-such-program"])).await.expect_err("no such program");
    assert!(error.contains("`no-such-program` is in no folder of `PATH`: write its whole path"), "{error}");
    let error = read_alone(&command(&["/etc/passwd"])).await.expect_err("no program");
    assert!(error.contains("`/etc/passwd` may not be executed"), "{error}");
    let error = read_alone(&command(&["head", "-c", "2000000", "/dev/zero"])).await.expect_err("too much");
    assert!(error.contains("printed more than"), "{error}");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; wait", note.display());
    let source = Source::Command {
        argv: vec!["sh".to_owned(), "-c".to_owned(), script],
        timeout: Duration::from_millis(500),
    };
    let error = read_alone(&source).await.expect_err("it hangs");
    assert!(error.contains("did not end within 500ms"), "{error}");
    let child = std::fs::read_to_string(note).expect("the child's identifier");
    let stat = Path::new("/proc").join(child.trim()).join("stat");
    // Killed means gone, or a zombie that nobody has collected yet.
    let gone = async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the child is killed too");
}

#[tokio::test]
async fn an_output_of_another_credential_is_waited_for_by_name() {
    let parent = CredentialName::from("user");
    let source = Source::Output { credential: parent.clone(), output: "access_token".to_owned() };
    let clock = Clock::system();
    let error = read_source("user.access_token", &source, &|_, _| None, &clock).await.expect_err("none yet");
    assert_eq!(error.waits_for, Some(parent.clone()));
    let given = |credential: &CredentialName, output: &str| {
        (*credential == parent && output == "access_token").then(|| Secret::from("t1"))
    };
    assert_eq!(read_source("x", &source, &given, &clock).await, Ok(Secret::from("t1")));
}

#[tokio::test]
async fn a_part_of_a_document_is_taken_by_its_pointer() {
    let part = |document: &str, pointer: &str| Source::Part {
        document: Box::new(Source::Value(Secret::from(document))),
        pointer: pointer.to_owned(),
    };
    let document = r#"{"key": "k\nl", "number": 7, "empty": "", "list": [], "null": null}"#;
    assert_eq!(read_alone(&part(document, "/key")).await, Ok(Secret::from("k\nl")));
    assert_eq!(read_alone(&part(document, "/number")).await, Ok(Secret::from("7")));
    for (document, pointer, why) in [
        (document, "/nothing", "has nothing at `/nothing`"),
        (document, "/null", "has nothing at"),
        (document, "/list", "neither a text nor a number"),
        (document, "/empty", "is empty"),
        ("k", "/key", "is not JSON"),
    ] {
        let error = read_alone(&part(document, pointer)).await.expect_err(pointer);
        assert!(error.contains(why), "{error}");
    }
}

fn assertion(key: &str, algorithm: Option<&str>) -> AssertionSpec {
    AssertionSpec {
        key: Source::Value(Secret::from(key)),
        algorithm: algorithm.map(str::to_owned),
        header: BTreeMap::from([("kid".to_owned(), Claim::Json(json!("k1")))]),
        claims: BTreeMap::from([
            ("iss".to_owned(), Claim::Text(Template::parse("app-{id}").expect("a template"))),
            ("aud".to_owned(), Claim::Text(Template::text("https://issuer.example"))),
            ("admin".to_owned(), Claim::Json(json!(true))),
        ]),
        lifetime: Duration::from_secs(60),
        backdate: Duration::ZERO,
    }
}

/// Signs with `key` among other inputs.
async fn sign(key: &str, algorithm: Option<&str>, clock: &Clock) -> Result<Inputs, String> {
    let spec = CredentialSpec {
        name: CredentialName::from("c"),
        flow: Flow::Static(StaticFlow { expires: Expires::Never }),
        inputs: Named::from([
            ("assertion".to_owned(), Source::Jwt(Box::new(assertion(key, algorithm)))),
            ("id".to_owned(), Source::Value(Secret::from("7"))),
        ]),
        egress: String::new(),
        times: Arc::default(),
        optional: false,
        retry_ambiguous: false,
        expected_upstream: None,
        lends: Arc::default(),
        only_subjects: false,
        deadline: None,
        rotation: None,
    };
    read(&spec, &|_, _| None, clock).await.map_err(|error| error.to_string())
}

/// Signs with `key` and lets another library verify it.
async fn verified(key: &str, said: Option<&str>, algorithm: Algorithm, public: &DecodingKey) {
    let clock = Clock::system();
    let inputs = sign(key, said, &clock).await.expect("a key");
    let token = inputs.values["assertion"].expose_str().expect("text").to_owned();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["https://issuer.example"]);
    let data = jsonwebtoken::decode::<Value>(&token, public, &validation).expect("a valid signature");
    assert_eq!((data.header.kid.as_deref(), data.header.typ.as_deref()), (Some("k1"), Some("JWT")));
    assert_eq!((&data.claims["iss"], &data.claims["admin"]), (&json!("app-7"), &json!(true)));
    let (issued, end) =
        (data.claims["iat"].as_i64().expect("iat"), data.claims["exp"].as_i64().expect("exp"));
    assert!(end - issued == 60 && (clock.wall().as_second() - issued).abs() <= 1);
    assert_eq!(data.claims["jti"].as_str().map(str::len), Some(36));
    let again = sign(key, said, &clock).await.expect("a key");
    assert_ne!(again.values["assertion"], inputs.values["assertion"], "each assertion has its own jti");
    assert_eq!(again.identity, inputs.identity);
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The integers of a PKCS #1 key after its version: n, e, d, p, q, dp, dq, qi (RFC 8017, A.1.2).
fn integers(pkcs1: &[u8]) -> Vec<Vec<u8>> {
    fn header(der: &[u8]) -> (usize, &[u8]) {
        match usize::from(der[1]) {
            short @ 0..0x80 => (short, &der[2..]),
            long => {
                let (length, rest) = der[2..].split_at(long - 0x80);
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
        }
    }
    let (_, mut rest) = header(pkcs1);
    let mut integers = Vec::new();
    while !rest.is_empty() {
        let (length, content) = header(rest);
        let integer = &content[..length];
        integers.push(integer.strip_prefix(&[0]).unwrap_or(integer).to_vec());
        rest = &content[length..];
    }
    integers.split_off(1)
}

#[tokio::test]
async fn rsa_keys_sign_in_every_form() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public = DecodingKey::from_rsa_der(key.public_key().as_ref());
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("a key");
    let pkcs8 = pkcs8.as_ref();
    // A PKCS #8 key of this size wraps its PKCS #1 form in 26 bytes.
    let pkcs1 = &pkcs8[26..];
    for key in [pem("PRIVATE KEY", pkcs8), pem("RSA PRIVATE KEY", pkcs1)] {
        verified(&key, None, Algorithm::RS256, &public).await;
        verified(&key, Some("RS512"), Algorithm::RS512, &public).await;
        verified(&key, Some("PS256"), Algorithm::PS256, &public).await;
        assert!(sign(&key, Some("ES256"), &Clock::system()).await.expect_err("RSA").contains("an RSA key"));
    }
    let mut jwk = json!({"kty": "RSA", "alg": "PS384"});
    for (name, integer) in ["n", "e", "d", "p", "q", "dp", "dq", "qi"].iter().zip(integers(pkcs1)) {
        jwk[name] = base64url(&integer).into();
    }
    verified(&jwk.to_string(), None, Algorithm::PS384, &public).await;
}

#[tokio::test]
async fn keys_on_curves_sign_in_every_form_by_the_algorithm_of_their_curve() {
    for (algorithm, said, expected, curve, length) in [
        (&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", Algorithm::ES256, "P-256", 32),
        (&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", Algorithm::ES384, "P-384", 48),
    ] {
        let key = EcdsaKeyPair::generate(algorithm).expect("a key");
        let point = key.public_key().as_ref();
        let public = DecodingKey::from_ec_der(point);
        let sec1: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().expect("a key");
        verified(&pem("EC PRIVATE KEY", sec1.as_ref()), None, expected, &public).await;
        let pkcs8 = key.to_pkcs8v1().expect("a key");
        verified(&pem("PRIVATE KEY", pkcs8.as_ref()), Some(said), expected, &public).await;
        let private: aws_lc_rs::encoding::EcPrivateKeyBin<'_> =
            aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&key.private_key()).expect("a key");
        let jwk = json!({
            "kty": "EC", "crv": curve, "d": base64url(private.as_ref()),
            "x": base64url(&point[1..=length]), "y": base64url(&point[1 + length..]),
        });
        verified(&jwk.to_string(), None, expected, &public).await;
    }
}

#[tokio::test]
async fn ed25519_keys_sign_in_every_form() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let public = DecodingKey::from_ed_der(key.public_key().as_ref());
    let pkcs8 = key.to_pkcs8v1().expect("a key");
    verified(&pem("PRIVATE KEY", pkcs8.as_ref()), None, Algorithm::EdDSA, &public).await;
    let seed = key.seed().expect("a key");
    let seed: aws_lc_rs::encoding::Curve25519SeedBin<'_> =
        aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&seed).expect("a key");
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "d": base64url(seed.as_ref()), "x": base64url(key.public_key().as_ref()),
    });
    verified(&jwk.to_string(), None, Algorithm::EdDSA, &public).await;
}

#[tokio::test]
async fn shared_secrets_sign_when_they_are_said_to_be_one() {
    let public = DecodingKey::from_secret(b"a shared secret");
    verified("a shared secret", Some("HS256"), Algorithm::HS256, &public).await;
    let jwk = json!({"kty": "oct", "k": base64url(b"a shared secret")}).to_string();
    verified(&jwk, None, Algorithm::HS256, &public).await;
    verified(&jwk, Some("HS512"), Algorithm::HS512, &public).await;
    let error = sign("a shared secret", None, &Clock::system()).await.expect_err("nothing says what it is");
    assert!(error.contains("HS256") && !error.contains("shared secret\""), "{error}");
}

#[tokio::test]
async fn keys_that_cannot_sign_are_told_without_their_bytes() {
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"hunter2");
    for (key, said, reason) in [
        (encrypted.as_str(), None, "is encrypted"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n", None, "no private key"),
        (r#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#, None, "has no `d`"),
        (r#"{"kty": "hunter2", "k": 5}"#, None, "is not one"),
        (r#"{"kty": "oct", "k": "AQAB"}"#, Some("RS256"), "a shared secret"),
        ("x", Some("none"), "neither PEM nor a JWK"),
    ] {
        let error = sign(key, said, &Clock::system()).await.expect_err(reason);
        assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn configured_claims_win_over_the_defaults() {
    let mut spec = assertion("a shared secret", Some("HS256"));
    spec.claims.insert("iat".to_owned(), Claim::Json(json!(1000)));
    spec.claims.insert("jti".to_owned(), Claim::Text(Template::text("fixed")));
    spec.claims.remove("iss");
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    let source = Source::Jwt(Box::new(spec));
    let token = read_source("x", &source, &|_, _| None, &clock).await.expect("an assertion");
    let claims = token.expose_str().expect("text").split('.').nth(1).expect("claims").to_owned();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    assert_eq!(
        (&claims["iat"], &claims["exp"], &claims["jti"]),
        (&json!(1000), &json!(1060), &json!("fixed"))
    );
}

#[tokio::test]
async fn the_youngest_file_dates_the_inputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut inputs = BTreeMap::from([("v".to_owned(), Source::Value(Secret::from("v")))]);
    for (name, second) in [("a", 1000), ("b", 2000)] {
        let path = folder.path().join(name);
        std::fs::write(&path, name).expect("a file");
        let time = std::time::UNIX_EPOCH + Duration::from_secs(second);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(time))
            .expect("a time");
        inputs.insert(name.to_owned(), Source::File(path.into()));
    }
    let mut youngest = None;
    for (name, source) in &inputs {
        let read = super::read_one(name, source, &|_, _| None, &Clock::system(), &BTreeMap::new()).await;
        youngest = youngest.max(read.expect("a file").written);
    }
    assert_eq!(youngest.map(Timestamp::as_second), Some(2000));
}
