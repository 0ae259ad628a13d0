//! The stage of the demo: vendors, proxy and app, and what was found on it.

use std::io;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use super::caller::{Caller, Got};
use super::page::Page;
use crate::sandbox::{Record, Sandbox, Station, Tour, Vendor};

/// Longer than any wait of the demo takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two calls of an app that goes on calling.
const PACE: Duration = Duration::from_millis(50);

/// Who takes part, and what was found.
pub(super) struct Stage {
    pub(super) page: Page,
    pub(super) sandbox: Sandbox,
    pub(super) app: Caller,
    pub(super) admin: Caller,
    got: Vec<Got>,
    findings: Vec<(String, bool)>,
}

/// The calls of an app to one vendor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) made: usize,
    pub(super) answered: usize,
}

impl Stage {
    pub(super) fn new(page: Page, sandbox: Sandbox, app: Caller, admin: Caller) -> Self {
        Self { page, sandbox, app, admin, got: Vec::new(), findings: Vec::new() }
    }

    /// Lets the app make a call.
    pub(super) async fn call(&mut self, tour: &Tour) -> io::Result<Got> {
        let got = self.app.make(tour).await?;
        self.got.push(got.clone());
        Ok(got)
    }

    /// Lets the app call all of these in turn until `enough`, and counts.
    pub(super) async fn keep_calling(
        &mut self,
        tours: &[Tour],
        enough: impl Fn(&Sandbox) -> bool,
    ) -> io::Result<Vec<Tally>> {
        let mut tallies = vec![Tally::default(); tours.len()];
        let calling = async {
            loop {
                let last = enough(&self.sandbox);
                for (tour, tally) in tours.iter().zip(&mut tallies) {
                    let got = self.call(tour).await?;
                    tally.made += 1;
                    tally.answered += usize::from(got.is_success());
                }
                if last {
                    return Ok(());
                }
                sleep(PACE).await;
            }
        };
        timeout(PATIENCE, calling).await.unwrap_or_else(|_| Err(late("the renewals")))?;
        Ok(tallies)
    }

    /// Waits until bearerd says that it has every token.
    pub(super) async fn wait_until_ready(&self) -> io::Result<()> {
        let asking = async {
            while self.admin.send(Method::GET, "/ready", "").await?.status != StatusCode::OK {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(late("the first tokens")))
    }

    /// A vendor.
    pub(super) fn station(&self, vendor: Vendor) -> &Station {
        self.sandbox.station(vendor)
    }

    /// Whether anything that the app got shows a value.
    pub(super) fn app_saw(&self, value: &str) -> bool {
        self.got.iter().any(|got| got.shows(value))
    }

    /// How many calls the app has made.
    pub(super) fn calls(&self) -> usize {
        self.got.len()
    }

    /// Whether each call was answered as if the app held the tokens.
    pub(super) fn all_answered(&self) -> bool {
        self.got.iter().all(Got::is_success)
    }

    /// Notes a statement and whether it was true.
    pub(super) fn find(&mut self, statement: impl Into<String>, holds: bool) {
        self.findings.push((statement.into(), holds));
    }

    /// Prints the findings; true if all hold.
    pub(super) fn conclude(&self) -> bool {
        let all = self.findings.iter().all(|(_, holds)| *holds);
        let title =
            if all { "Checked against what the vendors recorded:" } else { "Not all of it was true:" };
        self.page.summary(title);
        for (statement, holds) in &self.findings {
            self.page.finding(statement, *holds);
        }
        all
    }
}

/// The successful exchanges of a vendor on one path, oldest first.
pub(super) fn granted(station: &Station, path: &str) -> Vec<Record> {
    let records = station.records_of(path).into_iter();
    records.filter(|record| record.status.is_some() && record.complaint.is_none()).collect()
}

/// The fields that a vendor received and the app did not send: what bearerd put on.
pub(super) fn injected(record: &Record) -> Vec<(String, String)> {
    const ORDINARY: [&str; 5] = ["host", "content-type", "content-length", "via", "accept-encoding"];
    let fields = record.request.headers.iter();
    fields
        .filter(|(name, _)| !ORDINARY.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect()
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} did not come within {PATIENCE:?}"))
}
