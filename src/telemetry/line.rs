//! One event, one line.
//!
//! ```text
//! 2026-01-31T12:00:00.123Z INFO listening listener=app address=127.0.0.1:8080
//! {"timestamp":"2026-01-31T12:00:00.123Z","level":"INFO","message":"listening","listener":"app",...}
//! ```
//!
//! Control characters are escaped in both, so that nothing that an upstream or an app sent can make
//! a second line or move a terminal's cursor.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `name=value` pairs after the message.
    Text,
    /// The same on a terminal, with the level in colour.
    Coloured,
    /// One JSON object.
    Json,
}

/// The line of an event, its line feed included.
pub(super) fn format(event: &Event<'_>, style: Style, now: Timestamp) -> Vec<u8> {
    let level = event.metadata().level();
    let line = if style == Style::Json {
        let mut fields = JsonFields(Map::new());
        fields.put("timestamp", format!("{now:.3}"));
        fields.put("level", level.as_str());
        event.record(&mut fields);
        fields.put("target", event.metadata().target());
        Value::Object(fields.0).to_string() + "\n"
    } else {
        let mut text = TextFields { line: String::with_capacity(160) };
        text.head(now, *level, style == Style::Coloured);
        event.record(&mut text);
        text.line.push('\n');
        text.line
    };
    line.into_bytes()
}

struct TextFields {
    line: String,
}

impl TextFields {
    fn head(&mut self, now: Timestamp, level: Level, coloured: bool) {
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        // Writing to a text does not fail.
        let _ = if coloured {
            write!(self.line, "{now:.3} \x1b[{colour}m{level}\x1b[0m")
        } else {
            write!(self.line, "{now:.3} {level}")
        };
    }

    fn put(&mut self, field: &Field, value: &str) {
        self.line.push(' ');
        if field.name() == "message" {
            escape(&mut self.line, value);
            return;
        }
        self.line.push_str(field.name());
        self.line.push('=');
        let plain = |next: char| !next.is_whitespace() && !next.is_control() && !matches!(next, '"' | '=');
        if !value.is_empty() && value.chars().all(plain) {
            self.line.push_str(value);
        } else {
            self.line.push('"');
            for (index, piece) in value.split('"').enumerate() {
                if index > 0 {
                    self.line.push_str("\\\"");
                }
                escape(&mut self.line, piece);
            }
            self.line.push('"');
        }
    }
}

/// Appends `text` with every control character, and what turns text around, made visible.
fn escape(line: &mut String, text: &str) {
    for next in text.chars() {
        let turns =
            matches!(next, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if next.is_control() || turns {
            line.extend(next.escape_default());
        } else {
            line.push(next);
        }
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for JsonFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use jiff::Timestamp;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::Style;

    struct Keep(Style, Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let line = super::format(event, self.0, Timestamp::UNIX_EPOCH);
            *self.1.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8(line).expect("text");
        }
    }

    fn line(style: Style, log: impl FnOnce()) -> String {
        let kept = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Keep(style, Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, log);
        kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[test]
    fn an_event_is_one_line_of_names_and_values() {
        let event =
            || tracing::warn!(credential = %"ledger", error = "it said \"no\"", tries = 3, "renewal failed");
        assert_eq!(
            line(Style::Text, event),
            "1970-01-01T00:00:00.000Z WARN renewal failed credential=ledger error=\"it said \\\"no\\\"\" tries=3\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(Style::Json, event)).expect("JSON");
        assert_eq!(json["message"], "renewal failed");
        assert_eq!(json["tries"], 3);
        assert_eq!(json["timestamp"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn control_characters_cannot_make_a_second_line() {
        let event = || tracing::info!(path = "/a\r\n2026 INFO forged\x1b[2J", "re\nfused\u{9b}");
        for style in [Style::Text, Style::Json] {
            let line = line(style, event);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.contains('\x1b') && !line.contains('\r'), "{line}");
        }
        assert!(line(Style::Text, event).contains("re\\nfused\\u{9b} path=\"/a\\r\\n"));
        assert!(line(Style::Coloured, || tracing::info!("a")).contains("\x1b[32mINFO\x1b[0m a"));
    }
}
