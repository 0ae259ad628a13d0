//! Why a running bearerd did not do what it was asked, and with which exit code that ends.

use std::fmt;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;

use crate::cli::client::{Address, Reply};
use crate::cli::exit::Exit;
use crate::cli::output;

/// Why there is no good reply.
#[derive(Debug)]
pub enum Failure {
    /// The arguments or the environment are wrong.
    Usage(String),
    /// Nobody answers there.
    Unreachable(Address, String),
    /// The admin token cannot be read.
    Token(String),
    /// bearerd answered, but not with success.
    Refused(StatusCode, Problem),
    /// A login came to nothing.
    Login(String),
    /// The machine lacks what the client itself needs.
    Machine(String),
}

/// What is read of a problem document (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    detail: String,
    code: String,
    problems: Vec<String>,
}

impl Failure {
    /// bearerd answered, but not with success.
    pub fn refused(reply: &Reply) -> Self {
        Self::Refused(reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    /// The machine lacks what the client itself needs.
    pub fn machine(error: &std::io::Error) -> Self {
        Self::Machine(error.to_string())
    }

    /// Tells it on standard error; gives the exit code.
    pub fn tell(&self) -> ExitCode {
        output::talk(format_args!("bearerd: {self}"));
        self.exit().into()
    }

    /// Whether a person mistyped a password, and may type another.
    pub fn may_be_typed_again(&self) -> bool {
        matches!(self, Self::Refused(_, problem) if problem.code == "wrong_password")
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Token(_) | Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, _) => Exit::Configuration,
            Self::Unreachable(..) | Self::Refused(..) | Self::Login(_) => Exit::Unavailable,
            Self::Machine(_) => Exit::Internal,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => formatter.write_str(message),
            Self::Unreachable(address, reason) => write!(
                formatter,
                "no bearerd answers at {address}: {reason}\nIs it running? `--admin ADDRESS` names another admin listener."
            ),
            Self::Token(reason) => write!(formatter, "the admin token cannot be used: {reason}"),
            Self::Refused(StatusCode::UNAUTHORIZED, _) => formatter.write_str(
                "the admin token is missing or wrong: set $BEARERD_ADMIN_TOKEN, or name the running bearerd's configuration with --config",
            ),
            Self::Refused(_, problem) if !problem.detail.is_empty() => {
                formatter.write_str(&problem.detail)?;
                problem.problems.iter().try_for_each(|problem| write!(formatter, "\n\n{problem}"))
            }
            Self::Refused(status, _) => write!(formatter, "it answered {status}"),
            Self::Login(detail) => write!(formatter, "the login came to nothing: {detail}"),
            Self::Machine(reason) => write!(formatter, "cannot ask: {reason}"),
        }
    }
}
