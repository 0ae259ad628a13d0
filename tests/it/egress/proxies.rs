//! Outbound proxies.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::to;
use crate::support::message::Message;
use crate::support::{Issuer, PATIENCE, Setup, Upstream, canary};

/// A proxy on loopback that wants a login, if it is given one, and tells what it is asked.
fn proxy(login: Option<String>) -> (SocketAddr, Receiver<Message>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let Ok(Some(request)) = Message::read(&mut reader, false) else { continue };
            let is_known = login.is_none() || request.field("proxy-authorization") == login;
            let target = request.target();
            // The test may have seen enough.
            let _ = tell.send(request);
            thread::spawn(move || if is_known { relay(stream, &target) } else { refuse(stream) });
        }
    });
    (address, told)
}

fn refuse(mut stream: TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n");
}

fn relay(mut stream: TcpStream, target: &str) {
    let Ok(mut behind) = TcpStream::connect(target) else { return };
    let _ = stream.write_all(b"HTTP/1.1 200 Go on\r\n\r\n");
    let (mut upwards, mut to_behind) =
        (stream.try_clone().expect("a handle"), behind.try_clone().expect("a handle"));
    thread::spawn(move || io::copy(&mut upwards, &mut to_behind));
    let _ = io::copy(&mut behind, &mut stream);
}

#[test]
fn requests_and_exchanges_go_through_the_proxy_of_their_egress() {
    let (upstream, issuer, secret) = (Upstream::start(), Issuer::start(3600), canary::secret());
    let (address, told) = proxy(None);
    let sidecar = Setup::new(&format!(
        "[egress.out]\nproxy = \"http://{address}\"\n\n\
         [credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{secret}\" }}\negress = \"out\"\n\n\
         [routes.api]\nupstream = \"{}\"\ncredential = \"api\"\negress = \"out\"\n",
        issuer.url(),
        upstream.origin()
    ))
    .start();
    sidecar.wait_until_ready();
    let app = sidecar.app();
    for _ in 0..2 {
        assert_eq!(app.get("/a").status(), 200);
    }
    let asked: Vec<_> = told.try_iter().map(|request| request.start_line()).collect();
    let connect = |origin: String| format!("CONNECT {} HTTP/1.1", origin.trim_start_matches("http://"));
    assert_eq!(asked, [connect(issuer.origin()), connect(upstream.origin())], "one way serves many requests");
    assert!(upstream.requests().iter().all(|request| request.field("proxy-authorization").is_none()));
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_status_and_a_new_password_heals_it() {
    let (upstream, password) = (Upstream::start(), canary::secret());
    let right = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("me:{password}"));
    let (address, told) = proxy(Some(format!("Basic {right}")));
    let egress = format!(
        "[egress.out]\nproxy = \"http://{address}\"\nproxy_user = \"me\"\nproxy_password = {{ file = \"password\" }}\n\n"
    );
    let route = to(&upstream.origin(), &canary::token());
    let sidecar =
        Setup::new(&format!("{egress}{route}egress = \"out\"\n")).file("password", "wrong\n").start();
    sidecar.wait_until_ready();
    let answer = sidecar.app().get("/api/");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_connect")));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains(&address.to_string()) && detail.contains("407"), "{detail}");
    assert!(answer.field("proxy-status").is_some_and(|status| status.contains("proxy_configuration_error")));
    sidecar.replace_file("password", &password);
    sidecar.wait("the new password", || (sidecar.app().get("/api/").status() == 200).then_some(()));
    assert!(told.recv_timeout(PATIENCE).is_ok_and(|request| request.field("proxy-authorization").is_some()));
}
