//! Presets are data: here each goes through the real configuration and the real flow, against a
//! server that answers what the vendor documents. The exact request is checked, what is read from
//! each variant of the answer, what is injected, and what each error means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bearerd::clock::Clock;
use bearerd::config::{self, Environment};
use bearerd::credential::flow::{Issuer as Flows, Mint, MintError};
use bearerd::credential::{CredentialName, CredentialSpec, Lifetime, Minted, input};
use bearerd::secret::Secret;
use bearerd::upstream::EgressSpec;
use bearerd::upstream::connect::Connector;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::message::Message;
use crate::support::{Issuer, Reply, canary};

/// The time of these tests.
const NOW: Timestamp = Timestamp::constant(1_721_129_614, 509_000_000);

/// A vendor that gives these answers in order, and nothing more.
fn vendor(replies: impl IntoIterator<Item = Reply>) -> Issuer {
    replies.into_iter().fold(Issuer::start(0), Issuer::then)
}

fn ok(body: &Value) -> Reply {
    Reply::json(200, body)
}

/// What became of one credential of a configuration.
struct Kept {
    minted: Minted,
    /// The fields that the first of its routes would put on a request.
    injected: Vec<(String, String)>,
}

/// Obtains all credentials of a configuration, parents first, each from the outputs of those before.
async fn obtain(configuration: &str) -> Result<BTreeMap<String, Kept>, MintError> {
    let loaded = config::load_text("test.toml", configuration, &Environment::default());
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
    let clock = Clock::simulated(NOW, 1);
    let connector = Connector::new(&EgressSpec::default()).expect("the default egress");
    let connectors = BTreeMap::from([(String::new(), connector)]);
    let flows = Flows::new(connectors, Arc::default(), clock.clone());
    let mut kept = BTreeMap::<String, Kept>::new();
    for spec in config.credentials {
        let parents = |credential: &CredentialName, output: &str| {
            kept.get(credential.as_str())?.minted.outputs.get(output).cloned()
        };
        let inputs = input::read(&spec, &parents, &clock).await.expect("inputs");
        let name = spec.name.clone();
        let minted = flows.mint(spec, inputs).await?;
        let route = config.routes.iter().find(|route| route.credential == name);
        let injected = route.map(|route| {
            let prepared = route.injection.prepare(&minted.outputs, &clock).expect("what is injected");
            let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
            prepared.fields().map(|(name, value)| (name.to_string(), text(&value))).collect()
        });
        kept.insert(name.to_string(), Kept { minted, injected: injected.unwrap_or_default() });
    }
    Ok(kept)
}

/// Obtains the only credential of a configuration, which is named `c`.
async fn obtain_one(credential: &str) -> Result<Kept, MintError> {
    let mut kept = obtain(&with_route(credential)).await?;
    Ok(kept.remove("c").expect("it is named c"))
}

/// A credential `c` and a route that uses it.
fn with_route(credential: &str) -> String {
    format!(
        "[listeners.app]\nbind = \"127.0.0.1:0\"\n[routes.r]\nupstream = \"http://127.0.0.1:1\"\ncredential = \
         \"c\"\n[credentials.c]\n{credential}"
    )
}

fn output(minted: &Minted, name: &str) -> String {
    minted.outputs.get(name).and_then(Secret::expose_str).expect(name).to_owned()
}

fn lasts(seconds: u64) -> Lifetime {
    Lifetime::For(Duration::from_secs(seconds))
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The only credential of a configuration, its inputs, and what asks its issuer.
async fn asked(credential: &str) -> (Arc<CredentialSpec>, input::Inputs, Flows) {
    let loaded = config::load_text("test.toml", &with_route(credential), &Environment::default());
    let spec = Arc::clone(&loaded.unwrap_or_else(|problems| panic!("{problems}")).config.credentials[0]);
    let clock = Clock::simulated(NOW, 1);
    let connector = Connector::new(&EgressSpec::default()).expect("the default egress");
    let flows = Flows::new(BTreeMap::from([(String::new(), connector)]), Arc::default(), clock.clone());
    let inputs = input::read(&spec, &|_: &CredentialName, _: &str| None, &clock).await.expect("inputs");
    (spec, inputs, flows)
}

/// The class of a failure. Its message must show no secret.
async fn class(credential: &str) -> &'static str {
    let Err(error) = obtain_one(credential).await else { panic!("this must fail:\n{credential}") };
    canary::assert_unseen(error.message().as_bytes(), "a message");
    match error {
        MintError::Transient { .. } => "transient",
        MintError::Stubborn { .. } => "stubborn",
        MintError::Rejected { .. } => "rejected",
        MintError::Withdrawn { .. } => "withdrawn",
        MintError::Unanswered { .. } => "unanswered",
        MintError::Spoiled { .. } => "spoiled",
        MintError::IdToken { .. } => "id_token",
        MintError::Unmailed { .. } => "unmailed",
    }
}

/// Checks what every request to an issuer has in common.
#[track_caller]
fn check(request: &Message, start_line: &str, media_type: &str) {
    assert_eq!(request.start_line(), start_line);
    assert_eq!(request.field("content-type").as_deref(), Some(media_type));
    assert_eq!(request.field("accept").as_deref(), Some("application/json"));
    assert_eq!(request.fields("accept-encoding"), [""; 0]);
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

mod payhub {
    use super::{JSON, Reply, canary, check, class, field, json, lasts, obtain_one, ok, output, vendor};

    fn credential(origin: &str, password: &str) -> String {
        format!(
            "preset = \"payhub\"\nbase_url = \"{origin}\"\nemail = {{ value = \"me@example\" }}\npassword = {{ value \
             = '{password}' }}"
        )
    }

    #[tokio::test]
    async fn the_login_sends_both_fields_as_json_and_reads_token_key_and_what_is_left() {
        let password = format!("{}\"\\\u{e9}", canary::secret());
        for expiry in [json!("2901"), json!(2901)] {
            let (token, key) = (canary::token(), canary::token());
            let vendor = vendor([ok(&json!({
                "responseCode": 200, "responseMessage": "Success",
                "responseData": {"token": token, "apiKey": key, "expiry": expiry},
            }))]);
            let kept = obtain_one(&credential(&vendor.origin(), &password)).await.expect("a token");
            let request = vendor.wait_for(1).remove(0);
            check(&request, "POST /user/login HTTP/1.1", JSON);
            assert_eq!(request.json(), json!({"emailId": "me@example", "password": password}));
            assert_eq!(
                (output(&kept.minted, "token"), output(&kept.minted, "api_key")),
                (token.clone(), key.clone())
            );
            assert_eq!(kept.minted.lifetime, Some(lasts(2901)));
            assert_eq!(kept.injected, [field("token", &token), field("apikey", &key)]);
        }
    }

    #[tokio::test]
    async fn the_older_answer_without_an_expiry_is_read_too() {
        let vendor = vendor([ok(&json!({
            "responseCode": "200", "responseData": {"token": "t", "emailId": "me@example", "apiKey": "k"},
        }))]);
        let kept = obtain_one(&credential(&vendor.origin(), &canary::secret())).await.expect("a token");
        assert_eq!((output(&kept.minted, "token"), kept.minted.lifetime), ("t".to_owned(), None));
    }

    #[tokio::test]
    async fn wrong_inputs_are_rejected_and_everything_else_is_tried_again() {
        for (status, code, expected) in [
            (200, json!(405), "rejected"),
            (200, json!(404), "rejected"),
            (405, json!(405), "rejected"),
            (404, json!("404"), "rejected"),
            (200, json!(500), "transient"),
            (500, json!(500), "transient"),
            (200, json!(null), "transient"),
        ] {
            let body = json!({"responseCode": code, "responseMessage": "Please provide valid password"});
            let vendor = vendor([Reply::json(status, &body)]);
            assert_eq!(
                class(&credential(&vendor.origin(), &canary::secret())).await,
                expected,
                "{status} {body}"
            );
        }
        for body in ["", "<html>maintenance</html>", "{\"responseCode\": 200}"] {
            let vendor = vendor([Reply::status(200, "text/html", body)]);
            assert_eq!(class(&credential(&vendor.origin(), &canary::secret())).await, "transient", "{body}");
        }
    }
}

mod sahamati {
    use std::sync::Arc;

    use bearerd::credential::Outputs;

    use super::{
        FORM, JSON, Lifetime, Mint, Reply, Secret, Timestamp, Value, asked, canary, check, class, field,
        json, lasts, obtain, obtain_one, ok, output, vendor,
    };

    fn user(origin: &str, password: &str) -> String {
        format!(
            "preset = \"sahamati-user\"\nbase_url = \"{origin}/iam/v1\"\nusername = {{ value = \"me@example\" \
             }}\npassword = {{ value = \"{password}\" }}"
        )
    }

    fn entity(origin: &str, secret: &str) -> String {
        format!(
            "preset = \"sahamati-entity\"\nbase_url = \"{origin}/iam/v1\"\nentity_id = \"fiu-1\"\nsecret = {{ value = \
             \"{secret}\" }}"
        )
    }

    fn secret(origin: &str, token: &str) -> String {
        format!(
            "preset = \"sahamati-secret\"\nbase_url = \"{origin}/iam/v1\"\nentity_id = \"fiu-1\"\nuser = {{ value = \
             \"{token}\" }}\ninject = {{ headers = {{ X-Secret = \"{{secret}}\" }} }}"
        )
    }

    fn token_answer(token: &str) -> Value {
        json!({
            "ver": "1.0.0", "timestamp": "2024-10-10T11:11:45.096203206Z",
            "txnId": "f35761ac-4a18-11e8-96ff-0277a9fbfedc", "accessToken": token, "expiresIn": 86400,
            "refreshExpiresIn": 0, "tokenType": "Bearer", "notBeforePolicy": 0,
            "scope": "email microprofile-jwt profile address phone offline_access",
        })
    }

    fn failure(status: u16, code: &str, message: &str) -> Reply {
        let envelope = json!({
            "ver": "1.0.0", "timestamp": "2024-10-10T11:11:45.096Z", "txnId": "x", "errorCode": code,
            "errorMsg": message,
        });
        Reply::json(status, &envelope)
    }

    #[tokio::test]
    async fn the_user_token_is_asked_for_with_a_form_and_lasts_as_long_as_the_answer_says() {
        let (password, token) = (canary::secret(), canary::token());
        let vendor = vendor([ok(&token_answer(&token))]);
        let kept = obtain_one(&user(&vendor.origin(), &password)).await.expect("a token");
        let request = vendor.wait_for(1).remove(0);
        check(&request, "POST /iam/v1/user/token/generate HTTP/1.1", FORM);
        assert_eq!(request.text(), format!("username=me%40example&password={password}"));
        assert_eq!(
            (output(&kept.minted, "access_token"), kept.minted.lifetime),
            (token.clone(), Some(lasts(86400)))
        );
        assert_eq!(kept.injected, [field("authorization", &format!("Bearer {token}"))]);
    }

    #[tokio::test]
    async fn the_entity_token_is_asked_for_with_a_form_and_its_grace_period_is_warned_about() {
        let (secret, token) = (canary::secret(), canary::token());
        let mut graced = token_answer(&token);
        graced["message"] =
            "The secret for entity with ID fiu-1 is expired and within the grace period".into();
        for (answer, warnings) in [(token_answer(&token), 0), (graced, 1)] {
            let vendor = vendor([ok(&answer)]);
            let kept = obtain_one(&entity(&vendor.origin(), &secret)).await.expect("a token");
            let request = vendor.wait_for(1).remove(0);
            check(&request, "POST /iam/v1/entity/token/generate HTTP/1.1", FORM);
            assert_eq!(request.text(), format!("id=fiu-1&secret={secret}"));
            assert_eq!(request.fields("authorization"), [""; 0]);
            assert_eq!(
                (output(&kept.minted, "access_token"), kept.minted.lifetime),
                (token.clone(), Some(lasts(86400)))
            );
            assert_eq!(kept.minted.warnings.len(), warnings, "{:?}", kept.minted.warnings);
            assert_eq!(kept.injected, [field("authorization", &format!("Bearer {token}"))]);
        }
    }

    #[tokio::test]
    async fn the_secret_is_read_with_the_user_token_and_ends_in_seconds_or_milliseconds() {
        for (expires_on, end) in
            [(json!(1_725_010_763), 1_725_010_763_000), (json!(1_733_226_041_466_i64), 1_733_226_041_000)]
        {
            let (token, found) = (canary::secret(), canary::secret());
            let vendor = vendor([ok(&json!({
                "ver": "1.0.0", "timestamp": "2024-07-16T11:33:34.509Z", "txnId": "x", "entityId": "fiu-1",
                "secret": found, "expiresOn": expires_on, "expirationDate": "2024-12-17T07:10:52.929",
            }))]);
            let kept = obtain_one(&secret(&vendor.origin(), &token)).await.expect("a secret");
            let request = vendor.wait_for(1).remove(0);
            check(&request, "POST /iam/v1/entity/secret/read HTTP/1.1", JSON);
            assert_eq!(request.field("authorization"), Some(format!("Bearer {token}")));
            let mut body = request.json();
            let (identifier, sent) = (body["txnId"].take(), body["timestamp"].take());
            assert_eq!(identifier.as_str().map(str::len), Some(36));
            let sent = sent.as_str().expect("a text").to_owned();
            assert!(
                sent.starts_with("2024-07-16T11:33:3") && sent.ends_with('Z') && sent.len() == 24,
                "{sent}"
            );
            assert_eq!(body, json!({"ver": "1.0.0", "timestamp": null, "txnId": null, "entityId": "fiu-1"}));
            let end = Timestamp::from_millisecond(end).map(Lifetime::Until).ok();
            assert_eq!((output(&kept.minted, "secret"), kept.minted.lifetime), (found.clone(), end));
            assert_eq!(kept.injected, [field("x-secret", &found)]);
        }
    }

    #[tokio::test]
    async fn the_secret_is_reset_for_a_number_of_days_and_verified_by_a_token() {
        for (days, sent) in [("", 180), ("\nsecret_days = 100", 100)] {
            let (token, new) = (canary::secret(), canary::secret());
            let vendor = vendor([
                ok(&json!({
                    "entityId": "fiu-1", "secret": new, "expirationDate": "2024-12-17T07:10:52.929",
                    "message": "The expiry is set to 180 days by default",
                })),
                ok(&token_answer(&canary::token())),
            ]);
            let (spec, inputs, flows) = asked(&(secret(&vendor.origin(), &token) + days)).await;
            let current = Outputs::from([("secret".to_owned(), Secret::from("old"))]);
            let minted =
                flows.replace(Arc::clone(&spec), inputs.clone(), current).await.expect("another one");
            let india = "2024-12-17T01:40:52.929Z".parse().map(Lifetime::Until).ok();
            assert_eq!((output(&minted, "secret"), minted.lifetime), (new.clone(), india));
            flows.verify(spec, inputs, minted.outputs).await.expect("it works");
            let requests = vendor.wait_for(2);
            check(&requests[0], "POST /iam/v1/entity/secret/reset HTTP/1.1", JSON);
            assert_eq!(requests[0].field("authorization"), Some(format!("Bearer {token}")));
            let body = requests[0].json();
            assert_eq!((&body["secretExpiryDays"], &body["entityId"]), (&json!(sent), &json!("fiu-1")));
            check(&requests[1], "POST /iam/v1/entity/token/generate HTTP/1.1", FORM);
            assert_eq!(requests[1].text(), format!("id=fiu-1&secret={new}"));
        }
    }

    #[tokio::test]
    async fn the_three_are_a_chain() {
        let (user_token, found, token) = (canary::secret(), canary::secret(), canary::token());
        let vendor = vendor([
            ok(&token_answer(&user_token)),
            ok(&json!({"entityId": "fiu-1", "secret": found, "expiresOn": 1_733_226_041})),
            ok(&token_answer(&token)),
        ]);
        let origin = vendor.origin();
        let kept = obtain(&format!(
            "[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.entity]\npreset = \"sahamati-entity\"\nbase_url = \
             \"{origin}\"\nentity_id = \"fiu-1\"\nsecret = {{ credential = \"secret\" \
             }}\n[credentials.secret]\npreset = \"sahamati-secret\"\nbase_url = \"{origin}\"\nentity_id = \
             \"fiu-1\"\nuser = {{ credential = \"user\" }}\n[credentials.user]\n{}\n[routes.r]\nupstream = \
             \"http://127.0.0.1:1\"\ncredential = \"entity\"\ninject = {{ headers = {{ client_api_key = \
             \"{{access_token}}\" }} }}",
            user(&origin, &canary::secret())
        ))
        .await
        .expect("all three");
        let requests = vendor.wait_for(3);
        assert_eq!(requests[1].field("authorization"), Some(format!("Bearer {user_token}")));
        assert_eq!(requests[2].form()["secret"], found);
        assert_eq!(kept["entity"].injected, [field("client_api_key", &token)]);
    }

    #[tokio::test]
    async fn a_401_is_a_rejection_and_a_400_a_fault_of_the_configuration() {
        type Credential = fn(&str, &str) -> String;
        let calls: [(Credential, &str); 3] = [
            (user, "Invalid username/password or password is expired"),
            (entity, "Invalid entity id/secret or secret is expired"),
            (secret, "Invalid entity id"),
        ];
        for (credential, said) in calls {
            for (reply, expected) in [
                (failure(401, "Unauthorized", said), "rejected"),
                (failure(400, "Bad Request", "is missing in the request"), "stubborn"),
                (failure(500, "InternalError", "x"), "transient"),
                (Reply::status(503, "text/html", "<html>"), "transient"),
                (ok(&json!({"access_token": "a", "expires_in": 5})), "transient"),
                (ok(&json!({})), "transient"),
                (Reply::status(200, "text/plain", ""), "transient"),
            ] {
                let vendor = vendor([reply.clone()]);
                let class = class(&credential(&vendor.origin(), &canary::secret())).await;
                assert_eq!(class, expected, "{reply:?}");
            }
        }
    }
}

mod digilocker {
    use super::{
        FORM, Reply, Secret, canary, check, class, field, json, lasts, obtain_one, ok, output, vendor,
    };

    fn credential(origin: &str, secret: &str, refresh_token: &str) -> String {
        format!(
            "preset = \"digilocker\"\nbase_url = \"{origin}/public\"\ngrant = \"refresh_token\"\nclient_id = \
             \"AB12\"\nclient_secret = {{ value = \"{secret}\" }}\nrefresh_token = {{ value = \"{refresh_token}\" }}"
        )
    }

    #[tokio::test]
    async fn a_refresh_sends_a_form_and_brings_both_tokens_anew() {
        let (secret, old) = (canary::secret(), canary::secret());
        let person = json!({"digilockerid": "123e4567", "name": "X", "dob": "31121970", "gender": "M", "eaadhaar": "Y",
            "reference_key": "2a33", "consent_valid_till": "1736329814"});
        let spelled_otherwise = json!({"digilocker_id": "123e4567", "eaadhar": "N", "consent_valid_till": 1_736_329_814,
            "new_account": "N", "mobile": "9"});
        for extra in [person, spelled_otherwise] {
            let (token, new) = (canary::token(), canary::secret());
            let mut answer = extra;
            answer["access_token"] = token.clone().into();
            answer["refresh_token"] = new.clone().into();
            answer["expires_in"] = 3600.into();
            answer["token_type"] = "Bearer".into();
            answer["scope"] = "files.issueddocs".into();
            let vendor = vendor([ok(&answer)]);
            let kept = obtain_one(&credential(&vendor.origin(), &secret, &old)).await.expect("a token");
            let request = vendor.wait_for(1).remove(0);
            check(&request, "POST /public/oauth2/1/token HTTP/1.1", FORM);
            assert_eq!(
                request.text(),
                format!("grant_type=refresh_token&refresh_token={old}&client_id=AB12&client_secret={secret}")
            );
            assert_eq!(request.fields("authorization"), [""; 0]);
            assert_eq!(
                (output(&kept.minted, "access_token"), kept.minted.lifetime),
                (token.clone(), Some(lasts(3600)))
            );
            assert_eq!(kept.minted.rotated, Some(Secret::from(new)));
            // Nothing of the person is kept.
            assert_eq!(kept.minted.outputs.len(), 1);
            assert_eq!(kept.injected, [field("authorization", &format!("Bearer {token}"))]);
        }
    }

    #[tokio::test]
    async fn its_errors_are_told_apart() {
        for (status, error, expected) in [
            (400, "invalid_client", "rejected"),
            (400, "invalid_grant", "withdrawn"),
            (400, "invalid_grant_type", "stubborn"),
            (401, "invalid_client_id", "rejected"),
            (500, "unexpected_error", "transient"),
        ] {
            let body = json!({"error": error, "error_description": "The refresh token is invalid"});
            let vendor = vendor([Reply::json(status, &body)]);
            let credential = credential(&vendor.origin(), &canary::secret(), &canary::secret());
            assert_eq!(class(&credential).await, expected, "{error}");
        }
    }
}

mod fixed {
    use super::{Lifetime, canary, field, obtain_one};

    #[tokio::test]
    async fn a_token_that_comes_by_mail_is_taken_as_it_is_until_its_date() {
        let token = canary::token();
        let kept = obtain_one(&format!(
            "preset = \"nic-ma\"\ntoken = {{ value = \"{token}\" }}\nexpires = {{ at = \"2026-12-31T00:00:00+05:30\" }}"
        ))
        .await
        .expect("a token");
        let end = "2026-12-30T18:30:00Z".parse().map(Lifetime::Until).ok();
        assert_eq!((kept.minted.lifetime, kept.minted.warnings.len()), (end, 0));
        assert_eq!(kept.injected, [field("authorization", &format!("Bearer {token}"))]);
    }

    #[tokio::test]
    async fn the_plain_presets_put_their_values_where_they_belong() {
        for (credential, injected) in [
            ("preset = \"bearer\"\ntoken = { value = \"t\" }", field("authorization", "Bearer t")),
            (
                "preset = \"basic\"\nusername = { value = \"Aladdin\" }\npassword = { value = \"open sesame\" }",
                field("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            ("preset = \"api-key\"\napi_key = { value = \"k\" }", field("x-api-key", "k")),
        ] {
            let kept = obtain_one(credential).await.expect(credential);
            assert_eq!((kept.injected, kept.minted.lifetime), (vec![injected], Some(Lifetime::Unlimited)));
        }
    }
}
