//! A merchant: token and key, which are replaced together.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::sandbox::TokenBook;
use crate::sandbox::payhub::{EMAIL, PASSWORD, Payhub};
use crate::sandbox::years::life::live;
use crate::sandbox::years::plan::{CallsAtMost, Plan};

/// Tokens live longer here than the hour that they have, so that three years take seconds.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

pub(super) fn plan(clock: &Clock) -> Plan {
    let vendor = Arc::new(Payhub::new(TokenBook::new(clock.clone(), Some(LIFETIME)), clock.clone()));
    let configuration = format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.payhub]
preset = "payhub"
base_url = "http://127.0.0.1:1"
email = {{ value = "{EMAIL}" }}
password = {{ value = "{PASSWORD}" }}
[routes.payhub]
upstream = "http://127.0.0.1:1"
credential = "payhub"
"#
    );
    // 24 hours by 0.7 of six; tries every few minutes while it is away.
    let most = CallsAtMost { day: 6.0, bad_day: 600.0, restart: 3.0 };
    Plan::new(configuration, vendor, &[("payhub", "POST", "/user/getpayinstatus")], most)
}

#[tokio::test(start_paused = true)]
async fn a_merchant_lives_for_three_years_and_token_and_key_are_always_of_one_login() {
    live(3, &plan).await.unwrap_or_else(|wrong| panic!("{wrong}"));
}
