//! bearerd: a local reverse proxy that obtains, renews and injects API tokens.
//!
//! This page is the map; ARCHITECTURE.md tells the ways through the house. Floors import downwards
//! only, and a test keeps them so:
//!
//! ```text
//! 8  main, cli             arguments -> what to do -> exit code
//! 7  app, sandbox, forecast  build, bind, spawn, reload, drain | vendor simulators | virtual time
//! 6  config                TOML -> validated specs; problems with file, line and column
//! 5  server, admin         listeners and workers | status, metrics, control
//! 4  proxy, control        admit -> match -> sanitize -> inject -> forward -> replay; logins as JSON
//! 3  route | notification  matcher, policy, route table | who is told of trouble, and how
//! 2  credential | inject   life cycle and flows | templates onto requests
//! 1  upstream, caller      connect, TLS, pool, egress; who calls, and who may
//! 0  secret clock backoff template named memory buffer body telemetry lookout confinement
//! 0  http1 http2 guard certificate jose rate der
//! ```
//!
//! Start with [`proxy`] (the life of a request) and [`credential`] (the life of a credential).

pub mod admin;
pub mod app;
pub mod backoff;
pub mod body;
pub mod buffer;
pub mod caller;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confinement;
pub mod control;
pub mod credential;
mod der;
pub mod forecast;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod inject;
pub mod jose;
pub mod lookout;
pub mod memory;
pub mod named;
pub mod notification;
pub mod proxy;
pub mod rate;
pub mod route;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod template;
pub mod upstream;
