//! What only a release build is told of what runs often, and the other tests would not notice.

use std::fs;
use std::process::{Command, Output};

/// Calls a compiler as cargo does.
fn wrapped(compiler: &str, arguments: &[&str]) -> Output {
    let wrapper = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/profile/rustc");
    Command::new(wrapper).arg(compiler).args(arguments).output().expect("the wrapper runs")
}

#[test]
fn a_release_build_is_guided_by_a_profile_and_no_other_is() {
    let said = |level: &str| {
        let output = wrapped("echo", &["--crate-name", "one", "-C", level]).stdout;
        String::from_utf8(output).expect("text")
    };
    assert_eq!(said("opt-level=1"), "--crate-name one -C opt-level=1\n");
    let release = said("opt-level=3");
    assert!(release.starts_with("--crate-name one -C opt-level=3 -Cprofile-use=/"), "{release}");
}

#[test]
fn the_compiler_takes_the_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("one.rs");
    fs::write(&source, "pub fn one() -> u8 { 1 }").expect("a file");
    let output = wrapped(
        "rustc",
        &[
            source.to_str().expect("a path"),
            "--crate-type=lib",
            "-C",
            "opt-level=3",
            "--out-dir",
            folder.path().to_str().expect("a path"),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
