//! How commands end: with one of those codes of `sysexits.h` that fit, and a reason if it is not well.

use std::fmt::Display;
use std::process::ExitCode;

use crate::cli::output;
use crate::config::Problems;

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// The answer is no: `explain` would not forward, `demo` found something untrue, `doctor`
    /// something to mend.
    No = 1,
    /// `EX_USAGE`: the arguments are wrong.
    Usage = 64,
    /// `EX_UNAVAILABLE`: nobody answers, an address is in use, a probe is negative.
    Unavailable = 69,
    /// `EX_SOFTWARE`: a fault of bearerd or of the machine under it.
    Internal = 70,
    /// `EX_CONFIG`: the configuration is missing or wrong.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub struct Failure {
    told: String,
    exit: Exit,
}

impl Failure {
    /// A reason, for people.
    pub fn new(reason: impl Display, exit: Exit) -> Self {
        Self { told: format!("bearerd: {reason}"), exit }
    }

    /// The machine lacks what the command itself needs.
    pub fn machine(reason: impl Display) -> Self {
        Self::new(format_args!("cannot start: {reason}"), Exit::Internal)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self { told: problems.to_string(), exit: Exit::Configuration }
    }
}

/// Ends a command; why it ends early is told.
pub fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|Failure { told, exit }| {
        output::talk(told);
        exit.into()
    })
}
