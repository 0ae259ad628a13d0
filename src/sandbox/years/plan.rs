//! One vendor's life, as data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use crate::clock::{Clock, Moment};
use crate::credential::Minted;
use crate::credential::keeper::Keeper;
use crate::sandbox::Simulator;
use crate::sandbox::years::DAY;
use crate::sandbox::years::life::Tally;
use crate::sandbox::years::planted::Planted;
use crate::secret::Secret;

/// One vendor: what bearerd is told, who answers, and what counts as bounded.
pub(super) struct Plan {
    /// The configuration, whole.
    pub(super) configuration: String,
    /// Who answers to token exchanges and to the app's calls.
    pub(super) vendor: Arc<dyn Simulator>,
    /// What the app asks for: a route, a method, and the path at the vendor.
    pub(super) calls: &'static [(&'static str, &'static str, &'static str)],
    /// How wrong the wall clock gets at the most. Where the vendor dates tokens or assertions by its own clock,
    /// more than a minute is more than anybody can make good.
    pub(super) clock_error: Duration,
    /// How long the vendor is in trouble at the most. Each try of that time costs the test its signature.
    pub(super) longest_trouble: Duration,
    /// So long after the last trouble all is well again.
    pub(super) recovery: Duration,
    /// How many exchanges there are at the most.
    pub(super) calls_at_most: CallsAtMost,
    /// What a vendor never has to complain about.
    pub(super) never: &'static [&'static str],
    /// Who helps when bearerd calls for a person. Without one nobody ever has to.
    pub(super) person: Option<Person>,
    /// What others do to the same account now and then.
    pub(super) others: Option<Box<dyn Fn() + Send + Sync>>,
    /// Looked at whenever all is well again: whether something was lost.
    pub(super) keeps: Option<Keeps>,
    /// Looked at in the end.
    pub(super) in_the_end: Option<Verdict>,
    /// Where its files lie, until the life is over.
    pub(super) folder: Option<TempDir>,
    /// A fault that this bearerd has, to see that it is found.
    pub(super) planted: Option<Planted>,
}

/// Says whether a secret was lost.
pub(super) type Keeps = Box<dyn FnMut(&Keeper, Moment) -> Result<(), String> + Send>;

/// Says whether the life as a whole was as it should be.
pub(super) type Verdict = Box<dyn Fn(&Tally) -> Result<(), String> + Send + Sync>;

/// Makes the plan of a vendor that lives by this clock.
pub(super) type Planning = fn(&Clock) -> Plan;

/// Exchanges with token services at the most.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallsAtMost {
    /// On each day.
    pub(super) day: f64,
    /// More on each day on which the vendor is in trouble.
    pub(super) bad_day: f64,
    /// More with each restart, and with each help of a person.
    pub(super) restart: f64,
}

/// A person.
pub(super) struct Person {
    /// How long they take at the most.
    pub(super) answers_within: Duration,
    /// What they do.
    pub(super) remedy: Remedy,
}

/// What a person does.
pub(super) enum Remedy {
    /// Brings a new token, which ends then, by `bearerd set`.
    Set(&'static str, Box<dyn Fn() -> (Secret, Timestamp) + Send + Sync>),
    /// Writes a new secret into its file.
    Write(PathBuf, Box<dyn Fn() -> String + Send + Sync>),
    /// Logs in.
    LogIn(&'static str, Box<dyn Fn() -> Minted + Send + Sync>),
}

impl Plan {
    /// A vendor whose tokens count from their receipt, and who needs no person.
    pub(super) fn new(
        configuration: String,
        vendor: Arc<dyn Simulator>,
        calls: &'static [(&'static str, &'static str, &'static str)],
        calls_at_most: CallsAtMost,
    ) -> Self {
        Self {
            configuration,
            vendor,
            calls,
            clock_error: Duration::from_secs(3600),
            longest_trouble: 5 * DAY,
            // The longest pause between tries is five minutes.
            recovery: Duration::from_secs(900),
            calls_at_most,
            never: &["is missing", "does not belong", "more than once", "is not a"],
            person: None,
            others: None,
            keeps: None,
            in_the_end: None,
            folder: None,
            planted: None,
        }
    }
}
