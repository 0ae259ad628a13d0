//! A person's grant: each renewal uses one refresh token up and brings the next.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::sandbox::TokenBook;
use crate::sandbox::digilocker::{CLIENT_ID, CLIENT_SECRET, Digilocker, REFRESH_TOKEN};
use crate::sandbox::years::life::live;
use crate::sandbox::years::plan::{CallsAtMost, Person, Plan, Remedy};
use crate::sandbox::years::{DAY, HOUR};

/// Tokens live longer here than the hour that they have, so that three years take seconds.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);

pub(super) fn plan(clock: &Clock) -> Plan {
    let tokens = TokenBook::new(clock.clone(), Some(LIFETIME));
    let vendor = Arc::new(Digilocker::new(tokens, clock.clone()));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("refresh-token");
    std::fs::write(&file, REFRESH_TOKEN).expect("a file");
    let configuration = format!(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.digilocker]
preset = "digilocker"
grant = "refresh_token"
base_url = "http://127.0.0.1:1/public"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}
refresh_token = {{ file = "{}" }}
[routes.digilocker]
upstream = "http://127.0.0.1:1/public"
credential = "digilocker"
"#,
        file.display()
    );
    let consenting = Arc::clone(&vendor);
    let most = CallsAtMost { day: 5.0, bad_day: 600.0, restart: 3.0 };
    let plan = Plan::new(configuration, vendor, &[("digilocker", "GET", "/public/oauth2/1/user")], most);
    Plan {
        never: &[
            "is missing",
            "does not belong",
            "more than once",
            "the grant is dead",
            "an unknown refresh token",
        ],
        person: Some(Person {
            answers_within: 3 * DAY,
            remedy: Remedy::Write(file, Box::new(move || consenting.consent())),
        }),
        // Nobody is called but for an answer that nobody can have seen.
        in_the_end: Some(Box::new(|tally| {
            let excused = tally.lost + tally.torn;
            let calls = tally.helped;
            if calls > excused {
                return Err(format!(
                    "a person was called {calls} times, and only {excused} answers were lost"
                ));
            }
            if calls == 0 { Err("no answer of a renewal was ever lost".to_owned()) } else { Ok(()) }
        })),
        folder: Some(folder),
        ..plan
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_lives_for_three_years_and_no_refresh_token_is_shown_twice() {
    assert!(LIFETIME > HOUR);
    live(5, &plan).await.unwrap_or_else(|wrong| panic!("{wrong}"));
}
