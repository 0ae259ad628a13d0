//! The thin `main` of bearerd; see the library for the map.

use std::process::ExitCode;

/// Nothing that was given back keeps its content.
#[global_allocator]
static ALLOCATOR: bearerd::memory::wiping::Wiping = bearerd::memory::wiping::Wiping;

fn main() -> ExitCode {
    bearerd::cli::main()
}
