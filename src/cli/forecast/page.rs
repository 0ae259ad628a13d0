//! The forecast for people.

use std::fmt::Write;

use jiff::Timestamp;

use crate::cli::table::{one_line, table};
use crate::forecast::{Forecast, Kind, Outlook, Source};

/// A line for each credential, then what happens once, then the weakest link.
pub(super) fn page(forecast: &Forecast) -> String {
    let days = forecast.to.duration_since(forecast.from).as_hours() / 24;
    let begin = if forecast.has_records { "from the records of the store" } else { "without records" };
    let mut text =
        format!("{days} days from {}, {begin}; issuers are assumed to answer\n\n", minute(forecast.from));
    let head = ["NAME", "FLOW", "LIVES", "ASKED", "REPLACED", "ENDURES"];
    text += &table(head, forecast.credentials.iter().map(|credential| row(credential, days)));
    if !forecast.events.is_empty() {
        text.push('\n');
    }
    let width = forecast.events.iter().map(|event| event.name.chars().count()).max().unwrap_or(0);
    for event in &forecast.events {
        let mark = match event.kind {
            Kind::Ends if event.optional => "ENDS (optional): ",
            Kind::Ends => "ENDS: ",
            Kind::Replaced | Kind::GraceEnds => "",
        };
        // A text takes everything.
        let _ =
            writeln!(text, "{}  {:width$}  {mark}{}", minute(event.at), event.name, one_line(&event.what));
    }
    if let Some(link) = &forecast.weakest {
        let _ = writeln!(text, "\nweakest link: {}: {}", link.name, one_line(&link.why));
    }
    text
}

fn row(credential: &Outlook, days: i64) -> [String; 6] {
    let by = match credential.lifetime_by {
        Source::Assumed if credential.flow != "static" => " (assumed)",
        Source::Assumed | Source::Record | Source::Configuration => "",
    };
    let none = || "-".to_owned();
    let lives = credential.lifetime.map_or_else(none, |seconds| length(seconds) + by);
    let asked = match credential.exchanges {
        0 => none(),
        count => format!("{count} ({})", how_often(count, days)),
    };
    let replaced = match credential.replacements {
        0 => none(),
        count => count.to_string(),
    };
    let endures = credential.endures.map_or_else(none, length);
    [credential.name.clone(), credential.flow.to_owned(), lives, asked, replaced, endures]
}

fn how_often(count: usize, days: i64) -> String {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let days = u32::try_from(days).unwrap_or(1).max(1);
    let a_day = f64::from(count) / f64::from(days);
    if a_day < 0.5 { format!("{:.1} a month", a_day * 30.0) } else { format!("{a_day:.1} a day") }
}

/// A length in its two largest units.
fn length(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, size) in units {
        if left >= size && parts.len() < 2 {
            parts.push(format!("{}{name}", left / size));
            left %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::page;
    use crate::credential::State;
    use crate::forecast::{Event, Forecast, Kind, Link, Outlook, Source};

    #[test]
    fn a_forecast_is_a_table_a_calendar_and_a_warning() {
        let from: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        let day = |day: i64| from + SignedDuration::from_hours(24 * day);
        let outlook = |name: &str, flow, lifetime, exchanges, replacements, endures| Outlook {
            name: name.to_owned(),
            flow,
            lifetime,
            lifetime_by: Source::Assumed,
            exchanges,
            replacements,
            endures,
            state: State::Ready,
        };
        let event = |at, name: &str, kind, what: &str| Event {
            at,
            name: name.to_owned(),
            kind,
            optional: false,
            what: what.to_owned(),
        };
        let forecast = Forecast {
            from,
            to: day(400),
            has_records: false,
            credentials: vec![
                outlook("mailed", "static", Some(90 * 86_400), 0, 0, None),
                outlook("secret", "login", Some(180 * 86_400), 540, 2, Some(20 * 86_400)),
                outlook("user", "login", Some(3600), 12_800, 0, Some(720)),
            ],
            events: vec![
                event(day(90), "mailed", Kind::Ends, "a person\nputs a new one in its place"),
                event(day(165), "secret", Kind::Replaced, "its value is replaced, 15.0 days before its end"),
            ],
            weakest: Some(Link { name: "mailed".to_owned(), why: "ends".to_owned() }),
            problems: Vec::new(),
        };
        insta::assert_snapshot!(page(&forecast), @r"
        400 days from 2026-11-22 00:00Z, without records; issuers are assumed to answer

        NAME    FLOW    LIVES           ASKED               REPLACED  ENDURES
        mailed  static  90d             -                   -         -
        secret  login   180d (assumed)  540 (1.4 a day)     2         20d
        user    login   1h (assumed)    12800 (32.0 a day)  -         12m

        2027-02-20 00:00Z  mailed  ENDS: a person puts a new one in its place
        2027-05-06 00:00Z  secret  its value is replaced, 15.0 days before its end

        weakest link: mailed: ends
        ");
    }
}
