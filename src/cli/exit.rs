//! Exit codes: those of `sysexits.h` that fit.

use std::process::ExitCode;

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
