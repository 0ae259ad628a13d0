//! `bearerd forecast`.

mod page;

use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output, runtime};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::credential::CredentialSpec;
use crate::credential::store::archive::Archive;
use crate::credential::store::file::snapshot;
use crate::credential::store::spec::StoreSpec;
use crate::forecast::{Forecast, certificates, forecast, prepare};

/// The arguments of `bearerd forecast`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    /// How far to look ahead
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub days: u32,
    /// Print JSON, with times in RFC 3339
    #[arg(long)]
    pub json: bool,
}

/// Lives through the days to come in virtual time, from what the store holds, and tells what happens. Ends
/// with 1 if something ends that nobody renews. Nobody is asked for a token and nothing is written.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = arguments.file.load(&Environment::of_process())?.config;
    Ok(tell(&look_ahead(&config, arguments.days)?, arguments.json))
}

fn look_ahead(config: &Config, days: u32) -> Result<Forecast, Failure> {
    let clock = Clock::system();
    let real = runtime()?;
    let (specs, problems) = real.block_on(prepare(&config.credentials, &clock));
    let records = real.block_on(records(config, &clock));
    drop(real);
    let mut virtual_time = tokio::runtime::Builder::new_current_thread();
    let virtual_time = virtual_time.enable_all().start_paused(true).build().map_err(Failure::machine)?;
    let mut told = virtual_time.block_on(forecast(specs, records.as_ref(), clock.wall(), days));
    certificates(config, &mut told);
    told.problems = problems;
    Ok(told)
}

/// What the store holds, if it can be read now. A bearerd that runs goes on writing into it.
async fn records(config: &Config, clock: &Clock) -> Option<Archive> {
    let StoreSpec::File(spec) = &config.store else {
        if config.credentials.iter().any(|spec| holds_more_than_its_inputs(spec)) {
            output::talk(
                "bearerd: the store is in memory: what a running bearerd was told and given since its start (tokens that \
                 were set, logins, how long tokens and secrets still live) is not known here",
            );
        }
        return None;
    };
    let starting = spec.path.try_exists().is_ok_and(|is_there| !is_there);
    if starting {
        output::talk(format_args!(
            "bearerd: {} is not there yet: the forecast begins without records",
            spec.path.display()
        ));
        return None;
    }
    let told = |error: &dyn std::fmt::Display| {
        output::talk(format_args!("bearerd: {error}; the forecast begins without its records"));
    };
    let keys = spec.keys(clock).await.inspect_err(|fault| told(fault)).ok()?;
    snapshot(&spec.path, &keys).inspect_err(|error| told(error)).ok()
}

/// Whether a process that runs may know more of a credential than its configuration tells.
fn holds_more_than_its_inputs(spec: &CredentialSpec) -> bool {
    spec.flow.is_interactive() || spec.rotation.is_some() || spec.deadline.is_some() || !spec.is_renewable()
}

fn tell(forecast: &Forecast, as_json: bool) -> ExitCode {
    for problem in &forecast.problems {
        output::talk(format_args!("bearerd: an input cannot be read, and is taken for granted: {problem}"));
    }
    let text = if as_json {
        serde_json::to_string_pretty(forecast).map(|text| text + "\n")
    } else {
        Ok(page::page(forecast))
    };
    let Ok(text) = text else { return Exit::Internal.into() };
    let written = output::data(text);
    if forecast.breaks() && written == Exit::Done.into() { Exit::No.into() } else { written }
}
