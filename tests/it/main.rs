//! Tests of the built binary and of the library from outside.

#[test]
fn the_version_is_a_version() {
    assert!(env!("CARGO_PKG_VERSION").split('.').count() == 3);
}
