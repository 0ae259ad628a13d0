//! What the process gives up before it begins, so that who breaks into it finds little.
//!
//! ```text
//! environment overwritten -> no dumps -> helper started -> no new privileges -> files -> ports -> system calls
//!                                          │ (only if the configuration names commands)
//!                                          └── runs those commands, and nothing else, outside of all this
//! ```
//!
//! All of it happens while there is one thread, and none of it can be taken back: a reload that [`Needs`]
//! more has to be a restart. Each [`Measure`] that this machine does not have is told and counted, and
//! `sandbox = "strict"` refuses to run without it. Only Linux has them.

mod command;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod linux;
mod needs;

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use crate::secret;

pub use command::{Command, ENVIRONMENT};
#[cfg(target_os = "linux")]
pub use helper::{ARGUMENT as HELPER, serve};
pub use needs::Needs;

/// `[server] sandbox`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// The process keeps what it was given: no measure but those against dumps.
    Off,
    /// All that this machine has.
    #[default]
    On,
    /// All measures, or it does not run.
    Strict,
}

/// One thing that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Secrets that came by the environment are overwritten in `/proc/PID/environ`.
    Environment,
    /// No core dumps, and no other process of this user may look into it.
    Dumps,
    /// The secrets that tokens are made with are not written to swap.
    Memory,
    /// Programs that it starts gain no privileges.
    Privileges,
    /// Files outside of the configured folders and what look-ups and TLS read.
    Files,
    /// TCP ports that the configuration does not name.
    Ports,
    /// System calls that a proxy does not need, starting programs among them.
    SystemCalls,
}

impl Measure {
    /// All of them, in the order in which they are taken.
    pub const ALL: [Self; 7] = [
        Self::Environment,
        Self::Dumps,
        Self::Memory,
        Self::Privileges,
        Self::Files,
        Self::Ports,
        Self::SystemCalls,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Dumps => "dumps",
            Self::Memory => "memory",
            Self::Privileges => "privileges",
            Self::Files => "files",
            Self::Ports => "ports",
            Self::SystemCalls => "system_calls",
        }
    }
}

/// What came of a measure: why it does not hold, if it does not.
pub type Outcome = Result<(), String>;

/// What this process gave up at its start. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Confinement(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    outcomes: Vec<(Measure, Outcome)>,
    /// What it may still do; `None` if nothing was given up.
    granted: Option<Needs>,
    /// Whether it may connect and listen only at the ports of `granted`.
    ports_hold: bool,
}

/// Why a process does not run.
#[derive(Debug)]
pub enum ConfinementError {
    /// `sandbox = "strict"`, and these do not hold.
    NotStrict(Vec<(Measure, String)>),
    /// The process that runs commands did not start.
    Helper(std::io::Error),
}

impl fmt::Display for ConfinementError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStrict(missing) => {
                formatter.write_str("`sandbox = \"strict\"`, and this machine cannot hold it:")?;
                for (measure, reason) in missing {
                    write!(formatter, "\n  {}: {reason}", measure.as_str())?;
                }
                formatter.write_str(
                    "\n`bearerd doctor` says what to do; `sandbox = \"on\"` runs with what there is",
                )
            }
            Self::Helper(error) => write!(
                formatter,
                "the helper that runs the configured commands cannot start: {error}; `sandbox = \"off\"` \
                 does without it"
            ),
        }
    }
}

impl std::error::Error for ConfinementError {}

impl Confinement {
    /// Gives up what is not among `needs`, and overwrites the values of these `variables` in the block
    /// that the process was started with. Call it once, while there is one thread.
    pub fn of_process(
        sandbox: Sandbox,
        needs: Needs,
        variables: &[impl AsRef<OsStr>],
    ) -> Result<Self, ConfinementError> {
        let mut taken = Taken::default();
        taken.note(Measure::Environment, environment(variables));
        taken.note(Measure::Dumps, dumps());
        taken.note(Measure::Memory, secret::prepare());
        if sandbox != Sandbox::Off {
            #[cfg(target_os = "linux")]
            if !needs.commands.is_empty() {
                helper::Helper::start(needs.commands.clone()).map_err(ConfinementError::Helper)?;
            }
            taken.give_up(&needs, sandbox);
            taken.granted = Some(needs);
        }
        let missing = taken.outcomes.iter();
        let missing: Vec<_> = missing
            .filter_map(|(measure, outcome)| Some((*measure, outcome.as_ref().err()?.clone())))
            .collect();
        if sandbox == Sandbox::Strict && !missing.is_empty() {
            return Err(ConfinementError::NotStrict(missing));
        }
        Ok(Self(Arc::new(taken)))
    }

    /// What of all measures this machine has, without taking any.
    pub fn possible(sandbox: Sandbox) -> Vec<(Measure, Outcome)> {
        let memory = (Measure::Memory, secret::prepare());
        if sandbox == Sandbox::Off { vec![memory] } else { [vec![memory], possible()].concat() }
    }

    /// What came of each measure that was tried.
    pub fn outcomes(&self) -> &[(Measure, Outcome)] {
        &self.0.outcomes
    }

    /// Whether a measure holds.
    pub fn holds(&self, measure: Measure) -> bool {
        self.0.outcomes.iter().any(|(known, outcome)| *known == measure && outcome.is_ok())
    }

    /// What of `needs` this process cannot do any more, in words.
    pub fn lacks(&self, needs: &Needs) -> Vec<String> {
        self.0.granted.as_ref().map(|granted| granted.lacks(needs, self.0.ports_hold)).unwrap_or_default()
    }

    /// Logs what holds, and what does not.
    pub fn tell(&self) {
        let mut holds = Vec::new();
        for (measure, outcome) in &self.0.outcomes {
            match outcome {
                Ok(()) => holds.push(measure.as_str()),
                Err(reason) => {
                    tracing::warn!(measure = measure.as_str(), reason, "not confined in this");
                }
            }
        }
        tracing::info!(measures = holds.join(","), "confined");
    }
}

#[cfg(target_os = "linux")]
impl Taken {
    fn note(&mut self, measure: Measure, outcome: Outcome) {
        self.outcomes.push((measure, outcome));
    }

    fn give_up(&mut self, needs: &Needs, sandbox: Sandbox) {
        self.note(Measure::Privileges, linux::privileges());
        self.note(Measure::Files, linux::files(needs));
        let ports = match needs.passing_port() {
            Some((port, why)) if sandbox != Sandbox::Strict => Err(format!(
                "port {port} {why}, so that the next configuration may have another; `sandbox = \"strict\"` \
                 confines it all the same"
            )),
            _ => linux::ports(needs),
        };
        self.ports_hold = ports.is_ok();
        self.note(Measure::Ports, ports);
        self.note(Measure::SystemCalls, linux::system_calls());
    }
}

#[cfg(not(target_os = "linux"))]
impl Taken {
    fn note(&mut self, measure: Measure, outcome: Outcome) {
        self.outcomes.push((measure, outcome));
    }

    fn give_up(&mut self, _: &Needs, _: Sandbox) {
        for measure in [Measure::Privileges, Measure::Files, Measure::Ports, Measure::SystemCalls] {
            self.note(measure, Err(ELSEWHERE.to_owned()));
        }
    }
}

/// What is said of a measure that only Linux has.
#[cfg(not(target_os = "linux"))]
const ELSEWHERE: &str = "only Linux has it";

/// Has a process that does not run for long leave no core dumps, and keep others of its user out, as far as this
/// machine lets it.
pub fn leave_no_dumps() {
    // It may have been started by who sees all of it anyway: nothing that a command does depends on it.
    let _ = dumps();
}

#[cfg(target_os = "linux")]
use linux::{dumps, environment, possible};

#[cfg(not(target_os = "linux"))]
fn possible() -> Vec<(Measure, Outcome)> {
    let measures = [Measure::Files, Measure::Ports, Measure::SystemCalls];
    measures.map(|measure| (measure, Err(ELSEWHERE.to_owned()))).into()
}

#[cfg(not(target_os = "linux"))]
fn environment(_: &[impl AsRef<OsStr>]) -> Outcome {
    Err(ELSEWHERE.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn dumps() -> Outcome {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| format!("core dumps cannot be switched off: {error}"))
}
