//! Tests against servers and clients that others wrote.

#[test]
fn the_version_is_a_version() {
    assert!(env!("CARGO_PKG_VERSION").split('.').count() == 3);
}
