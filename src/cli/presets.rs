//! `bearerd presets [NAME|FILE]`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::config::preset::own::File;
use crate::config::preset::{PRESETS, Preset};

/// The arguments of `bearerd presets`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The preset to print, or the file of one's own preset to check and print; all are listed without it
    pub name: Option<String>,
}

/// Lists the presets, or prints one as it is laid under a credential; a file is checked before.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(name) = &arguments.name else { return Ok(output::data(table())) };
    if is_file(name) {
        return Ok(output::data(File::read(Path::new(name))?.preset().text));
    }
    let preset = Preset::named(name).ok_or_else(|| unknown(name))?;
    Ok(output::data(preset.text))
}

/// Whether this is a file's name: no preset is called so.
pub(super) fn is_file(name: &str) -> bool {
    name.contains('/') || Path::new(name).extension().is_some()
}

/// There is no such preset.
pub(super) fn unknown(name: &str) -> Failure {
    let meant =
        Preset::nearest(name).map_or_else(String::new, |near| format!("; did you mean `{}`?", near.name));
    let reason = format_args!(
        "there is no preset `{name}`{meant}\n`bearerd presets` lists them, and one of your own is named by its file, such \
         as ./{name}.toml"
    );
    Failure::new(reason, Exit::Usage)
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
