//! The end of the process.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::configuration::fixed;
use crate::support::{Reply, Sidecar, Upstream, canary};

#[test]
fn sigterm_lets_requests_in_flight_end_and_takes_no_new_ones() {
    let upstream = Upstream::answering(|_| Reply::text("late").after(Duration::from_secs(1)));
    let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/x", "", 0));
    upstream.wait_for(1);
    bearerd.signal(Signal::TERM);
    bearerd.wait("a closed door", || TcpStream::connect(app.address()).is_err().then_some(()));
    let admin = bearerd.admin();
    assert_eq!((admin.get("/live").status(), admin.get("/ready").status()), (200, 503));
    assert_eq!(connection.answer().text(), "late");
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = Upstream::start();
    let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/x", "", 0));
    assert_eq!(connection.answer().status(), 200);
    bearerd.signal(Signal::TERM);
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}
