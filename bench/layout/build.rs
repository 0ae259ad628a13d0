//! Has the linker lay side by side what runs while bearerd starts and serves (`layout.py` says why).

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=bench/layout/layout.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|set| set == value);
    let has_such_a_linker = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    // Other builds are linked more often than they are started.
    if has_such_a_linker && is("PROFILE", "release") {
        let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
        println!("cargo:rustc-link-arg-bins=-Wl,--script={folder}/bench/layout/layout.ld");
    }
}
