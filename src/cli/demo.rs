//! `bearerd demo`: four token services, bearerd and an app in one process, all on loopback.
//!
//! The demo tells what happens and checks each statement against what the vendors recorded; it
//! succeeds only if all of them are true.

mod acts;
mod caller;
mod page;
mod stage;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use crate::app::{self, Running};
use crate::cli::exit::{Exit, Failure};
use crate::cli::runtime;
use crate::clock::Clock;
use crate::config::{self, Environment};
use crate::sandbox::{Fault, Part, Sandbox, ScriptedFault, Vendor};
use crate::server::Address;
use caller::Caller;
use page::Page;
use stage::Stage;

/// The arguments of `bearerd demo`.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Plays all acts; succeeds if everything that was told is true.
pub fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    let played = runtime()?.block_on(play(&Clock::system()));
    let broke_off = |error| Failure::new(format_args!("the demo broke off: {error}"), Exit::Internal);
    let is_true = played.map_err(broke_off)?;
    Ok(if is_true { Exit::Done } else { Exit::No }.into())
}

async fn play(clock: &Clock) -> io::Result<bool> {
    let started = clock.boot();
    let sandbox = Sandbox::start(0, &short_lives(), clock).await?;
    let running = start(&sandbox, clock).await?;
    let app = Caller::new(address(running.listener("app"))?);
    let admin = Caller::new(address(Some(running.admin()))?);
    let mut stage = Stage::new(Page::new(), sandbox, app, admin);
    stage.page.title(
        "bearerd demo",
        "An app, bearerd and four simulated token services, all in this process and on loopback.\n\
         Tokens live for a few seconds here, so that their renewals can be watched.",
    );
    stage.wait_until_ready().await?;

    acts::calls(&mut stage).await?;
    acts::exchanges(&mut stage).await?;
    acts::renewals(&mut stage).await?;
    acts::revocations(&mut stage).await?;
    acts::secrecy(&mut stage);

    let all_true = stage.conclude();
    let took = (clock.boot() - started).as_secs_f64();
    let (init, sandbox) = ("bearerd init", "bearerd sandbox");
    stage.page.end(&format!(
        "It took {took:.1} s. Go on with `{init}`, or with `{sandbox}` for these vendors to try."
    ));
    running.stop().await;
    Ok(all_true)
}

/// Starts a bearerd in front of the sandbox, in this process, without a file.
async fn start(sandbox: &Sandbox, clock: &Clock) -> io::Result<Running> {
    let environment = Environment::of_process();
    let text = sandbox.configuration("127.0.0.1:0", "127.0.0.1:0");
    let loaded = config::load_text("demo.toml", &text, &environment)
        .map_err(|problems| io::Error::other(problems.to_string()))?;
    app::start(loaded, environment, clock.clone(), None).await.map_err(io::Error::other)
}

fn address(bind: Option<&Address>) -> io::Result<SocketAddr> {
    match bind {
        Some(Address::Tcp(address)) => Ok(*address),
        _ => Err(io::Error::other("bearerd does not listen where it was told to")),
    }
}

/// Lifetimes short enough to watch a renewal.
fn short_lives() -> Vec<ScriptedFault> {
    let lives = |vendor: Vendor| {
        let lifetime = vendor.tour().lifetime?;
        Some(ScriptedFault { vendor, part: Part::Whole, fault: Fault::Expire(lifetime) })
    };
    Vendor::SHOWN.into_iter().filter_map(lives).collect()
}
