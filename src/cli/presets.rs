//! `bearerd presets [NAME|FILE]`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::config::preset::{PRESETS, Preset, own};

/// The arguments of `bearerd presets`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The preset to print, or the file of one's own preset to check and print; all are listed without it
    pub name: Option<String>,
}

/// Lists the presets, or prints one as it is laid under a credential.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Some(name) = &arguments.name else { return output::data(table()) };
    if is_file(name) {
        return own(Path::new(name));
    }
    match Preset::named(name) {
        Some(preset) => output::data(preset.text),
        None => unknown(name),
    }
}

/// Whether this is a file's name: no preset is called so.
pub(super) fn is_file(name: &str) -> bool {
    name.contains('/') || Path::new(name).extension().is_some()
}

/// Checks a file that `[presets]` may name, and prints it.
fn own(path: &Path) -> ExitCode {
    match own::File::read(path) {
        Ok(file) => output::data(file.preset().text),
        Err(problems) => {
            output::talk(problems);
            Exit::Configuration.into()
        }
    }
}

/// Tells that there is no such preset.
pub(super) fn unknown(name: &str) -> ExitCode {
    let meant =
        Preset::nearest(name).map_or_else(String::new, |near| format!("; did you mean `{}`?", near.name));
    output::talk(format_args!(
        "bearerd: there is no preset `{name}`{meant}\n`bearerd presets` lists them, and one of your own is named by its file, \
         such as ./{name}.toml"
    ));
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
