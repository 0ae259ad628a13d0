use jiff::Timestamp;

use super::{Forecast, Kind, Source, forecast, prepare};
use crate::clock::Clock;
use crate::config::{Environment, load_text};
use crate::credential::State;

const NOW: &str = "2026-11-22T00:00:00Z";

const LISTENER: &str = "[listeners.app]\nbind = \"127.0.0.1:0\"\n";

const CHAIN: &str = r#"
[credentials.user]
flow = "login"
typical_lifetime = "24h"
secrets = { password = { value = "x" } }
[[credentials.user.steps]]
url = "https://issuer.example/login"
form = { password = "{password}" }
outputs = { token = "/token" }
[credentials.secret]
flow = "login"
typical_lifetime = "180d"
rotate_before = "15d"
secrets = { user = { credential = "user", output = "token" } }
[[credentials.secret.steps]]
url = "https://issuer.example/read"
form = { user = "{user}" }
outputs = { secret = "/secret" }
[credentials.secret.rotate]
fresh = ["user"]
grace = "5d"
[[credentials.secret.rotate.steps]]
url = "https://issuer.example/reset"
form = { user = "{user}" }
outputs = { secret = "/secret" }
"#;

async fn of(text: &str, days: u32) -> Forecast {
    let loaded = load_text("forecast.toml", &format!("{LISTENER}{text}"), &Environment::default());
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
    let (specs, problems) = prepare(&config.credentials, &Clock::system()).await;
    assert!(problems.is_empty(), "{problems:?}");
    let now: Timestamp = NOW.parse().expect("a time");
    forecast(specs, None, now, days).await
}

fn at(forecast: &Forecast, kind: Kind) -> Vec<i64> {
    let events = forecast.events.iter().filter(|event| event.kind == kind);
    events.map(|event| event.at.duration_since(forecast.from).as_hours() / 24).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_keeps_itself_alive_is_told_with_every_replacement() {
    let forecast = of(CHAIN, 400).await;
    assert!(!forecast.breaks());
    let replaced = at(&forecast, Kind::Replaced);
    assert_eq!(replaced.len(), 2, "{:?}", forecast.events);
    assert!((163..=165).contains(&replaced[0]) && (327..=331).contains(&replaced[1]), "{replaced:?}");
    assert_eq!(at(&forecast, Kind::GraceEnds).len(), 2);
    let user = forecast.credentials.iter().find(|of| of.name == "user").expect("it is told of");
    assert!((480..=580).contains(&user.exchanges), "{user:?}");
    assert_eq!((user.lifetime, user.lifetime_by), (Some(86_400), Source::Configuration));
    let secret = forecast.credentials.iter().find(|of| of.name == "secret").expect("it is told of");
    assert_eq!((secret.replacements, secret.endures), (2, Some(20 * 86_400)));
    assert_eq!(forecast.weakest.expect("a link").name, "user");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_renews_ends_at_its_time_and_is_the_weakest_link() {
    let mailed = "[credentials.mailed]\nflow = \"static\"\ntoken = { value = \"x\" }\nexpires = { at = \
                  \"2027-01-01T00:00:00+05:30\" }\n";
    let forecast = of(&format!("{CHAIN}{mailed}"), 400).await;
    assert!(forecast.breaks());
    let end = forecast.events.iter().find(|event| event.kind == Kind::Ends).expect("an end");
    assert_eq!((end.name.as_str(), end.at.to_string().as_str()), ("mailed", "2026-12-31T18:30:00Z"));
    assert!(end.what.contains("bearerd set mailed"), "{}", end.what);
    assert_eq!(forecast.weakest.as_ref().map(|link| link.name.as_str()), Some("mailed"));
    assert!(!of(&format!("{CHAIN}{mailed}"), 20).await.breaks(), "not within twenty days");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_never_replaced_takes_its_dependents_with_it() {
    let child = "[credentials.entity]\nflow = \"login\"\nsecrets = { secret = { credential = \"secret\", output = \
                 \"secret\" } }\n[[credentials.entity.steps]]\nurl = \"https://issuer.example/token\"\nform = { secret = \
                 \"{secret}\" }\noutputs = { token = \"/token\" }\n";
    let text = CHAIN.replace("rotate_before = \"15d\"", "rotate_before = \"0\"") + child;
    let forecast = of(&text, 100).await;
    assert!(!forecast.breaks());
    assert_eq!(forecast.credentials.iter().filter(|of| of.state == State::Ready).count(), 3);
    let forecast = of(&text, 200).await;
    assert_eq!(forecast.credentials.iter().map(|of| of.replacements).sum::<usize>(), 0);
    assert_eq!(at(&forecast, Kind::Ends), [185], "{:?}", forecast.events);
    assert_eq!(forecast.weakest.expect("a link").name, "secret");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_already_is_told_from_the_start() {
    let past = "[credentials.past]\nflow = \"static\"\ntoken = { value = \"x\" }\nexpires = { at = \
                \"2026-10-01T00:00:00Z\" }\n";
    let login = "[credentials.box]\nflow = \"oauth2\"\ngrant = \"device_code\"\ntoken_url = \
                 \"https://issuer.example/token\"\ndevice_authorization_url = \"https://issuer.example/device\"\n\
                 client_id = \"box\"\nclient_auth = \"none\"\n";
    let forecast = of(&format!("{past}{login}"), 30).await;
    assert!(forecast.events.iter().all(|event| event.at == forecast.from), "{:?}", forecast.events);
    assert_eq!(forecast.events.len(), 2);
    assert!(forecast.credentials.iter().all(|of| of.endures.is_none()), "{:?}", forecast.credentials);
}

#[tokio::test(start_paused = true)]
async fn what_is_optional_is_told_and_breaks_nothing() {
    let mailed = "[credentials.mailed]\nflow = \"static\"\noptional = true\ntoken = { value = \"x\" }\nexpires = { at \
                  = \"2027-01-01T00:00:00Z\" }\n";
    let forecast = of(&format!("{CHAIN}{mailed}"), 100).await;
    assert_eq!(at(&forecast, Kind::Ends), [40]);
    assert!(!forecast.breaks());
    assert_eq!(forecast.weakest.expect("a link").name, "user");
}
