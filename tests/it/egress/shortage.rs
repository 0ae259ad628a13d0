//! A process that may open no more files.

use super::to;
use crate::support::{Sidecar, Upstream, canary};

#[test]
fn a_lack_of_file_descriptors_is_told_apart_from_an_upstream_that_is_not_there_and_passes() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::ready(&to(&upstream.origin(), &canary::token()));
    let client = sidecar.app();
    let head = |target: &str| client.head("GET", target, "", 0);
    let mut app = client.connect();
    app.send(head("/nowhere"));
    assert_eq!(app.answer().status(), 404);
    sidecar.limit_descriptors(0);
    app.send(head("/api/"));
    let answer = app.answer();
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    sidecar.limit_descriptors(1024);
    app.send(head("/api/"));
    assert_eq!(app.answer().status(), 200);
}
