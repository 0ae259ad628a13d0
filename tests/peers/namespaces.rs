//! The two hops on three machines: network namespaces, certificates of openssl, curl and a vendor in Python.

use std::process::{Command, Stdio};

use crate::counterpart::here;
use crate::support;

/// Starts a program as the root of namespaces of its own.
const APART: [&str; 7] =
    ["--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];

#[test]
fn a_call_of_another_machine_leaves_from_the_whitelisted_address_where_namespaces_are_permitted() {
    let mut trial = Command::new("unshare");
    trial.args(APART).args(["ip", "link", "add", "a", "type", "veth"]).stderr(Stdio::null());
    let allowed = trial.status().is_ok_and(|status| status.success());
    if !allowed {
        // The same over addresses of loopback is tested everywhere: `two_hops` of the other test binary.
        return;
    }
    let mut command = Command::new("timeout");
    command.args(["60", "unshare"]).args(APART).arg(here("two_hops.sh"));
    let output = command.arg(support::binary()).arg(here("vendor.py")).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "through: {\"from\": \"10.77.2.10\", \"path\": \"/accounts/7\", \"token\": \"vendor-token\", \"x-hop\": null}",
            "without a certificate: upstream_tls",
            "straight: unreachable",
            "the address: bearerd_egress_address{egress=\"whitelisted\",state=\"expected\"} 1",
        ],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
