//! What the demo plays: calls, exchanges, renewals, a revocation.

use std::collections::BTreeSet;
use std::io;

use http::{Method, StatusCode};

use super::page::Page;
use super::stage::{Stage, granted, injected};
use crate::sandbox::{Record, Tour, Vendor};

/// The app calls each vendor once, without a credential.
pub(super) async fn calls(stage: &mut Stage) -> io::Result<()> {
    stage.page.act(1, "The app calls four APIs. It holds no credential.");
    for vendor in Vendor::SHOWN {
        let tour = vendor.tour();
        let got = stage.call(&tour).await?;
        let received = stage.station(vendor).records_of(tour.path);
        let page = &stage.page;
        page.first(vendor, "the app sent", format_args!("{} {}", tour.method, tour.app_path));
        for (name, value) in stage.app.fields(tour.body) {
            page.next("", format_args!("{name}: {value}"));
        }
        if let Some(record) = received.last() {
            page.next("the vendor got", format_args!("{} {}", record.request.method, record.request.target));
            for (name, value) in injected(record) {
                page.next("", format_args!("{name}: {}", page.masked(&value)));
            }
        }
        page.next("the app got", got.summary());
    }
    stage.find(
        "four APIs answered an app that sent no credential",
        stage.all_answered() && stage.calls() == Vendor::SHOWN.len(),
    );
    Ok(())
}

/// Tells how the tokens came, and that the app cannot fetch one itself.
pub(super) async fn exchanges(stage: &mut Stage) -> io::Result<()> {
    stage.page.act(2, "bearerd had fetched the tokens before, each vendor's own way.");
    let mut in_order = true;
    for vendor in Vendor::SHOWN {
        let tour = vendor.tour();
        let page = &stage.page;
        if tour.exchanges.is_empty() {
            page.first(vendor, "a person's token", "read from the configuration, never renewed by itself");
        }
        let first: Vec<_> = tour
            .exchanges
            .iter()
            .map(|step| granted(stage.station(vendor), step.path).first().cloned())
            .collect();
        for (number, step) in tour.exchanges.iter().enumerate() {
            let text = format!("POST {:<34} {} → {}", step.path, step.shows, step.brings);
            if number == 0 { page.first(vendor, "token service", text) } else { page.next("", text) }
        }
        let times: Vec<_> = first.iter().flatten().map(|record| record.at).collect();
        in_order &= times.len() == tour.exchanges.len() && times.is_sorted();
    }
    stage.find("every token was fetched, chains in their order", in_order);

    let Some((vendor, tour)) =
        Vendor::SHOWN.map(|vendor| (vendor, vendor.tour())).into_iter().find(is_direct)
    else {
        return Ok(());
    };
    let login = tour.exchanges[0].path;
    let before = stage.station(vendor).records_of(login).len();
    let denied = stage.app.send(Method::POST, &format!("/{vendor}{login}"), tour.body).await?;
    stage.page.first(vendor, "the app tries it", format_args!("POST /{vendor}{login}"));
    stage.page.next("bearerd answers", denied.status);
    stage.find(
        "the app cannot reach a token service through bearerd",
        denied.status == StatusCode::FORBIDDEN && stage.station(vendor).records_of(login).len() == before,
    );
    Ok(())
}

/// The app goes on calling while every token that can be renewed is.
pub(super) async fn renewals(stage: &mut Stage) -> io::Result<()> {
    stage.page.act(3, "Tokens are renewed before they end, while the app goes on calling.");
    let renewing: Vec<_> =
        Vendor::SHOWN.into_iter().filter(|vendor| vendor.tour().lifetime.is_some()).collect();
    let tours: Vec<_> = renewing.iter().map(|vendor| vendor.tour()).collect();
    let tallies = stage
        .keep_calling(&tours, |sandbox| {
            let renewed = |vendor: Vendor, path| granted(sandbox.station(vendor), path).len() > 1;
            renewing
                .iter()
                .all(|vendor| vendor.tour().exchanges.iter().all(|step| renewed(*vendor, step.path)))
        })
        .await?;
    let mut in_time = true;
    let mut rotated = true;
    for ((vendor, tour), tally) in renewing.iter().zip(&tours).zip(&tallies) {
        let (Some(step), Some(lifetime)) = (tour.exchanges.last(), tour.lifetime) else { continue };
        let grants = granted(stage.station(*vendor), step.path);
        let [first, second, ..] = grants.as_slice() else { continue };
        let age = second.at.saturating_sub(first.at);
        in_time &= age < lifetime;
        let (age, life) = (age.as_secs_f64(), lifetime.as_secs_f64());
        let share = 100.0 * age / life;
        stage.page.first(
            vendor,
            "renewed",
            format_args!("{age:.1} s after it came, {share:.0} % of its life of {life:.0} s"),
        );
        stage.page.next("meanwhile", format_args!("{} calls, {} answered", tally.made, tally.answered));
        if let Some(field) = tour.rotating {
            rotated &= show_rotation(&stage.page, field, &grants);
        }
    }
    let answered = tallies.iter().all(|tally| tally.made == tally.answered);
    stage.find("every token was renewed before its end, and no call failed", in_time && answered);
    stage.find("a refresh token was used once and then replaced", rotated);
    Ok(())
}

fn show_rotation(page: &Page, field: &str, grants: &[Record]) -> bool {
    let shown: Vec<_> = grants.iter().filter_map(|record| form_field(record, field)).collect();
    let masked: Vec<_> = shown.iter().map(|value| page.masked(value)).collect();
    page.next(field, masked.join(" → "));
    let mut distinct = shown.clone();
    distinct.sort();
    distinct.dedup();
    shown.len() > 1 && distinct.len() == shown.len()
}

/// Vendors revoke tokens that looked good; the app's next call succeeds all the same.
pub(super) async fn revocations(stage: &mut Stage) -> io::Result<()> {
    stage.page.act(4, "A vendor revokes a token that looked good for seconds more.");
    let mut recovered = true;
    for (vendor, tour) in Vendor::SHOWN.map(|vendor| (vendor, vendor.tour())).into_iter().filter(is_direct) {
        let path = tour.exchanges[0].path;
        let exchanges = granted(stage.station(vendor), path).len();
        let calls = stage.station(vendor).records_of(tour.path).len();
        stage.station(vendor).revoke();
        let got = stage.call(&tour).await?;
        let seen = stage.station(vendor).records_of(tour.path).split_off(calls);
        let renewals = granted(stage.station(vendor), path).len() - exchanges;

        let page = &stage.page;
        page.first(vendor, "the app sent", format_args!("{} {}", tour.method, tour.app_path));
        for record in &seen {
            let verdict = if record.complaint.is_some() { tour.refusal } else { "accepted" };
            let token = injected(record).into_iter().next().unwrap_or_default().1;
            page.next("the vendor got", format_args!("{}   {verdict}", page.masked(&token)));
            if record.complaint.is_some() {
                page.next("bearerd", format_args!("renewed {}", times(renewals)));
            }
        }
        page.next("the app got", got.summary());
        let refused_then_accepted =
            matches!(seen.as_slice(), [a, b] if a.complaint.is_some() && b.complaint.is_none());
        recovered &= got.is_success() && refused_then_accepted && renewals == 1;
    }
    stage.find(
        "a refused token cost one renewal and one repetition, and the app saw nothing of it",
        recovered,
    );
    Ok(())
}

/// Looks through all that the app got for anything that it must not see.
pub(super) fn secrecy(stage: &mut Stage) {
    let calls =
        Vendor::SHOWN.into_iter().flat_map(|vendor| stage.station(vendor).records_of(vendor.tour().path));
    let values: BTreeSet<_> = calls.flat_map(|record| injected(&record)).map(|(_, value)| value).collect();
    let bare = values.iter().map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
    let unseen = !values.is_empty() && bare.into_iter().all(|value| !stage.app_saw(value));
    stage.find(format!("the app saw no token in {} answers", stage.calls()), unseen);
}

/// Whether one exchange, without a person, leads to a token.
fn is_direct((_, tour): &(Vendor, Tour)) -> bool {
    tour.exchanges.len() == 1
}

fn form_field(record: &Record, field: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(&record.request.body);
    fields.find(|(name, _)| name == field).map(|(_, value)| value.into_owned())
}

fn times(count: usize) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}
