//! Where connections lead: private addresses behind names, and metadata services.

use crate::support::configuration::to;
use crate::support::{Setup, Upstream};

#[test]
fn metadata_services_are_never_dialed_whatever_the_egress_allows() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "metadata.google.internal",
    ] {
        let route = to(&format!("http://{host}"))
            + "allow_plaintext = true\negress = \"all\"\nconnect_timeout = \"10s\"\n";
        let bearerd = Setup::new(&format!("{route}[egress.all]\nallow_private = true\n")).start();
        bearerd.wait_until_ready();
        let answer = bearerd.app().get("/api/latest/meta-data");
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (502, Some("upstream_connect")),
            "{host}"
        );
        let status = answer.field("proxy-status").unwrap_or_default();
        assert!(status.contains("destination_ip_prohibited"), "{host}: {status}");
        bearerd.log("why", |line| {
            line["cause"].as_str().is_some_and(|cause| cause.contains("metadata service"))
        });
    }
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused_unless_its_egress_allows_private_addresses() {
    let upstream = Upstream::start();
    // The resolver takes this for 127.0.0.1: to bearerd it is a name.
    let route = to(&format!("http://127.1:{}", upstream.address().port())) + "allow_plaintext = true\n";
    let bearerd = Setup::new(&route).start();
    bearerd.wait_until_ready();
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_connect")));
    assert!(upstream.requests().is_empty());
    bearerd.log("what to do", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.contains("allow_private"))
    });

    let allowed = format!("{route}egress = \"all\"\n[egress.all]\nallow_private = true\n");
    let bearerd = Setup::new(&allowed).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}
