//! `bearerd run`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Running, StartError};
use crate::cli::ConfigFile;
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::{Environment, Loaded};
use crate::confinement::ConfinementError;
use crate::credential::store::file::{OpenError, OpenFault};
use crate::credential::store::spec::StoreFault;
use crate::memory;
use crate::server::BindError;
use crate::server::inherited::Inherited;
use crate::server::listener::Fault;
use crate::telemetry::{self, Logs};

/// Threads for what would block the control thread, such as reading files and looking names up.
const BLOCKING_THREADS: usize = 4;
/// Their stacks.
const STACK: usize = 512 * 1024;

/// The arguments of `bearerd run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Runs the proxy until it is told to end.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    memory::keep_little();
    // Before there are threads: it takes variables out of the environment.
    let inherited = Inherited::of_process();
    let mut environment = Environment::of_process();
    environment.inherited = inherited;
    let loaded = arguments.file.load(&environment)?;
    environment.confinement = app::confine(&loaded, &environment).map_err(|error| {
        let exit = match error {
            ConfinementError::NotStrict(_) => Exit::Configuration,
            ConfinementError::Helper(_) => Exit::Internal,
        };
        Failure::new(error, exit)
    })?;
    let clock = Clock::system();
    let logs = telemetry::start(&loaded.config.server.log, &clock);
    let logs = logs.map_err(|error| Failure::new(error, Exit::Internal))?;
    memory::forget_start();
    let runtime = control_thread().map_err(Failure::machine)?;
    let ended = runtime.block_on(live(loaded, environment, clock, logs));
    // A look-up that hangs must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// The runtime of the control plane: this very thread, and a few that block.
fn control_thread() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
}

/// Starts, obeys signals, ends.
async fn live(
    loaded: Loaded,
    environment: Environment,
    clock: Clock,
    logs: Logs,
) -> Result<ExitCode, Failure> {
    // Signals that come while it starts are obeyed as soon as it has.
    let mut signals = Signals::new().map_err(Failure::machine)?;
    let started = app::start(loaded, environment, clock, Some(logs)).await;
    let mut running = started.map_err(|error| {
        let exit = match error {
            StartError::Bind(BindError { fault: Fault::Machine, .. }) => Exit::Unavailable,
            StartError::Store(StoreFault::Open(OpenError { fault: OpenFault::InUse, .. })) => {
                Exit::Unavailable
            }
            StartError::Bind(_) | StartError::Configuration(_) | StartError::Store(_) => Exit::Configuration,
            StartError::Machine(_) => Exit::Internal,
        };
        Failure::new(error, exit)
    })?;
    obey(&mut running, &mut signals).await;
    Ok(Exit::Done.into())
}

/// Obeys signals until it has ended.
async fn obey(running: &mut Running, signals: &mut Signals) {
    let mut is_ending = false;
    loop {
        let told = tokio::select! {
            () = running.ended() => return,
            told = signals.next() => told,
        };
        match told {
            Told::Reload => {
                tracing::info!("SIGHUP: reading the configuration again");
                drop(running.request_reload());
            }
            Told::End if is_ending => {
                tracing::warn!("the second signal: ending at once");
                return;
            }
            Told::End => {
                tracing::info!("told to end; a second signal ends at once");
                is_ending = true;
                running.quit();
            }
        }
    }
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// A file that may not grow is an error of its writing, and not the end of the process.
    _too_large: Signal,
}

/// What signals say.
enum Told {
    Reload,
    End,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
        }
    }
}
