//! A member of the network: user token, entity secret, entity token.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::sandbox::received::tests::request;
use crate::sandbox::sahamati::{ENTITY, PASSWORD, RESET_SECRET, Rules, Sahamati, USER_TOKEN, USERNAME};
use crate::sandbox::years::life::live;
use crate::sandbox::years::plan::{CallsAtMost, Plan};
use crate::sandbox::years::{DAY, YEARS};
use crate::sandbox::{Simulator, TokenBook};

/// A member whose user tokens live as long as secrets do.
pub(super) fn careful(clock: &Clock) -> Plan {
    plan(clock, Rules { user_lifetime: 180 * DAY, ..Rules::default() })
}

fn plan(clock: &Clock, rules: Rules) -> Plan {
    let vendor = Arc::new(Sahamati::new(TokenBook::new(clock.clone(), None), clock.clone(), rules));
    let configuration = format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.user]
preset = "sahamati-user"
base_url = "http://127.0.0.1:1/iam/v1"
username = {{ value = "{USERNAME}" }}
password = {{ value = "{PASSWORD}" }}
[credentials.secret]
preset = "sahamati-secret"
base_url = "http://127.0.0.1:1/iam/v1"
entity_id = "{ENTITY}"
user = {{ credential = "user" }}
[credentials.entity]
preset = "sahamati-entity"
base_url = "http://127.0.0.1:1/iam/v1"
entity_id = "{ENTITY}"
secret = {{ credential = "secret" }}
[routes.registry]
upstream = "http://127.0.0.1:1"
credential = "entity"
"#
    );
    // A token a day each, a secret that is read with each user's token; tries every few minutes while the vendor
    // is away, by three credentials at most.
    let most = CallsAtMost { day: 20.0, bad_day: 1800.0, restart: 20.0 };
    let calls = &[("registry", "GET", "/cr/v2/entityInfo/AA")];
    let (by_others, kept, resets) = (Arc::clone(&vendor), Arc::clone(&vendor), Arc::clone(&vendor));
    let (clock, mut stale) = (clock.clone(), None);
    Plan {
        others: Some(Box::new(move || reset(&by_others, &clock))),
        keeps: Some(Box::new(move |keeper, now| {
            let secret = keeper.output(&"secret".into(), "secret", now).ok_or("there is no secret")?;
            if kept.takes(secret.expose_str().unwrap_or_default()) {
                stale = None;
            } else if stale.replace(secret.clone()) == Some(secret) {
                // Somebody else has reset it, and it was not needed since: by this time it was.
                return Err("the secret was lost".to_owned());
            }
            Ok(())
        })),
        in_the_end: Some(Box::new(move |tally| {
            let resets = f64::from(u32::try_from(resets.resets()).unwrap_or(u32::MAX) - tally.by_others);
            let lives = rules.user_lifetime.min(180 * DAY).as_secs_f64() / 86_400.0;
            // A lost answer is no reason to reset it once more; what others reset may be due in another way.
            let most = 1.2 * f64::from(YEARS) / (0.7 * lives) + f64::from(2 * tally.by_others) + 5.0;
            if resets > most { Err(format!("{resets} resets, and {most:.0} are enough")) } else { Ok(()) }
        })),
        ..Plan::new(configuration, vendor, calls, most)
    }
}

/// Somebody else resets the secret: a person at the portal, or another bearerd.
fn reset(vendor: &Sahamati, clock: &Clock) {
    let form = format!("username={}&password={PASSWORD}", USERNAME.replace('@', "%40"));
    let token = vendor.answer(&request("POST", USER_TOKEN).posting_form(&form)).value();
    let body = json!({"ver": "1.0.0", "timestamp": clock.wall().to_string(), "txnId": clock.uuid(),
                      "entityId": ENTITY, "secretExpiryDays": 180});
    let asked = request("POST", RESET_SECRET).with_bearer(&token["accessToken"]).posting_json(&body);
    assert_ne!(vendor.answer(&asked).value()["secret"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_member_lives_for_three_years_without_a_dead_token_a_lost_secret_or_a_person() {
    for hard_reset in [false, true] {
        let rules = Rules { user_lifetime: 180 * DAY, hard_reset, ..Rules::default() };
        live(1, &|clock| plan(clock, rules)).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_secrets_live_a_day_lives_for_three_years_too() {
    for hard_reset in [false, true] {
        let rules = Rules { hard_reset, late: Duration::from_secs(60), ..Rules::default() };
        live(11, &|clock| plan(clock, rules)).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}
