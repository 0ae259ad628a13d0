//! Reload: all or nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::support::configuration::{fixed, granted};
use crate::support::{Client, Issuer, PATIENCE, Reply, Sidecar, Upstream, canary};

#[test]
fn a_reload_takes_the_new_routes_and_keeps_the_token_of_an_unchanged_credential() {
    let (issuer, upstream, secret) = (Issuer::start(3600), Upstream::start(), canary::secret());
    let config = granted(&issuer, &secret, &upstream, "");
    let bearerd = Sidecar::ready(&config);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    bearerd.rewrite(&config.replace("path = \"/api\"", "path = \"/new\""));
    bearerd.signal(Signal::HUP);
    bearerd.wait("the new route", || (bearerd.app().get("/new/x").status() == 200).then_some(()));
    assert_eq!(bearerd.app().get("/api/x").status(), 404);
    assert_eq!(issuer.requests().len(), 1, "the credential did not change");
}

#[test]
fn a_changed_credential_starts_anew_and_a_removed_one_stops() {
    let (issuer, upstream) = (Issuer::start(3), Upstream::start());
    let (old, new) = (canary::secret(), canary::secret());
    let bearerd = Sidecar::ready(&granted(&issuer, &old, &upstream, "client_auth = \"post\""));
    bearerd.rewrite(&granted(&issuer, &new, &upstream, "client_auth = \"post\""));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    let exchanges = issuer.wait_for(2);
    assert_eq!(exchanges.last().expect("an exchange").form()["client_secret"], new);
    bearerd.rewrite(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.admin().get("/v1/credentials/api").status(), 404);
    let before = issuer.requests().len();
    // Longer than the lifetime of its tokens.
    thread::sleep(Duration::from_millis(3500));
    assert_eq!(issuer.requests().len(), before, "a removed credential is renewed no more");
}

/// A fixed credential of a name, with a token.
fn key(name: &str, token: &str) -> String {
    format!(
        "[credentials.{name}]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n"
    )
}

/// A route of a listener.
fn route_of(listener: &str, path: &str, upstream: &Upstream, credential: &str) -> String {
    format!(
        "[routes.{listener}-{}]\nlistener = \"{listener}\"\npath = \"{path}\"\nupstream = \"{}\"\n\
         credential = \"{credential}\"\n\n",
        path.trim_start_matches('/'),
        upstream.origin()
    )
}

/// Takes over another configuration, which must be a good one.
#[track_caller]
fn take_over(bearerd: &Sidecar, rest: &str) {
    bearerd.rewrite(rest);
    let answer = bearerd.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// An upstream that holds its answers back until it is told; each tells whose it is.
fn patient(name: &'static str) -> (Upstream, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let held = gate.clone();
    let upstream = Upstream::answering(move |_| {
        held.pass();
        Reply::text(name)
    });
    (upstream, gate)
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().expect("a gate") = true;
        self.opened.notify_all();
    }

    fn close(&self) {
        *self.is_open.lock().expect("a gate") = false;
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().expect("a gate");
        let passed = self.opened.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        drop(passed.expect("a gate"));
    }
}

#[test]
fn a_request_in_flight_ends_on_the_table_that_it_began_with() {
    let (old, gate) = patient("old");
    let new = Upstream::answering(|_| Reply::text("new"));
    let (one, two) = (canary::token(), canary::token());
    let keys = key("one", &one) + &key("two", &two);
    let bearerd = Sidecar::ready(&(keys.clone() + &route_of("app", "/api", &old, "one")));
    let app = bearerd.app();
    // One waits for its answer, one is still being sent.
    let (mut waiting, mut sending) = (app.connect(), app.connect());
    waiting.send(app.head("GET", "/api/waiting", "", 0));
    sending.send([app.head("POST", "/api/sending", "", 9), b"first".to_vec()].concat());
    // The upstream's connection stands before its request is whole.
    bearerd.wait("two connections to the upstream", || {
        let metrics = bearerd.admin().get("/metrics").text();
        metrics.contains("bearerd_upstream_connections{route=\"app-api\"} 2").then_some(())
    });
    take_over(&bearerd, &(keys + &route_of("app", "/api", &new, "two")));
    assert_eq!(app.get("/api/x").text(), "new");
    gate.open();
    sending.send(b"last");
    assert_eq!((waiting.answer().text(), sending.answer().text()), ("old".into(), "old".into()));
    let seen = old.wait_for(2);
    assert!(seen.iter().all(|seen| seen.field("authorization") == Some(format!("Bearer {one}"))));
    assert!(seen.iter().any(|seen| seen.body == b"firstlast"));
    // The connections of the app stay, and lead to the new table.
    for connection in [&mut waiting, &mut sending] {
        connection.send(app.head("GET", "/api/next", "", 0));
        assert_eq!(connection.answer().text(), "new");
    }
    assert!(new.requests().iter().all(|seen| seen.field("authorization") == Some(format!("Bearer {two}"))));
}

#[test]
fn a_listener_comes_and_goes_and_its_requests_in_flight_end() {
    let (upstream, gate) = patient("late");
    let token = canary::token();
    let stays = key("key", &token) + &route_of("app", "/api", &upstream, "key");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let guest =
        format!("[listeners.guest]\nbind = \"{port}\"\n\n") + &route_of("guest", "/guest", &upstream, "key");
    let bearerd = Sidecar::ready(&stays);
    assert!(TcpStream::connect(port).is_err());
    for _ in 0..3 {
        gate.close();
        take_over(&bearerd, &(stays.clone() + &guest));
        let client = Client::new(port);
        let before = upstream.requests().len();
        let mut idle = client.connect();
        idle.send(client.head("GET", "/nowhere", "", 0));
        assert_eq!(idle.answer().status(), 404);
        let mut in_flight = client.connect();
        in_flight.send(client.head("GET", "/guest/x", "", 0));
        wait_for_guest(&bearerd);
        take_over(&bearerd, &stays);
        bearerd.wait("a closed door", || TcpStream::connect(port).is_err().then_some(()));
        idle.assert_ends();
        gate.open();
        let answer = in_flight.answer();
        assert_eq!((answer.text().as_str(), answer.field("connection").as_deref()), ("late", Some("close")));
        in_flight.assert_ends();
        assert_eq!(upstream.wait_for(before + 1).len(), before + 1);
    }
}

/// Waits until a request of the guest's is at the upstream.
fn wait_for_guest(bearerd: &Sidecar) {
    bearerd.wait("the request at the upstream", || {
        let metrics = bearerd.admin().get("/metrics").text();
        metrics.contains("bearerd_upstream_connections{route=\"guest-guest\"} 1").then_some(())
    });
}

#[test]
fn the_end_waits_for_requests_that_came_through_a_listener_which_is_gone() {
    let (upstream, gate) = patient("late");
    let stays = key("key", &canary::token()) + &route_of("app", "/api", &upstream, "key");
    let port = free();
    let guest =
        format!("[listeners.guest]\nbind = \"{port}\"\n\n") + &route_of("guest", "/guest", &upstream, "key");
    let mut bearerd = Sidecar::ready(&(stays.clone() + &guest));
    let client = Client::new(port);
    let mut in_flight = client.connect();
    in_flight.send(client.head("GET", "/guest/x", "", 0));
    wait_for_guest(&bearerd);
    take_over(&bearerd, &stays);
    bearerd.signal(Signal::TERM);
    let line = bearerd.log("draining", |line| line["message"] == "draining");
    assert_eq!(line["connections"], 1, "{line}");
    gate.open();
    assert_eq!(in_flight.answer().text(), "late");
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn a_listener_whose_limits_change_keeps_its_socket_and_its_connections() {
    let upstream = Upstream::start();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let with = |line: &str| {
        format!("{}[listeners.other]\nbind = \"{port}\"\n{line}\n\n", key("key", &canary::token()))
            + &route_of("other", "/api", &upstream, "key")
    };
    let bearerd = Sidecar::ready(&with(""));
    let client = Client::new(port);
    let mut connection = client.connect();
    for line in ["max_fields = 50", "idle_timeout = \"20s\"", "max_connections = 7", ""] {
        take_over(&bearerd, &with(line));
        connection.send(client.head("GET", "/api/x", "", 0));
        assert_eq!(connection.answer().status(), 200, "{line}");
        assert_eq!(client.get("/api/x").status(), 200, "{line}");
    }
}

#[test]
fn idle_connections_of_a_route_that_is_gone_are_closed() {
    let (upstream, left) = (Upstream::start(), Upstream::start());
    let keys = key("key", &canary::token());
    let stays = keys + &route_of("app", "/stays", &upstream, "key");
    let bearerd = Sidecar::ready(&(stays.clone() + &route_of("app", "/goes", &left, "key")));
    let app = bearerd.app();
    let open = || -> i64 {
        let metrics = bearerd.admin().get("/metrics").text();
        let counted = metrics.lines().filter(|line| line.starts_with("bearerd_upstream_connections{"));
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", bearerd.id())).expect("a process").count();
    let before = descriptors();
    for path in ["/goes/x", "/stays/x"] {
        assert_eq!(app.get(path).status(), 200);
    }
    assert_eq!(open(), 2);
    take_over(&bearerd, &stays);
    assert_eq!(app.get("/goes/x").status(), 404);
    assert_eq!(app.get("/stays/x").status(), 200);
    bearerd.wait("the closed connections", || (descriptors() <= before + 1 && open() <= 1).then_some(()));
    assert_eq!(app.get("/stays/x").status(), 200);
}

#[test]
fn a_reload_does_not_fill_up_a_rate_that_stays_as_it_is() {
    let upstream = Upstream::start();
    let config = |rate: &str, rest: &str| {
        let route = route_of("app", "/api", &upstream, "key");
        format!(
            "{}{}rate = \"{rate}\"\n{rest}",
            key("key", &canary::token()),
            route.trim_end_matches('\n').to_owned() + "\n"
        )
    };
    let bearerd = Sidecar::ready(&config("2/1h", ""));
    let app = bearerd.app();
    assert_eq!([200, 200, 429], [(); 3].map(|()| app.get("/api/x").status()));
    take_over(&bearerd, &config("2/1h", "max_body = 7\n"));
    assert_eq!(app.get("/api/x").status(), 429);
    take_over(&bearerd, &config("3/1h", ""));
    assert_eq!(app.get("/api/x").status(), 200);
}

#[test]
fn no_request_fails_while_routes_and_tokens_change() {
    let upstreams = [Upstream::start(), Upstream::start()];
    let tokens = [canary::token(), canary::token()];
    let revision = |number: usize| {
        key("key", &tokens[number % 2]) + &route_of("app", "/api", &upstreams[number % 2], "key")
    };
    let bearerd = Sidecar::ready(&revision(0));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (bearerd, is_over) = (&bearerd, &is_over);
            scope.spawn(move || {
                let app = bearerd.app();
                let mut connection = app.connect();
                while !is_over.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        connection = app.connect();
                    }
                    connection.send([app.head("POST", "/api/x", "", 4), b"body".to_vec()].concat());
                    assert_eq!(connection.answer().status(), 200);
                }
            });
        }
        for number in 1..40 {
            take_over(&bearerd, &revision(number));
            if number % 10 == 0 {
                bearerd.rewrite("[credentials.key]\nflow = \"none such\"\n");
                assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 422);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for (upstream, token) in upstreams.iter().zip(&tokens) {
        let requests = upstream.requests();
        assert!(!requests.is_empty());
        for seen in requests {
            assert_eq!(
                (seen.field("authorization"), seen.text()),
                (Some(format!("Bearer {token}")), "body".into())
            );
        }
    }
}

/// An address that nothing listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port")
}

#[test]
fn a_listener_that_gets_another_name_keeps_its_socket() {
    let upstream = Upstream::start();
    let (one, two) = (free(), free());
    let with = |left: &str, right: &str| {
        key("key", &canary::token())
            + &format!("[listeners.{left}]\nbind = \"{one}\"\n[listeners.{right}]\nbind = \"{two}\"\n\n")
            + &route_of(left, "/left", &upstream, "key")
            + &route_of(right, "/right", &upstream, "key")
    };
    let bearerd = Sidecar::ready(&with("a", "b"));
    for (left, right) in [("a", "c"), ("c", "a"), ("b", "a")] {
        take_over(&bearerd, &with(left, right));
        assert_eq!(Client::new(one).get("/left/x").status(), 200, "{left}");
        assert_eq!(Client::new(two).get("/right/x").status(), 200, "{right}");
        assert_eq!(Client::new(two).get("/left/x").status(), 404, "{right}");
    }
}

#[test]
fn fewer_connections_than_are_open_hold_as_soon_as_those_have_ended() {
    let upstream = Upstream::start();
    let address = free();
    let with = |most: u32| {
        key("key", &canary::token())
            + &format!("[listeners.other]\nbind = \"{address}\"\nmax_connections = {most}\n\n")
            + &route_of("other", "/api", &upstream, "key")
    };
    let bearerd = Sidecar::ready(&with(3));
    let client = Client::new(address);
    let head = client.head("GET", "/api/x", "", 0);
    let mut open: Vec<_> = (0..3).map(|_| client.connect()).collect();
    for connection in &mut open {
        connection.send(&head);
        assert_eq!(connection.answer().status(), 200);
    }
    take_over(&bearerd, &with(1));
    drop(open);
    let none = "bearerd_connections{listener=\"other\"} 0";
    bearerd.wait("the end of all", || bearerd.admin().get("/metrics").text().contains(none).then_some(()));
    let (mut first, mut second) = (client.connect(), client.connect());
    first.send(&head);
    assert_eq!(first.answer().status(), 200);
    let before = upstream.requests().len();
    second.send(&head);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(upstream.requests().len(), before, "the second has no place");
    drop(first);
    assert_eq!(second.answer().status(), 200);
}

#[test]
fn a_unix_socket_lets_in_whom_the_new_rule_names() {
    let upstream = Upstream::start();
    let with = |allow: &str| {
        key("key", &canary::token())
            + &format!("[listeners.local]\nbind = \"unix:{{folder}}/local.sock\"\n{allow}\n\n")
            + &route_of("local", "/api", &upstream, "key")
    };
    let bearerd = Sidecar::ready(&with(""));
    let mode = || {
        let file = std::fs::metadata(bearerd.folder().join("local.sock")).expect("a socket");
        file.permissions().mode() & 0o777
    };
    assert_eq!(mode(), 0o600);
    let here = |text: String| text.replace("{folder}", &bearerd.folder().display().to_string());
    take_over(&bearerd, &here(with("allow = { uids = [1001] }")));
    assert_eq!(mode(), 0o666);
    take_over(&bearerd, &here(with("")));
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_configuration_that_is_no_file_is_told_and_the_next_reload_goes_on() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let [place, aside] = ["bearerd.toml", "aside"].map(|name| bearerd.folder().join(name));
    std::fs::rename(&place, &aside).expect("a file");
    mknodat(CWD, &place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let answer = bearerd.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(answer.text().contains("is a pipe, a socket or a device, not a file"), "{}", answer.text());
    std::fs::remove_file(&place).expect("a pipe");
    symlink("/dev/zero", &place).expect("a link");
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 422);
    std::fs::rename(&aside, &place).expect("a file");
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn an_empty_configuration_is_not_taken_over() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let place = bearerd.folder().join("bearerd.toml");
    let whole = std::fs::read(&place).expect("a file");
    for rest in ["", "\n\n", "# only a remark\n", "[server]\nwatch = true\n"] {
        std::fs::write(&place, rest).expect("a file");
        let answer = bearerd.control("POST", "/v1/reload", b"");
        assert_eq!(answer.status(), 422, "{rest:?}: {}", answer.text());
        assert!(answer.text().contains("only its beginning was written"), "{}", answer.text());
        assert_eq!(bearerd.app().get("/api/x").status(), 200);
    }
    std::fs::write(&place, whole).expect("a file");
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
}
