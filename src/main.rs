//! The thin `main` of bearerd; see the library for the map.

use std::process::ExitCode;

/// Nothing that was given back keeps its content.
#[global_allocator]
static ALLOCATOR: bearerd::memory::wiping::Wiping = bearerd::memory::wiping::Wiping;

// What unwinds a panic is part of the program: to load a library for it takes a twentieth of the start.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "there is no other way to name a library before those of the compiler; it declares nothing"
)]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

fn main() -> ExitCode {
    bearerd::cli::main()
}
