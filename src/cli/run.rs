//! `bearerd run`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Running, StartError};
use crate::cli::exit::Exit;
use crate::cli::{ConfigFile, output};
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
pub fn run(arguments: &Arguments) -> ExitCode {
    memory::keep_little();
    // Before there are threads: it takes variables out of the environment.
    let inherited = Inherited::of_process();
    let mut environment = Environment::of_process();
    environment.inherited = inherited;
    let loaded = match arguments.file.load(&environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::talk(problems);
            return Exit::Configuration.into();
        }
    };
    environment.confinement = match app::confine(&loaded, &environment) {
        Ok(confinement) => confinement,
        Err(error) => {
            let exit = match error {
                ConfinementError::NotStrict(_) => Exit::Configuration,
                ConfinementError::Helper(_) => Exit::Internal,
            };
            return failed(&error, exit);
        }
    };
    let clock = Clock::system();
    let logs = match telemetry::start(&loaded.config.server.log, &clock) {
        Ok(logs) => logs,
        Err(error) => return failed(&error, Exit::Internal),
    };
    memory::forget_start();
    match control_thread() {
        Ok(runtime) => {
            let exit = runtime.block_on(live(loaded, environment, clock, logs));
            // A look-up that hangs must not hold the end up.
            runtime.shutdown_timeout(Duration::from_millis(100));
            exit
        }
        Err(error) => failed(&error, Exit::Internal),
    }
}

fn failed(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    output::talk(format_args!("bearerd: {error}"));
    exit.into()
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
async fn live(loaded: Loaded, environment: Environment, clock: Clock, logs: Logs) -> ExitCode {
    // Signals that come while it starts are obeyed as soon as it has.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error, Exit::Internal),
    };
    let mut running = match app::start(loaded, environment, clock, Some(logs)).await {
        Ok(running) => running,
        Err(error) => {
            let exit = match error {
                StartError::Bind(BindError { fault: Fault::Machine, .. }) => Exit::Unavailable,
                StartError::Store(StoreFault::Open(OpenError { fault: OpenFault::InUse, .. })) => {
                    Exit::Unavailable
                }
                StartError::Bind(_) | StartError::Configuration(_) | StartError::Store(_) => {
                    Exit::Configuration
                }
                StartError::Machine(_) => Exit::Internal,
            };
            return failed(&error, exit);
        }
    };
    obey(&mut running, &mut signals).await;
    Exit::Done.into()
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
