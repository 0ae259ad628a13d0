//! How connections leave: addresses, TLS, pools and egress. Used by the flows that talk to issuers
//! and by the proxy that forwards requests.

pub mod address;
pub mod connect;
pub mod departure;
pub mod destination;
pub mod egress;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod link;
mod material;
pub mod origin;
pub mod pool;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

pub use destination::Destination;
pub use egress::{CertificateSpec, EgressLimits, EgressSpec, ExpectSpec, MinimumTls, ProxyLogin, ProxySpec};
pub use origin::{Origin, Scheme, Url};
