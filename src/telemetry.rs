//! Logs: one line an event on standard error, as text or JSON.
//!
//! ```text
//! event -> filter -> one line (control characters escaped) -> bounded queue -> writer thread
//! ```
//!
//! Whoever logs never waits for standard error: when its reader stands still the queue fills, and
//! further lines are counted and dropped ([`lines_dropped`]) until it moves again. The metrics are
//! not counted here: each part counts its own, and the admin listener encodes them.

mod count;
mod line;
pub mod process;
mod seldom;
mod writer;

use std::any::Any;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::str::FromStr;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::clock::Clock;
pub use count::{Counter, Gauge};
use line::Style;
pub use seldom::{Seldom, SeldomEach};
use writer::Queue;
pub use writer::lines_dropped;

/// How logs are written, from `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// A tracing filter, such as `info` or `bearerd=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

/// `access_log`: which requests are logged, one line each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that bearerd or the upstream answered with an error.
    Errors,
    /// Each one.
    All,
}

impl LogSpec {
    /// Says why a text is not a filter.
    pub fn check_filter(filter: &str) -> Result<(), String> {
        EnvFilter::from_str(filter).map(drop).map_err(|error| error.to_string())
    }
}

/// Why logging could not begin.
#[derive(Debug)]
pub struct LogError(String);

impl fmt::Display for LogError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "logging cannot begin: {}", self.0)
    }
}

impl std::error::Error for LogError {}

/// The process's logs; dropping it waits a moment for the last lines to be written.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    queue: Queue,
}

/// Begins to log to standard error, for the whole process.
pub fn start(spec: &LogSpec, clock: &Clock) -> Result<Logs, LogError> {
    let style = match (spec.json, std::io::stderr().is_terminal()) {
        (true, _) => Style::Json,
        (false, true) => Style::Coloured,
        (false, false) => Style::Text,
    };
    let filter = EnvFilter::from_str(&spec.filter).map_err(|error| LogError(error.to_string()))?;
    let (filter, handle) = reload::Layer::new(filter);
    let queue = Queue::start(std::io::stderr()).map_err(|error| LogError(error.to_string()))?;
    let lines = Lines { style, clock: clock.clone(), queue: queue.clone() };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| LogError(error.to_string()))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logs { filter: handle, queue })
}

impl Logs {
    /// Takes over the filter of a reloaded configuration. The format stays until the next start.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = EnvFilter::from_str(filter).map_err(|error| LogError(error.to_string()))?;
        self.filter.reload(filter).map_err(|error| LogError(error.to_string()))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

/// The layer that makes a line of each event.
struct Lines {
    style: Style,
    clock: Clock,
    queue: Queue,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.push(line::format(event, self.style, self.clock.wall()));
    }
}

/// A panic is a defect: it is told on one line like everything else. Its text is told only where
/// it was fixed at compile time, for a formatted one may show a value.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let (message, place) = (fixed_text(panic.payload()), place(panic));
    tracing::error!(message_of_panic = message, place, "a defect in bearerd: please report it");
}

/// The same before there are logs, and for commands.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut output = std::io::stderr().lock();
        let (message, place) = (fixed_text(panic.payload()), place(panic));
        // There is nowhere left to tell that standard error is closed.
        let _ = writeln!(output, "bearerd: a defect at {place} ({message}): please report it");
    }));
}

fn place(panic: &std::panic::PanicHookInfo<'_>) -> String {
    panic.location().map(ToString::to_string).unwrap_or_default()
}

/// The text of a panic, if it was fixed at compile time.
fn fixed_text(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not told")
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};
    use std::panic::{self, AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use tracing::field::Field;
    use tracing::{Event, Subscriber, subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::{fixed_text, log_panic};

    /// What events say, of this thread.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Told {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut told = self.0.lock().expect("nobody panicked");
            event.record(&mut |field: &Field, value: &dyn Debug| {
                write!(told, "{field}={value:?} ").expect("a String takes all");
            });
        }
    }

    #[test]
    fn a_panic_that_shows_a_value_is_not_told() {
        let value = "hunter2".to_owned();
        for (panic, told) in [
            (catch_unwind(|| panic!("a fixed text")), "a fixed text"),
            (catch_unwind(|| panic!("the password {value}")), "not told"),
        ] {
            assert_eq!(fixed_text(&*panic.expect_err("a panic")), told);
        }
    }

    #[test]
    fn the_log_shows_no_value_of_a_panic_however_it_came() {
        let (value, told) = ("hunter2".to_owned(), Told::default());
        let wrong: Result<(), String> = Err(value.clone());
        let panics: [&dyn Fn(); 4] = [
            &|| panic!("the password {value}"),
            &|| panic::panic_any(value.clone()),
            &|| wrong.clone().expect("it is right"),
            &|| assert_eq!(value.parse::<u32>().map_err(|_| value.clone()).expect("a number"), 0),
        ];
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        subscriber::with_default(tracing_subscriber::registry().with(told.clone()), || {
            for provoke in panics {
                let outcome = catch_unwind(AssertUnwindSafe(provoke));
                outcome.expect_err("a panic");
            }
        });
        panic::set_hook(before);
        let told = told.0.lock().expect("nobody panicked").clone();
        assert_eq!(told.matches("a defect in bearerd").count(), 4, "{told}");
        assert!(told.contains("telemetry.rs") && !told.contains("hunter2"), "{told}");
    }
}
