//! The neighbours whose lives differ from those of the four vendors.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::clock::Clock;
use crate::credential::{Lifetime, Minted, Outputs};
use crate::sandbox::neighbours::{CLIENT_ID, CLIENT_SECRET, Neighbours};
use crate::sandbox::received::tests::request;
use crate::sandbox::years::DAY;
use crate::sandbox::years::life::{Tally, live};
use crate::sandbox::years::plan::{CallsAtMost, Person, Plan, Planning, Remedy};
use crate::sandbox::{Simulator, TokenBook};
use crate::secret::Secret;

/// Tokens live longer here than they do, so that three years take seconds.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Clocks may differ by this much where a vendor dates by its own.
const SLIGHT: Duration = Duration::from_secs(5);

/// How long a vendor is in trouble at the most who wants a signature at each try.
const SHORT: Duration = Duration::from_secs(8 * 3600);

fn vendor(clock: &Clock) -> Arc<Neighbours> {
    Arc::new(Neighbours::new(TokenBook::new(clock.clone(), Some(LIFETIME)), clock.clone()))
}

/// One of the neighbours.
fn plan(
    vendor: Arc<Neighbours>,
    name: &str,
    calls: &'static [(&'static str, &'static str, &'static str)],
) -> Plan {
    let all = crate::sandbox::neighbours::configuration(&vendor, "http://127.0.0.1:1");
    let own = |head: String| {
        let (_, rest) = all.split_once(&head).expect("the configuration has it");
        let end = rest.find("\n[").unwrap_or(rest.len());
        format!("{head}{}\n", &rest[..end])
    };
    let configuration = format!(
        "[listeners.app]\nbind = \"127.0.0.1:0\"\n{}{}",
        own(format!("[credentials.{name}]")),
        own(format!("[routes.{name}]")).replace("path =", "# path =")
    );
    // A day by 0.7 of one.
    Plan::new(configuration, vendor, calls, CallsAtMost { day: 1.5, bad_day: 600.0, restart: 3.0 })
}

/// A limit on tokens: ten in ten minutes.
pub(super) fn zoho(clock: &Clock) -> Plan {
    let plan = plan(vendor(clock), "zoho", &[("zoho", "GET", "/zoho/data")]);
    Plan { never: &["is missing", "does not belong", "is wrong", "asked too often"], ..plan }
}

/// Assertions with a time of their own, and answers with a date.
fn github_app(clock: &Clock) -> Plan {
    let plan = plan(vendor(clock), "github-app", &[("github-app", "GET", "/github-app/data")]);
    Plan { clock_error: SLIGHT, longest_trouble: SHORT, never: &["`authorization`", "is wrong"], ..plan }
}

/// Assertions as a grant.
fn google(clock: &Clock) -> Plan {
    const CALL: &[(&str, &str, &str)] = &[("google-service-account", "GET", "/google-service-account/data")];
    let plan = plan(vendor(clock), "google-service-account", CALL);
    Plan {
        clock_error: SLIGHT,
        longest_trouble: SHORT,
        never: &["`assertion`", "is missing", "does not belong"],
        ..plan
    }
}

/// Tokens that are bound to an address.
fn cashfree(clock: &Clock) -> Plan {
    const CALL: &[(&str, &str, &str)] = &[("cashfree-payouts", "GET", "/cashfree-payouts/data")];
    Plan { clock_error: SLIGHT, ..plan(vendor(clock), "cashfree-payouts", CALL) }
}

/// Two credentials on each request, with an identifier and a time of its own.
fn abdm(clock: &Clock) -> Plan {
    plan(vendor(clock), "abdm", &[("abdm", "GET", "/abdm/data")])
}

/// Client credentials, as OAuth has them.
fn keycloak(clock: &Clock) -> Plan {
    plan(vendor(clock), "keycloak", &[("keycloak", "GET", "/keycloak/data")])
}

/// A person types a code on another device; the refresh token is replaced at each renewal.
fn device(clock: &Clock) -> Plan {
    let vendor = vendor(clock);
    let consenting = Arc::clone(&vendor);
    let plan = plan(vendor, "device", &[("device", "GET", "/device/data")]);
    Plan {
        never: &["the grant is dead", "is missing", "does not belong"],
        person: Some(Person {
            answers_within: 3 * DAY,
            remedy: Remedy::LogIn("device", Box::new(move || log_in(&consenting))),
        }),
        in_the_end: Some(Box::new(|tally| {
            // The first login, and one for each answer that nobody can have seen.
            let (calls, excused) = (tally.helped, 1 + tally.lost + tally.torn);
            if calls > excused { Err(format!("{calls} logins, and {excused} are enough")) } else { Ok(()) }
        })),
        ..plan
    }
}

/// A person logs in at the vendor.
fn log_in(vendor: &Neighbours) -> Minted {
    let client = format!("client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
    let post = |path: &str, form: &str| {
        let mut asked = request(Method::POST.as_str(), path).posting_form(form);
        asked.from = crate::sandbox::years::road::LOCAL;
        vendor.answer(&asked).value()
    };
    let begun = post("/device/authorize", &client);
    let code = vendor.typed(begun["device_code"].as_str().expect("a code"));
    let kind = "urn:ietf:params:oauth:grant-type:device_code";
    let told = post("/device/token", &format!("grant_type={kind}&device_code={code}&{client}"));
    let text = |name: &str| Secret::from(told[name].as_str().expect("a token").to_owned());
    assert_ne!(told["access_token"], Value::Null, "{told}");
    let mut outputs = Outputs::new();
    outputs.insert("access_token", text("access_token"));
    let (lifetime, rotated) = (Some(Lifetime::For(LIFETIME)), Some(text("refresh_token")));
    Minted { outputs, lifetime, rotated, ..Minted::default() }
}

async fn three_years(seed: u64, plan: Planning) -> Tally {
    live(seed, &plan).await.unwrap_or_else(|wrong| panic!("{wrong}"))
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_counts_is_never_asked_too_often_for_three_years() {
    three_years(21, zoho).await;
}

#[tokio::test(start_paused = true)]
async fn signed_assertions_bring_tokens_for_three_years() {
    three_years(22, github_app).await;
}

#[tokio::test(start_paused = true)]
async fn assertions_as_a_grant_bring_tokens_for_three_years() {
    three_years(23, google).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_bound_to_an_address_lives_for_three_years() {
    three_years(24, cashfree).await;
}

#[tokio::test(start_paused = true)]
async fn two_credentials_on_a_request_live_for_three_years() {
    three_years(25, abdm).await;
}

#[tokio::test(start_paused = true)]
async fn client_credentials_live_for_three_years() {
    three_years(26, keycloak).await;
}

#[tokio::test(start_paused = true)]
async fn a_devices_grant_lives_for_three_years_and_calls_its_person_only_for_lost_answers() {
    three_years(27, device).await;
}
