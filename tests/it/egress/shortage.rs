//! A process that may open no more files.

use std::fs;

use rustix::process::{Resource, Rlimit, prlimit};

use super::to;
use crate::support::{Sidecar, Upstream, canary};

#[test]
fn a_lack_of_file_descriptors_is_told_apart_from_an_upstream_that_is_not_there_and_passes() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::ready(&to(&upstream.origin(), &canary::token()));
    let process = sidecar.process();
    // A limit is the number that no new descriptor reaches.
    let lowest_free = || {
        let is_free = |number: &u64| {
            let descriptor = format!("/proc/{}/fd/{number}", process.as_raw_nonzero());
            fs::symlink_metadata(descriptor).is_err()
        };
        (0..1024).find(is_free).expect("a number")
    };
    let limit = |current: u64| {
        let before =
            prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(current), maximum: Some(4096) });
        before.expect("a limit of our own process");
    };
    let client = sidecar.app();
    let head = |target: &str| client.head("GET", target, "", 0);
    let mut app = client.connect();
    app.send(head("/nowhere"));
    assert_eq!(app.answer().status(), 404);
    limit(lowest_free());
    app.send(head("/api/"));
    let answer = app.answer();
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    limit(4096);
    app.send(head("/api/"));
    assert_eq!(app.answer().status(), 200);
}
