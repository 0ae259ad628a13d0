//! Tests against servers and clients that others wrote. `install.sh` brings them, in pinned versions,
//! into `target/peers`; the first test to need one runs it.

#![expect(unreachable_pub, reason = "nothing is outside a test binary")]

/// The support of the other test binary: the built bearerd, a recording upstream, a raw client.
#[path = "../it"]
#[expect(dead_code, unused_imports, reason = "shared with the other test binary, which uses the rest")]
mod it {
    pub mod support;
}

use it::support;

mod apps;
mod console;
mod counterpart;
mod crash;
mod deployment;
mod desync;
mod differential;
mod dovecot;
mod http2;
mod namespaces;
mod notices;
mod oidc_consent;
mod oidc_grants;
mod oidc_provider;
mod origins;
mod outbound_proxy;
mod protocols;
mod signatures;
mod specification;
mod yardstick;
