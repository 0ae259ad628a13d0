//! `bearerd store`: what a store holds, taken out and put in, and keys for it. While a bearerd runs, the
//! file is its alone.

mod list;

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output, runtime};
use crate::clock::Clock;
use crate::config::Environment;
use crate::credential::store::archive::Archive;
use crate::credential::store::file::{ImportError, Keys, OpenError, OpenFault, import, read};
use crate::credential::store::seal::{Purpose, StoreKey};
use crate::credential::store::spec::StoreSpec;
use crate::secret::{Secret, SecretBuffer};

/// The arguments of `bearerd store`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with a store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what the store holds: names, states and times, no values
    List {
        /// Print JSON, with times in RFC 3339
        #[arg(long)]
        json: bool,
    },
    /// Write all of the store to standard output, sealed
    Export {
        /// A file with the key to seal it with [default: the store's own]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Put an export into the store, all of it or nothing
    Import {
        /// The export [default: standard input]
        export: Option<PathBuf>,
        /// A file with the key that it was sealed with [default: the store's own]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Overwrite what is newer, or another store
        #[arg(long)]
        force: bool,
    },
    /// Make a key for a store
    Key,
}

/// Does what the arguments say.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let clock = Clock::system();
    match &arguments.command {
        Command::Key => Ok(output::data([StoreKey::generate(&clock).expose(), b"\n"].concat())),
        Command::List { json } => open(arguments, &clock).map(|(path, _, archive)| {
            if *json {
                output::data(list::json(&archive, &clock))
            } else {
                output::data(list::table(&path, &archive, &clock))
            }
        }),
        Command::Export { key } => export(arguments, key.as_deref(), &clock),
        Command::Import { export, key, force } => {
            put_in(arguments, export.as_deref(), key.as_deref(), *force, &clock)
        }
    }
}

fn export(arguments: &Arguments, key: Option<&Path>, clock: &Clock) -> Result<ExitCode, Failure> {
    let (_, keys, archive) = open(arguments, clock)?;
    let key = archive_key(key, &keys)?;
    Ok(output::data(archive.write(&key, clock)))
}

fn put_in(
    arguments: &Arguments,
    export: Option<&Path>,
    key: Option<&Path>,
    force: bool,
    clock: &Clock,
) -> Result<ExitCode, Failure> {
    let (path, keys) = place(arguments, clock)?;
    let key = archive_key(key, &keys)?;
    let text = export.map_or_else(standard_input, fs::read_to_string);
    let text =
        text.map_err(|error| Failure::new(format_args!("the export cannot be read: {error}"), Exit::Usage))?;
    let archive = Archive::read(&text, &key).map_err(|error| {
        Failure::new(format_args!("the export cannot be used: {error}"), Exit::Configuration)
    })?;
    match import(&path, &keys, &archive, force, clock) {
        Ok(changed) => {
            let (all, store) = (archive.records.len(), path.display());
            output::talk(format_args!("bearerd: {changed} of {all} records were put into {store}"));
            Ok(Exit::Done.into())
        }
        Err(ImportError::Open(error)) => Err(unusable(&error)),
        Err(error) => Err(Failure::new(error, Exit::No)),
    }
}

fn standard_input() -> io::Result<String> {
    let mut input = io::stdin();
    if input.is_terminal() {
        output::talk("bearerd: reading the export from standard input");
    }
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    Ok(text)
}

/// The key of an export: the one in a file, or the store's own.
fn archive_key(file: Option<&Path>, keys: &Keys) -> Result<StoreKey, Failure> {
    let wrong = |path: &Path, why: String| {
        Failure::new(format_args!("the key in {} cannot be used: {why}", path.display()), Exit::Usage)
    };
    let text = match file {
        None => keys.current.clone(),
        Some(path) => {
            let opened = fs::File::open(path).and_then(|mut file| SecretBuffer::read(&mut file, 4096));
            Secret::from(opened.map_err(|error| wrong(path, error.to_string()))?)
        }
    };
    StoreKey::new(&text, Purpose::Archive)
        .map_err(|error| wrong(file.unwrap_or(Path::new("[store]")), error.to_string()))
}

/// Reads all of the configured store.
fn open(arguments: &Arguments, clock: &Clock) -> Result<(PathBuf, Keys, Archive), Failure> {
    let (path, keys) = place(arguments, clock)?;
    let archive = read(&path, &keys).map_err(|error| unusable(&error))?;
    Ok((path, keys, archive))
}

/// The file and the keys of the configured store.
fn place(arguments: &Arguments, clock: &Clock) -> Result<(PathBuf, Keys), Failure> {
    let loaded = arguments.file.load(&Environment::of_process())?;
    let StoreSpec::File(spec) = loaded.config.store else {
        let none = "the configuration has no `[store]` of kind `file`";
        return Err(Failure::new(none, Exit::Configuration));
    };
    let keys = runtime()?.block_on(spec.keys(clock));
    Ok((spec.path, keys.map_err(|fault| Failure::new(fault, Exit::Configuration))?))
}

fn unusable(error: &OpenError) -> Failure {
    let exit = match error.fault {
        OpenFault::InUse => Exit::Unavailable,
        _ => Exit::Configuration,
    };
    Failure::new(error, exit)
}
