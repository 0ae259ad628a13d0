//! Connections that several routes use: those that lead to the same place by the same way.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::http2::Http2Origin;
use crate::support::wire::Wire;
use crate::support::{Origin, Setup, Sidecar, canary};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A route `/NAME` with a credential of its own, and further lines for it.
fn route(name: &str, token: &str, url: &str, more: &str) -> String {
    format!(
        "[credentials.{name}]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         [routes.{name}]\npath = \"/{name}\"\nupstream = \"{url}\"\ncredential = \"{name}\"\n{more}\n"
    )
}

/// Takes over another configuration, which must be a good one.
#[track_caller]
fn take_over(bearerd: &Sidecar, rest: &str) {
    bearerd.rewrite(rest);
    let answer = bearerd.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Has a request of a route answered on a connection, which must carry its token.
#[track_caller]
fn exchange(bearerd: &Sidecar, name: &str, token: &str, upstream: &mut Wire) {
    let mut app = bearerd.app().ask("GET", &format!("/{name}/x"), "");
    answer(&mut app, token, upstream);
}

#[track_caller]
fn answer(app: &mut Wire, token: &str, upstream: &mut Wire) {
    assert_eq!(upstream.request().fields("authorization"), [format!("Bearer {token}")]);
    upstream.send(OK);
    assert_eq!(app.answer().text(), "ok");
}

/// The connections that are counted for a route.
#[track_caller]
fn counted(bearerd: &Sidecar, name: &str) -> u64 {
    bearerd.metric(&format!("bearerd_upstream_connections{{route=\"{name}\"}}"))
}

/// Connections that were closed by a limit.
#[track_caller]
fn bites(bearerd: &Sidecar, limit: &str) -> u64 {
    bearerd.metric(&format!("bearerd_limited_total{{limit=\"{limit}\"}}"))
}

#[test]
fn routes_to_one_origin_share_connections_and_never_a_token() {
    let (one, two, origin) = (canary::token(), canary::token(), Origin::start());
    let routes =
        route("one", &one, &origin.url(), "") + &route("two", &two, &format!("{}/base", origin.url()), "");
    let bearerd = Sidecar::ready(&routes);
    let mut app = bearerd.app().ask("GET", "/one/x", "");
    let mut upstream = origin.accept();
    answer(&mut app, &one, &mut upstream);
    for _ in 0..5 {
        exchange(&bearerd, "two", &two, &mut upstream);
        assert_eq!(
            (counted(&bearerd, "one"), counted(&bearerd, "two")),
            (0, 1),
            "the route that used it last"
        );
        exchange(&bearerd, "one", &one, &mut upstream);
        assert_eq!((counted(&bearerd, "one"), counted(&bearerd, "two")), (1, 0));
    }
    origin.assert_no_other_connection();
    drop(upstream);
    bearerd.wait("the end of the connection", || (counted(&bearerd, "one") == 0).then_some(()));
}

#[test]
fn requests_of_several_routes_at_once_each_carry_their_own_token_on_one_connection_of_http_2() {
    for origin in [Http2Origin::start(), Http2Origin::behind_tls()] {
        let tokens: Vec<String> = (0..4).map(|_| canary::token()).collect();
        let egress = if origin.certificate.is_some() { "egress = \"own\"" } else { "" };
        let routes = tokens.iter().enumerate();
        let routes = routes.map(|(number, token)| route(&format!("r{number}"), token, &origin.url(), egress));
        let mut config: String = routes.collect();
        let mut setup_file = String::new();
        if let Some(certificate) = &origin.certificate {
            config += "[egress.own]\nca = \"{folder}/ca.pem\"\n";
            setup_file.clone_from(certificate);
        }
        let bearerd = Setup::new(&config).file("ca.pem", &setup_file).start();
        bearerd.wait_until_ready();
        for round in 0..3 {
            let ask = |number: usize| bearerd.app().ask("GET", &format!("/r{number}/{number}"), "");
            let mut apps: Vec<_> = (0..tokens.len()).map(ask).collect();
            let mut exchanges: Vec<_> = (0..tokens.len()).map(|_| origin.accept()).collect();
            for exchange in &mut exchanges {
                let number: usize = exchange.target()[1..].parse().expect("a number");
                let expected = format!("Bearer {}", tokens[number]);
                assert_eq!(exchange.field("authorization"), Some(expected.as_str()), "round {round}");
                assert_eq!(exchange.connection, 0, "round {round}");
                exchange.respond(200, &[("x-route", &number.to_string())], true);
            }
            for (number, app) in apps.iter_mut().enumerate() {
                assert_eq!(app.answer().field("x-route"), Some(number.to_string()));
            }
            let all: u64 = (0..tokens.len()).map(|number| counted(&bearerd, &format!("r{number}"))).sum();
            assert_eq!(all, 1, "it is counted once");
        }
    }
}

#[test]
fn routes_by_other_ways_out_never_share_a_connection() {
    let (origin, token) = (Origin::start(), canary::token());
    let names = ["default", "first", "second", "kept"];
    // The two egresses are the same but for their names.
    let more = ["", "egress = \"first\"", "egress = \"second\"", "pool_idle_timeout = \"59s\""];
    let routes = names.iter().zip(more).map(|(name, more)| route(name, &token, &origin.url(), more));
    let egress = "[egress.first]\nsource = \"127.0.0.1\"\n[egress.second]\nsource = \"127.0.0.1\"\n";
    let bearerd = Sidecar::ready(&(routes.collect::<String>() + egress));
    let mut upstreams: Vec<Wire> = names
        .iter()
        .map(|name| {
            let mut app = bearerd.app().ask("GET", &format!("/{name}/x"), "");
            let mut upstream = origin.accept();
            answer(&mut app, &token, &mut upstream);
            upstream
        })
        .collect();
    for _ in 0..3 {
        for (name, upstream) in names.iter().zip(&mut upstreams) {
            exchange(&bearerd, name, &token, upstream);
            assert_eq!(counted(&bearerd, name), 1);
        }
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_reload_keeps_the_connections_of_whatever_stays_in_use() {
    let (origin, one, two) = (Origin::start(), canary::token(), canary::token());
    let url = origin.url();
    let bearerd = Sidecar::ready(&route("one", &one, &url, ""));
    let mut app = bearerd.app().ask("GET", "/one/x", "");
    let mut upstream = origin.accept();
    answer(&mut app, &one, &mut upstream);
    // Another route, another limit of requests, another token, other credentials: it leads to the same place.
    for (name, token, more) in [
        ("one", &one, ""),
        ("one", &one, "max_body = 7\n"),
        ("one", &two, ""),
        ("two", &one, ""),
        ("one", &two, ""),
    ] {
        take_over(&bearerd, &route(name, token, &url, more));
        exchange(&bearerd, name, token, &mut upstream);
        assert_eq!(counted(&bearerd, name), 1, "{name}");
    }
    origin.assert_no_other_connection();
    // A request that is in flight meanwhile brings its connection back.
    let mut app = bearerd.app().ask("GET", "/one/x", "");
    let request = upstream.request();
    assert_eq!(request.fields("authorization"), [format!("Bearer {two}")]);
    take_over(&bearerd, &route("two", &one, &url, ""));
    upstream.send(OK);
    assert_eq!(app.answer().text(), "ok");
    exchange(&bearerd, "two", &one, &mut upstream);
    origin.assert_no_other_connection();
    // Another way out is another connection, and the old one is closed.
    take_over(
        &bearerd,
        &(route("two", &one, &url, "egress = \"own\"\n") + "[egress.own]\nsource = \"127.0.0.1\"\n"),
    );
    let mut app = bearerd.app().ask("GET", "/two/x", "");
    let mut next = origin.accept();
    answer(&mut app, &one, &mut next);
    upstream.assert_ends();
}

#[test]
fn a_reload_keeps_a_connection_of_http_2_and_its_streams() {
    let (origin, one, two) = (Http2Origin::start(), canary::token(), canary::token());
    let bearerd = Sidecar::ready(&route("one", &one, &origin.url(), ""));
    let mut running = bearerd.app().ask("GET", "/one/x", "");
    let mut first = origin.accept();
    take_over(&bearerd, &route("two", &two, &origin.url(), ""));
    let mut app = bearerd.app().ask("GET", "/two/x", "");
    let mut second = origin.accept();
    assert_eq!((first.connection, second.connection), (0, 0));
    let bearer = format!("Bearer {two}");
    assert_eq!(second.field("authorization"), Some(bearer.as_str()));
    second.respond(200, &[], true);
    first.respond(200, &[], true);
    assert_eq!((app.answer().status(), running.answer().status()), (200, 200));
}

#[test]
fn no_more_idle_connections_are_kept_than_the_limit_says() {
    for most in [0, 1, 3] {
        let (origin, token) = (Origin::start(), canary::token());
        let bearerd =
            Sidecar::ready(&route("one", &token, &origin.url(), &format!("pool_max_idle = {most}")));
        let mut apps: Vec<_> = (0..5).map(|_| bearerd.app().ask("GET", "/one/x", "")).collect();
        let mut upstreams: Vec<_> = (0..5).map(|_| origin.accept()).collect();
        for upstream in &mut upstreams {
            upstream.request();
            upstream.send(OK);
        }
        for app in &mut apps {
            assert_eq!(app.answer().text(), "ok");
        }
        bearerd.wait("the end of the others", || (counted(&bearerd, "one") == most).then_some(()));
        assert_eq!(bites(&bearerd, "pool_max_idle"), 5 - most);
    }
}

#[test]
fn a_connection_is_used_no_more_when_it_is_too_old_or_was_idle_for_too_long() {
    for (limit, others) in
        [("pool_idle_timeout", "pool_max_age = \"0\""), ("pool_max_age", "pool_idle_timeout = \"0\"")]
    {
        for is_http2 in [false, true] {
            let (origin, token) = (Origin::start(), canary::token());
            let http2 = Http2Origin::start();
            let url = if is_http2 { http2.url() } else { origin.url() };
            let more = format!("{limit} = \"300ms\"\n{others}");
            let bearerd = Sidecar::ready(&route("one", &token, &url, &more));
            let open = |bearerd: &Sidecar| {
                let mut app = bearerd.app().ask("GET", "/one/x", "");
                if is_http2 {
                    let mut exchange = http2.accept();
                    exchange.respond(200, &[], true);
                    assert_eq!(app.answer().status(), 200);
                    return Err(exchange.connection);
                }
                let mut upstream = origin.accept();
                answer(&mut app, &token, &mut upstream);
                Ok(upstream)
            };
            let first = open(&bearerd);
            // The limit is the event: it lies idle for longer.
            std::thread::sleep(Duration::from_millis(600));
            let second = open(&bearerd);
            if let (Err(first), Err(second)) = (&first, &second) {
                assert_ne!(first, second, "{limit}");
            }
            bearerd.wait("the bite", || (bites(&bearerd, limit) >= 1).then_some(()));
        }
    }
}

#[test]
fn a_request_waits_for_the_connection_of_another_no_longer_than_its_own_limit() {
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", silent.local_addr().expect("an address"));
    let (one, two) = (canary::token(), canary::token());
    let routes = route("patient", &one, &url, "connect_timeout = \"0\"")
        + &route("hasty", &two, &url, "connect_timeout = \"300ms\"");
    let bearerd = Sidecar::ready(&routes);
    let mut patient = bearerd.app().ask("GET", "/patient/x", "");
    let (_held, _) = silent.accept().expect("the first connection");
    let answer = bearerd.app().get("/hasty/x");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (504, Some("upstream_timeout")));
    assert_eq!(bites(&bearerd, "connect_timeout"), 1);
    patient.assert_quiet();
}
