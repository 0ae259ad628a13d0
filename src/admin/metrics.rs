//! The metrics: each part counts its own; here they are read and written out at scrape time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::admin::Admin;
use crate::admin::exposition::{Exposition, Kind, Labels, Metric};
use crate::clock::Clock;
use crate::confinement::{Confinement, Measure};
use crate::credential::consent::Consents;
use crate::credential::keeper::{Keeper, Outcome, SubjectNumbers};
use crate::credential::{CredentialName, State, Status};
use crate::notification::{Notifications, Numbers};
use crate::proxy::Code;
use crate::route::RouteTable;
use crate::route::metrics::{Durations, Limit, RouteMetrics};
use crate::secret;
use crate::server::Listener;
use crate::telemetry::{self, Counter};
use crate::upstream::connect::Connectors;
use crate::upstream::departure::Departure;
use crate::upstream::egress;
use crate::upstream::pool::Bites;

/// The numbers that the control plane counts.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    renewals: Mutex<BTreeMap<(CredentialName, Outcome), Box<Renewals>>>,
    /// Reloads that took the new configuration over.
    pub reloads_ok: Counter,
    /// Reloads that left all as it was.
    pub reloads_rejected: Counter,
    /// Connections of the admin listener that made room for others.
    pub evicted: Counter,
    confinement: Confinement,
}

/// How long exchanges of a credential took, in the buckets of [`Durations`]: as small as can be, since there
/// may be tens of thousands of credentials.
#[derive(Debug, Clone, Default)]
struct Renewals {
    took_microseconds: u64,
    buckets: [u32; Durations::BOUNDS.len() + 1],
}

impl ControlMetrics {
    /// Numbers of a process that gave these up, all of them zero.
    pub fn of(confinement: Confinement) -> Self {
        Self { confinement, ..Self::default() }
    }

    /// Counts an exchange that ended; the keeper calls it.
    pub fn renewed(&self, name: &CredentialName, outcome: Outcome, took: Duration) {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        let renewals = renewals.entry((name.clone(), outcome)).or_default();
        renewals.took_microseconds += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        renewals.buckets[Durations::bucket(took)] += 1;
    }

    fn renewals(&self) -> BTreeMap<(CredentialName, Outcome), Box<Renewals>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All metrics as text.
pub(super) async fn encode(admin: &Admin) -> String {
    let numbers = subject_numbers(&admin.keeper).await;
    let mut text = Exposition::default();
    let table = admin.table.load();
    let listeners = admin.server.listeners();
    let rows = rows(&table, &listeners);
    requests(&mut text, &rows);
    limits(&mut text, &rows, admin);
    logins(&mut text, &admin.control.consents);
    injections(&mut text, &table);
    connections(&mut text, &table, &listeners);
    certificates(&mut text, &listeners);
    credentials(&mut text, &admin.keeper, &admin.egress.borrow());
    subjects(&mut text, &numbers);
    renewals(&mut text, &admin.metrics);
    store(&mut text, admin.store.errors());
    departures(&mut text, &admin.egress.borrow());
    notifications(&mut text, &admin.notifications);
    reloads(&mut text, &admin.metrics);
    confinement(&mut text, &admin.metrics.confinement);
    memory(&mut text);
    console(&mut text, admin);
    process(&mut text, &admin.clock);
    text.finish()
}

/// The numbers under one `route` label.
struct Row<'a> {
    route: &'a str,
    of: Vec<&'a RouteMetrics>,
}

/// A row for each route, and one without a name for what reached no route, over all listeners.
fn rows<'a>(table: &'a RouteTable, listeners: &'a [Arc<Listener>]) -> Vec<Row<'a>> {
    let routed = table.routes().iter().map(|route| Row { route: &route.spec.name, of: vec![&route.metrics] });
    let unrouted = listeners.iter().map(|listener| &listener.metrics.unrouted).collect();
    routed.chain([Row { route: "", of: unrouted }]).collect()
}

impl Row<'_> {
    fn sum(&self, counter: impl Fn(&RouteMetrics) -> u64) -> u64 {
        self.of.iter().map(|metrics| counter(metrics)).sum()
    }
}

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn requests(text: &mut Exposition, rows: &[Row<'_>]) {
    let count = |row: &Row<'_>, class: usize| {
        row.sum(|of| of.requests(class).map_or(0, |durations| durations.counts().iter().sum()))
    };
    let seen: Vec<(&Row<'_>, usize)> = rows
        .iter()
        .flat_map(|row| (0..STATUS_CLASSES.len()).map(move |class| (row, class)))
        .filter(|(row, class)| count(row, *class) > 0)
        .collect();
    let mut metric =
        text.metric("bearerd_requests_total", Kind::Counter, "Requests from apps that were answered.");
    for (row, class) in &seen {
        metric.sample(&[("route", row.route), ("status", STATUS_CLASSES[*class])], count(row, *class));
    }
    let help = "From the head of a request to the end of its answer.";
    let mut metric = text.metric("bearerd_request_duration_seconds", Kind::Histogram, help);
    for (row, class) in &seen {
        let of: Vec<&Durations> = row.of.iter().filter_map(|of| of.requests(*class)).collect();
        durations(&mut metric, &[("route", row.route), ("status", STATUS_CLASSES[*class])], &of);
    }
    let help = "Errors that bearerd itself answered with.";
    let mut metric = text.metric("bearerd_errors_total", Kind::Counter, help);
    for row in rows {
        for (place, code) in Code::ALL.iter().enumerate() {
            let count = row.sum(|of| of.errors(place));
            if count > 0 {
                metric.sample(&[("route", row.route), ("code", code.as_str())], count);
            }
        }
    }
}

fn durations(metric: &mut Metric<'_>, labels: Labels<'_>, of: &[&Durations]) {
    let mut counts = [0; Durations::BOUNDS.len() + 1];
    for part in of {
        for (sum, count) in counts.iter_mut().zip(part.counts()) {
            *sum += count;
        }
    }
    histogram(metric, labels, counts, of.iter().map(|part| part.sum()).sum());
}

fn histogram(
    metric: &mut Metric<'_>,
    labels: Labels<'_>,
    counts: [u64; Durations::BOUNDS.len() + 1],
    seconds: f64,
) {
    let bounds = Durations::BOUNDS.into_iter().zip(counts);
    metric.histogram(labels, bounds, counts[Durations::BOUNDS.len()], seconds);
}

fn limits(text: &mut Exposition, rows: &[Row<'_>], admin: &Admin) {
    let pools: &Bites = admin.server.pool_bites();
    let mut metric = text.metric("bearerd_limited_total", Kind::Counter, "Limits that bit.");
    for limit in Limit::ALL {
        let count = match limit {
            Limit::PoolIdleTimeout => pools.idle_timeout.get(),
            Limit::PoolMaxAge => pools.max_age.get(),
            Limit::PoolMaxIdle => pools.max_idle.get(),
            _ => rows.iter().map(|row| row.sum(|of| of.bites(limit))).sum(),
        };
        metric.sample(&[("limit", limit.as_str())], count);
    }
    metric.sample(&[("limit", "max_lookups")], egress::BITES.lookups.get());
    metric.sample(&[("limit", "max_tls_servers")], egress::BITES.tls_servers.get());
    metric.sample(&[("limit", "max_event_streams")], admin.events.limited.get());
    metric.sample(&[("limit", "admin_connections")], admin.metrics.evicted.get());
    metric.sample(&[("limit", "admin_wrong_tokens")], admin.sessions.uncompared.get());
    metric.sample(&[("limit", "admin_sign_ins")], admin.sessions.limited.get());
    metric.sample(&[("limit", "max_logins")], admin.control.consents.numbers().refused.get());
    let limited = admin.keeper.limited();
    metric.sample(&[("limit", "max_renewals")], limited.max_renewals.get());
    metric.sample(&[("limit", "issuer_concurrency")], limited.issuer_concurrency.get());
    let receivers = admin.notifications.numbers();
    let sum =
        |count: fn(&Numbers) -> u64| receivers.iter().map(|(_, numbers, _)| count(numbers)).sum::<u64>();
    metric.sample(&[("limit", "notify_flaps")], sum(|of| of.flapped.get()));
    metric.sample(&[("limit", "notify_rate")], sum(|of| of.crowded.get()));
    metric.sample(&[("limit", "notify_max_queue")], sum(|of| of.dropped.get()));
}

fn logins(text: &mut Exposition, consents: &Consents) {
    let help = "Logins of people under way, those that ended in the last minutes included.";
    text.metric("bearerd_logins", Kind::Gauge, help).sample(&[], consents.count() as u64);
    let numbers = consents.numbers();
    text.metric("bearerd_logins_total", Kind::Counter, "Logins of people that ended.")
        .sample(&[("outcome", "ok")], numbers.succeeded.get())
        .sample(&[("outcome", "failed")], numbers.failed.get());
}

fn injections(text: &mut Exposition, table: &RouteTable) {
    let mut metric =
        text.metric("bearerd_injections_total", Kind::Counter, "Requests that left with a credential.");
    for route in table.routes() {
        let labels = [("route", &*route.spec.name), ("credential", route.spec.credential.as_str())];
        metric.sample(&labels, route.metrics.injections.get());
    }
    let mut metric =
        text.metric("bearerd_replays_total", Kind::Counter, "Refused requests that were sent once more.");
    for route in table.routes() {
        metric.sample(&[("route", &route.spec.name)], route.metrics.replays.get());
    }
    let mut metric =
        text.metric("bearerd_masked_total", Kind::Counter, "Secrets that were masked in answers.");
    for route in table.routes() {
        metric.sample(&[("route", &route.spec.name)], route.metrics.masked.get());
    }
}

fn connections(text: &mut Exposition, table: &RouteTable, listeners: &[Arc<Listener>]) {
    let mut metric = text.metric("bearerd_connections", Kind::Gauge, "Connections from apps that are open.");
    for listener in listeners {
        metric.sample(&[("listener", &listener.name())], listener.metrics.connections.get());
    }
    let help = "Open connections to upstreams, each with the route whose request it carried last.";
    let mut metric = text.metric("bearerd_upstream_connections", Kind::Gauge, help);
    for route in table.routes() {
        metric.sample(&[("route", &route.spec.name)], route.metrics.upstream_connections.get());
    }
}

/// The certificates that listeners show to apps.
fn certificates(text: &mut Exposition, listeners: &[Arc<Listener>]) {
    let showing: Vec<_> =
        listeners.iter().filter_map(|listener| Some((listener, listener.tls()?.ends_at()))).collect();
    let help = "When the listener's certificate ends.";
    let mut metric = text.metric("bearerd_certificate_expires_timestamp_seconds", Kind::Gauge, help);
    for (listener, ends_at) in &showing {
        metric.sample(&[("listener", &listener.name())], ends_at.as_duration().as_secs_f64());
    }
    let help = "Changed certificates that were read.";
    let mut metric = text.metric("bearerd_certificate_renewals_total", Kind::Counter, help);
    for (listener, _) in &showing {
        let of = &listener.metrics;
        metric.sample(&[("listener", &listener.name()), ("outcome", "ok")], of.certificates_renewed.get());
        metric.sample(
            &[("listener", &listener.name()), ("outcome", "rejected")],
            of.certificates_rejected.get(),
        );
    }
    let help = "TLS handshakes of apps that failed.";
    let mut metric = text.metric("bearerd_failed_handshakes_total", Kind::Counter, help);
    for (listener, _) in &showing {
        metric.sample(&[("listener", &listener.name())], listener.metrics.failed_handshakes.get());
    }
}

fn credentials(text: &mut Exposition, keeper: &Keeper, egress: &Connectors) {
    let statuses = keeper.statuses();
    let help = "When the current token, or the client certificate of an egress, ends.";
    let mut metric =
        timestamps(text, "bearerd_credential_expires_timestamp_seconds", help, &statuses, |of| of.expires_at);
    for (name, connector) in egress {
        if let Some(end) = connector.certificate_ends_at() {
            metric.sample(&[("credential", &format!("egress.{name}"))], end.as_duration().as_secs_f64());
        }
    }
    let help = "When something ends beside the token, as the token tells.";
    let mut metric = text.metric("bearerd_credential_deadline_timestamp_seconds", Kind::Gauge, help);
    for (name, of, at) in keeper.deadlines() {
        metric.sample(&[("credential", name.as_str()), ("of", &of)], at.as_duration().as_secs_f64());
    }
    let help = "When the next renewal is planned.";
    timestamps(text, "bearerd_credential_renew_timestamp_seconds", help, &statuses, |of| of.renew_at);
    let help = "The generation of the current token; 0 before the first.";
    let mut metric = text.metric("bearerd_credential_generation", Kind::Gauge, help);
    for status in &statuses {
        metric.sample(&[("credential", status.owner.credential.as_str())], status.generation);
    }
    let help = "1 for the state that holds, 0 for the others.";
    let mut metric = text.metric("bearerd_credential_state", Kind::Gauge, help);
    for status in &statuses {
        for state in State::ALL {
            let labels = [("credential", status.owner.credential.as_str()), ("state", state.as_str())];
            metric.sample(&labels, u8::from(state == status.state));
        }
    }
    let help = "Answers by which an upstream refused the token.";
    let mut metric = text.metric("bearerd_refusals_total", Kind::Counter, help);
    for (name, count) in keeper.refusals() {
        metric.sample(&[("credential", name.as_str())], count);
    }
}

/// How many subjects each credential has, as far as its store can tell, and how they wake and sleep.
async fn subject_numbers(keeper: &Keeper) -> Vec<(CredentialName, usize, SubjectNumbers)> {
    let mut numbers = Vec::new();
    for (name, of) in keeper.subject_numbers() {
        // A store that cannot be read counts that by itself.
        let known = keeper.count(&name).await.unwrap_or_default();
        numbers.push((name, known.max(of.awake), of));
    }
    numbers
}

fn subjects(text: &mut Exposition, numbers: &[(CredentialName, usize, SubjectNumbers)]) {
    let help = "Subjects whose tokens are at hand, and those of whom only the record is kept.";
    let mut metric = text.metric("bearerd_subjects", Kind::Gauge, help);
    for (name, known, of) in numbers {
        metric.sample(&[("credential", name.as_str()), ("state", "awake")], of.awake);
        metric.sample(&[("credential", name.as_str()), ("state", "asleep")], known - of.awake);
    }
    let help = "Subjects that woke, because somebody asked for them or before a refresh token would lapse.";
    let mut metric = text.metric("bearerd_subject_wakes_total", Kind::Counter, help);
    for (name, _, of) in numbers {
        metric.sample(&[("credential", name.as_str())], of.woken);
    }
    let help = "Subjects that fell asleep, because nobody used them or others needed the room.";
    let mut metric = text.metric("bearerd_subject_sleeps_total", Kind::Counter, help);
    for (name, _, of) in numbers {
        metric.sample(&[("credential", name.as_str()), ("reason", "idle")], of.idle);
        metric.sample(&[("credential", name.as_str()), ("reason", "max_awake_subjects")], of.displaced);
    }
}

fn timestamps<'a>(
    text: &'a mut Exposition,
    name: &'static str,
    help: &str,
    statuses: &[Status],
    time: impl Fn(&Status) -> Option<Timestamp>,
) -> Metric<'a> {
    let mut metric = text.metric(name, Kind::Gauge, help);
    for status in statuses {
        if let Some(time) = time(status) {
            metric.sample(
                &[("credential", status.owner.credential.as_str())],
                time.as_duration().as_secs_f64(),
            );
        }
    }
    metric
}

fn renewals(text: &mut Exposition, metrics: &ControlMetrics) {
    let renewals = metrics.renewals();
    let help = "Exchanges with issuers that ended; the first token counts.";
    let mut metric = text.metric("bearerd_renewals_total", Kind::Counter, help);
    for ((name, outcome), of) in &renewals {
        let labels = [("credential", name.as_str()), ("outcome", outcome.as_str())];
        metric.sample(&labels, of.buckets.iter().copied().map(u64::from).sum::<u64>());
    }
    let help = "How long exchanges with issuers took.";
    let mut metric = text.metric("bearerd_renewal_duration_seconds", Kind::Histogram, help);
    for ((name, outcome), of) in &renewals {
        let labels = [("credential", name.as_str()), ("outcome", outcome.as_str())];
        histogram(
            &mut metric,
            &labels,
            of.buckets.map(u64::from),
            Duration::from_micros(of.took_microseconds).as_secs_f64(),
        );
    }
}

/// The addresses that connections leave from, where they are asked for.
fn departures(text: &mut Exposition, egress: &Connectors) {
    let watched: Vec<_> = egress.iter().filter(|(_, connector)| connector.spec().expect.is_some()).collect();
    let help = "What is known of the address that connections leave from: 1 for what holds.";
    let mut metric = text.metric("bearerd_egress_address", Kind::Gauge, help);
    for (name, connector) in &watched {
        let known = connector.departures().report().departure.as_str();
        for state in Departure::NAMES {
            metric.sample(&[("egress", name.as_str()), ("state", state)], u8::from(state == known));
        }
    }
    let help = "Checks of the address that connections leave from.";
    let mut metric = text.metric("bearerd_egress_address_checks_total", Kind::Counter, help);
    for (name, connector) in &watched {
        let board = connector.departures();
        for (outcome, count) in
            [("expected", &board.expected), ("other", &board.other), ("failed", &board.failed)]
        {
            metric.sample(&[("egress", name.as_str()), ("outcome", outcome)], count.get());
        }
    }
}

fn notifications(text: &mut Exposition, notifications: &Notifications) {
    let receivers = notifications.numbers();
    let help = "Notices to a receiver that arrived, were given up, or made room for younger ones.";
    let mut metric = text.metric("bearerd_notifications_total", Kind::Counter, help);
    for (name, numbers, _) in &receivers {
        for (outcome, count) in
            [("sent", &numbers.sent), ("failed", &numbers.failed), ("dropped", &numbers.dropped)]
        {
            metric.sample(&[("receiver", name.as_str()), ("outcome", outcome)], count.get());
        }
    }
    let help = "Deliveries of notices that failed and were tried again.";
    let mut metric = text.metric("bearerd_notification_retries_total", Kind::Counter, help);
    for (name, numbers, _) in &receivers {
        metric.sample(&[("receiver", name.as_str())], numbers.retries.get());
    }
    let help = "Notices that wait for a receiver.";
    let mut metric = text.metric("bearerd_notifications_waiting", Kind::Gauge, help);
    for (name, _, waiting) in &receivers {
        metric.sample(&[("receiver", name.as_str())], *waiting);
    }
}

fn store(text: &mut Exposition, errors: u64) {
    let help = "Reads and writes of the store that failed.";
    text.metric("bearerd_store_errors_total", Kind::Counter, help).sample(&[], errors);
}

fn reloads(text: &mut Exposition, metrics: &ControlMetrics) {
    let help = "Reloads of the configuration.";
    text.metric("bearerd_reloads_total", Kind::Counter, help)
        .sample(&[("outcome", "ok")], metrics.reloads_ok.get())
        .sample(&[("outcome", "rejected")], metrics.reloads_rejected.get());
}

fn confinement(text: &mut Exposition, confinement: &Confinement) {
    let help = "Whether the process gave this up at its start.";
    let mut metric = text.metric("bearerd_confinement", Kind::Gauge, help);
    for measure in Measure::ALL {
        metric.sample(&[("measure", measure.as_str())], u8::from(confinement.holds(measure)));
    }
}

fn memory(text: &mut Exposition) {
    let amounts = secret::held();
    let help = "Memory for the secrets that tokens are made with; what is not locked may be written to swap.";
    text.metric("bearerd_secret_memory_bytes", Kind::Gauge, help)
        .sample(&[("locked", "yes")], amounts.locked)
        .sample(&[("locked", "no")], amounts.unlocked);
}

fn console(text: &mut Exposition, admin: &Admin) {
    text.metric("bearerd_event_streams", Kind::Gauge, "Streams of events that are open.")
        .sample(&[], admin.events.open());
    text.metric("bearerd_console_sessions", Kind::Gauge, "Sessions of the console that are open.")
        .sample(&[], admin.sessions.count());
    let sessions = &admin.sessions;
    text.metric("bearerd_console_sign_ins_total", Kind::Counter, "Tries to sign in to the console.")
        .sample(&[("outcome", "ok")], sessions.opened.get())
        .sample(&[("outcome", "rejected")], sessions.rejected.get())
        .sample(&[("outcome", "limited")], sessions.limited.get());
}

fn process(text: &mut Exposition, clock: &Clock) {
    text.metric("bearerd_build_info", Kind::Gauge, "Always 1; the labels tell what runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let help = "Log lines that were dropped because standard error stood still.";
    text.metric("bearerd_log_lines_dropped_total", Kind::Counter, help)
        .sample(&[], telemetry::lines_dropped());
    let Some(usage) = telemetry::process::usage(clock) else { return };
    text.metric("process_cpu_seconds_total", Kind::Counter, "CPU time in user and system mode.")
        .sample(&[], usage.cpu.as_secs_f64());
    text.metric("process_resident_memory_bytes", Kind::Gauge, "Resident memory.").sample(&[], usage.resident);
    text.metric("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.")
        .sample(&[], usage.virtual_memory);
    text.metric("process_open_fds", Kind::Gauge, "Open file descriptors.").sample(&[], usage.open_files);
    if let Some(limit) = usage.max_files {
        text.metric("process_max_fds", Kind::Gauge, "How many file descriptors may be open.")
            .sample(&[], limit);
    }
    text.metric("process_threads", Kind::Gauge, "Threads.").sample(&[], usage.threads);
    text.metric("process_start_time_seconds", Kind::Gauge, "When the process began.")
        .sample(&[], usage.started);
}
