//! A token that is mailed: by hand, and without a person.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::sandbox::nic::{EMAIL, NicMa, PASSWORD, TOKEN};
use crate::sandbox::postbox::Postbox;
use crate::sandbox::years::life::live;
use crate::sandbox::years::plan::{CallsAtMost, Person, Plan, Remedy};
use crate::sandbox::years::{DAY, HOUR};
use crate::sandbox::{Simulator, TokenBook, token};
use crate::secret::Secret;

const CALL: &[(&str, &str, &str)] = &[("antyodaya", "GET", "/api/gram-panchayats")];

/// How long a token lives that a person fetches.
const BY_HAND: Duration = Duration::from_secs(90 * 86_400);

/// A person fetches each token, and is called for it.
fn by_hand(clock: &Clock) -> Plan {
    let tokens = TokenBook::new(clock.clone(), Some(BY_HAND));
    let vendor = Arc::new(NicMa::new(tokens, clock.clone(), &[], Arc::new(Postbox::new(clock))));
    let ends = clock.wall() + BY_HAND;
    let configuration = format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.nic-ma]
preset = "nic-ma"
token = {{ value = "{TOKEN}" }}
expires = {{ at = "{ends}" }}
[routes.antyodaya]
upstream = "http://127.0.0.1:1"
credential = "nic-ma"
"#
    );
    let (mailed, clock) = (Arc::clone(&vendor), clock.clone());
    let fetch = move || {
        let token = token::opaque(&clock);
        mailed.tokens().issue(&token, BY_HAND, EMAIL);
        (Secret::from(token), clock.wall() + BY_HAND)
    };
    Plan {
        person: Some(Person { answers_within: 8 * DAY, remedy: Remedy::Set("nic-ma", Box::new(fetch)) }),
        in_the_end: Some(Box::new(|tally| {
            let calls = tally.helped;
            // 90 days less the two weeks by which it is told before.
            if !(11..=16).contains(&calls) {
                return Err(format!("a person was called {calls} times in three years"));
            }
            let without = tally.without_token;
            if without > 0 { Err(format!("{without} requests had no token")) } else { Ok(()) }
        })),
        ..Plan::new(configuration, vendor, CALL, CallsAtMost { day: 0.0, bad_day: 0.0, restart: 0.0 })
    }
}

/// bearerd asks the portal, and reads the mail.
fn by_itself(clock: &Clock) -> Plan {
    let tokens = TokenBook::new(clock.clone(), None);
    let postbox = Arc::new(Postbox::new(clock));
    let folder = tempfile::tempdir().expect("a folder");
    postbox.also_into(folder.path()).expect("a Maildir");
    let vendor = Arc::new(NicMa::new(tokens, clock.clone(), &[], postbox));
    let configuration = format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.nic-ma]
preset = "nic-ma-portal"
base_url = "http://127.0.0.1:1/nicauthserver"
email = {{ value = "{EMAIL}" }}
password = {{ value = "{PASSWORD}" }}
mailbox = "maildir:{}"
sender = "token@nicauth.example"
[routes.antyodaya]
upstream = "http://127.0.0.1:1"
credential = "nic-ma"
"#,
        folder.path().display()
    );
    // A login is four pages and as many redirects, and there is one an hour at the most.
    let most = CallsAtMost { day: 1.0, bad_day: 8.0 * 24.0, restart: 8.0 };
    Plan {
        // The next attempt is an hour after the last one, and its mail is waited for.
        recovery: 3 * HOUR,
        never: &["is wrong", "no such page"],
        folder: Some(folder),
        ..Plan::new(configuration, vendor, CALL, most)
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_fetches_tokens_is_called_in_time_for_three_years() {
    live(7, &by_hand).await.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[tokio::test(start_paused = true)]
async fn a_portal_is_asked_for_three_years_once_an_hour_at_the_most() {
    live(8, &by_itself).await.unwrap_or_else(|wrong| panic!("{wrong}"));
}
