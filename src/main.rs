//! The thin `main` of bearerd; see the library for the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    bearerd::cli::main()
}
