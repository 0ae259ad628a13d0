//! `bearerd status`.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use crate::cli::client::{self, Failure, Question, Target};
use crate::cli::output;
use crate::cli::table::{self, one_line};
use crate::clock::Clock;

/// The arguments of `bearerd status`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON, with times in RFC 3339
    #[arg(long)]
    pub json: bool,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

#[derive(Deserialize)]
struct Credentials {
    credentials: Vec<Credential>,
}

/// What is read of one credential; see `admin/view.rs` for all of it.
#[derive(Deserialize)]
struct Credential {
    name: String,
    flow: String,
    state: String,
    generation: u64,
    expires_at: Option<Timestamp>,
    renew_at: Option<Timestamp>,
    last_error: Option<LastError>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct LastError {
    message: String,
    at: Timestamp,
}

/// Shows the credentials of a running bearerd: a table for people, or JSON.
pub fn run(arguments: &Arguments) -> ExitCode {
    client::ask(&arguments.target, Question::get("/v1/credentials"), |reply| {
        if arguments.json {
            return output::data(reply.body);
        }
        match serde_json::from_slice::<Credentials>(&reply.body) {
            Ok(Credentials { credentials }) => output::data(table(&credentials, Clock::system().wall())),
            Err(error) => Failure::Machine(format!("its answer is not understood: {error}")).tell(),
        }
    })
}

/// One line a credential, and below it what is wrong.
fn table(credentials: &[Credential], now: Timestamp) -> String {
    if credentials.is_empty() {
        return "no credentials\n".to_owned();
    }
    let head = ["NAME", "FLOW", "STATE", "GENERATION", "EXPIRES", "RENEWS"];
    let mut text = table::table(head, credentials.iter().map(|credential| row(credential, now)));
    let remarks: Vec<String> = credentials.iter().flat_map(|credential| remarks(credential, now)).collect();
    if !remarks.is_empty() {
        text.push('\n');
    }
    text.extend(remarks);
    text
}

/// What is wrong with a credential, a line each.
fn remarks(credential: &Credential, now: Timestamp) -> impl Iterator<Item = String> {
    let name = &credential.name;
    let error = credential.last_error.iter().map(move |error| {
        let ago = words(now.duration_since(error.at).as_secs());
        format!("{name}: {} ({ago} ago)\n", one_line(&error.message))
    });
    let warnings =
        credential.warnings.iter().map(move |warning| format!("{name}: warning: {}\n", one_line(warning)));
    error.chain(warnings)
}

fn row(credential: &Credential, now: Timestamp) -> [String; 6] {
    let has_token = credential.generation > 0;
    let expires = match credential.expires_at {
        Some(at) if at <= now => format!("{} ago", words(now.duration_since(at).as_secs())),
        Some(at) => format!("in {}", words(at.duration_since(now).as_secs())),
        None if has_token => "never".to_owned(),
        None => "-".to_owned(),
    };
    let renews = match credential.renew_at {
        Some(at) if at <= now => "now".to_owned(),
        Some(at) => format!("in {}", words(at.duration_since(now).as_secs())),
        None => "-".to_owned(),
    };
    [
        credential.name.clone(),
        credential.flow.clone(),
        credential.state.clone(),
        credential.generation.to_string(),
        expires,
        renews,
    ]
}

/// A duration in its two largest units: `2 d 3 h`, `5 min 10 s`.
fn words(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0 || first == 3);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Credentials, table, words};

    const ANSWER: &str = r#"{"credentials": [
        {"name": "board", "flow": "static", "state": "ready", "generation": 1, "obtained_at": "2026-01-01T00:00:00Z",
         "expires_at": null, "renew_at": null, "last_error": null, "subjects": 0, "warnings": ["it never expires"]},
        {"name": "payments", "flow": "login", "state": "failing", "generation": 7, "obtained_at": "2026-01-01T00:00:00Z",
         "expires_at": "2026-01-01T01:05:07.5Z", "renew_at": "2026-01-01T00:59:59Z", "subjects": 0, "warnings": [],
         "last_error": {"class": "transient", "message": "503 from\nthe issuer", "at": "2026-01-01T00:59:30Z"}},
        {"name": "taxes", "flow": "oauth2", "state": "expired", "generation": 3, "obtained_at": "2025-12-01T00:00:00Z",
         "expires_at": "2025-12-30T23:00:00Z", "renew_at": "2026-01-01T01:00:30Z", "subjects": 0, "warnings": [],
         "last_error": null},
        {"name": "x", "flow": "oauth2", "state": "pending", "generation": 0, "obtained_at": null,
         "expires_at": null, "renew_at": null, "last_error": null, "subjects": 0, "warnings": []}
    ]}"#;

    #[test]
    fn the_table_tells_states_and_times_in_words() {
        let Credentials { credentials } = serde_json::from_str(ANSWER).expect("an answer");
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("a time");
        insta::assert_snapshot!(table(&credentials, now), @r"
        NAME      FLOW    STATE    GENERATION  EXPIRES       RENEWS
        board     static  ready    1           never         -
        payments  login   failing  7           in 5 min 7 s  now
        taxes     oauth2  expired  3           1 d 2 h ago   in 30 s
        x         oauth2  pending  0           -             -

        board: warning: it never expires
        payments: 503 from the issuer (30 s ago)
        ");
        assert_eq!(table(&[], now), "no credentials\n");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let told = [0, 59, 60, 61, 3_600, 3_661, 90_000, 86_400, -5].map(words);
        assert_eq!(told, ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "1 d", "0 s"]);
    }
}
