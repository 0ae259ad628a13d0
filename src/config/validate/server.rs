//! `[server]`.

use std::num::NonZero;
use std::time::Duration;

use crate::config::raw;
use crate::config::raw::server::{AccessLog as RawAccessLog, LogFormat, Sandbox as RawSandbox};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::{AccessLog, ServerSpec};
use crate::confinement::Sandbox;
use crate::credential::keeper::SleepRules;
use crate::telemetry::LogSpec;

/// The most data-plane threads.
const MOST_WORKERS: u16 = 1024;

/// The default of `max_logins`.
const MOST_LOGINS: usize = 10_000;

/// `[server]`.
pub(crate) fn server(raw: &raw::Server, place: Place<'_>, context: &mut Context<'_>) -> ServerSpec {
    let workers = match raw.workers {
        Some(workers) if (1..=MOST_WORKERS).contains(&workers) => usize::from(workers),
        Some(_) => {
            let message = format!("`workers` is from 1 to {MOST_WORKERS}");
            context.findings.error(place.key("workers"), message);
            1
        }
        // The standard library asks the cgroup.
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    if raw.issuer_concurrency == Some(0) {
        context.findings.error(place.key("issuer_concurrency"), "at least one exchange runs at once");
    }
    if raw.max_logins == Some(0) {
        context.findings.error(place.key("max_logins"), "at least one login is under way at once");
    }
    let sleep = sleep(raw, place, context);
    let filter = raw.log.clone().unwrap_or_else(|| "info".to_owned());
    if LogSpec::check_filter(&filter).is_err() {
        let problem = context.findings.error(place.key("log"), "this is not a filter of logs");
        problem.help("such as \"info\", \"debug\" or \"warn,bearerd=debug\"");
    }
    ServerSpec {
        workers,
        drain: raw.drain.map_or(Duration::from_secs(25), |time| time.0),
        access_log: match raw.access_log {
            None | Some(RawAccessLog::Off) => AccessLog::Off,
            Some(RawAccessLog::Errors) => AccessLog::Errors,
            Some(RawAccessLog::All) => AccessLog::All,
        },
        watch: raw.watch == Some(true),
        log: LogSpec { filter, json: matches!(raw.log_format, Some(LogFormat::Json)) },
        issuer_concurrency: usize::from(raw.issuer_concurrency.unwrap_or(32)),
        max_logins: raw.max_logins.map_or(MOST_LOGINS, |logins| logins as usize),
        sleep,
        sandbox: match raw.sandbox {
            Some(RawSandbox::Strict) => Sandbox::Strict,
            None | Some(RawSandbox::On) => Sandbox::On,
            Some(RawSandbox::Off) => Sandbox::Off,
        },
    }
}

/// When subjects sleep.
fn sleep(raw: &raw::Server, place: Place<'_>, context: &mut Context<'_>) -> SleepRules {
    let default = SleepRules::default();
    if raw.subject_idle.is_some_and(|time| time.0 < Duration::from_secs(1)) {
        context.findings.error(place.key("subject_idle"), "a subject stays awake for at least a second");
    }
    if raw.max_awake_subjects == Some(0) {
        context.findings.error(place.key("max_awake_subjects"), "at least one subject is awake");
    }
    SleepRules {
        idle: raw.subject_idle.map_or(default.idle, |time| time.0),
        most_awake: raw.max_awake_subjects.map_or(default.most_awake, |most| most as usize),
    }
}
