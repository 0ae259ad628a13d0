//! What the tests share: an app, an upstream, an issuer, and bearerd between them.
//!
//! ```text
//! client ──▶ sidecar (the built binary) ──▶ upstream
//!                     └──▶ issuer
//! ```

pub mod canary;
pub mod client;
pub mod configuration;
pub mod frames;
pub mod http2;
pub mod inside;
pub mod issuer;
pub mod message;
pub mod origin;
pub mod sidecar;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::time::Duration;

/// Longer than anything in a test may take: a test that hangs ends with a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub use client::Client;
pub use issuer::Issuer;
pub use origin::Origin;
pub use sidecar::{Setup, Sidecar, bearerd, binary};
pub use upstream::{Reply, Upstream};
