//! `bearerd man`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

/// The arguments of `bearerd man`.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the manual page: bearerd's own, and a section for each command.
pub fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    let unwritten =
        |error| Failure::new(format_args!("cannot write the manual page: {error}"), Exit::Internal);
    page().map(output::data).map_err(unwritten)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = super::Arguments::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    for part in command.get_subcommands() {
        let part = Man::new(part.clone());
        part.render_synopsis_section(&mut page)?;
        part.render_description_section(&mut page)?;
        part.render_options_section(&mut page)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manual_page_has_a_section_for_each_command() {
        let page = String::from_utf8(super::page().expect("a page")).expect("text");
        assert!(page.contains(".TH bearerd 1") && page.contains("bearerd\\-refresh"), "{page}");
    }
}
