//! Tests of the built binary, from outside: one file a concern, and what they share in `support`.
//!
//! Every secret in a test is a canary ([`support::canary`]): no byte that the app receives, no log
//! and no output of a command may show one. The helpers check that by themselves, always.

#![expect(unreachable_pub, reason = "nothing is outside a test binary")]

#[expect(dead_code, reason = "the tests of the proxy come with it")]
mod support;

mod admin;
mod answer;
mod commands;
mod explain;
mod framing;
mod house;
mod life;
mod presets;
mod sandbox;
