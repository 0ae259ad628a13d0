//! `bearerd presets [NAME]`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::config::preset::{PRESETS, Preset};

/// The arguments of `bearerd presets`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The preset to print; all are listed without it
    pub name: Option<String>,
}

/// Lists the presets, or prints one as it is laid under a credential.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Some(name) = &arguments.name else { return output::data(table()) };
    match Preset::named(name) {
        Some(preset) => output::data(preset.text),
        None => unknown(name),
    }
}

/// Tells that there is no such preset.
pub(super) fn unknown(name: &str) -> ExitCode {
    let meant =
        Preset::nearest(name).map_or_else(String::new, |near| format!("; did you mean `{}`?", near.name));
    output::talk(format_args!("bearerd: there is no preset `{name}`{meant}\n`bearerd presets` lists them"));
    Exit::Usage.into()
}

/// A line each: name, parameters that it needs, what it is for.
fn table() -> String {
    let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or_default();
    let mut table = String::new();
    for preset in PRESETS {
        // Writing to a text cannot fail.
        let _ = writeln!(table, "{:width$}  {}", preset.name, preset.summary());
    }
    table
}
