//! Tests of the built binary, from outside: one file a concern, and what they share in `support`.
//!
//! Every secret in a test is a canary ([`support::canary`]): no byte that the app receives, no log
//! and no output of a command may show one. The helpers check that by themselves, always.

#![expect(unreachable_pub, reason = "nothing is outside a test binary")]

mod support;

mod admin;
mod answer;
mod attacks;
mod bodiless;
mod bundles;
mod callers;
mod chaos;
mod chunks;
mod commands;
mod config;
mod configuration;
mod confinement;
mod console;
mod content;
mod demo;
mod disclosure;
mod doctor;
mod dpop;
mod drain;
mod egress;
mod errors;
mod expect;
mod explain;
mod forecast;
mod framing;
mod fuzz;
mod grants;
mod grpc;
mod guard;
mod half_close;
mod house;
mod http10;
mod http2;
mod http2_faults;
mod http2_frames;
mod http2_messages;
mod http2_room;
mod http2_rules;
mod http2_streams;
mod http2_upstreams;
mod http2_windows;
mod inherited;
mod leaks;
mod life;
mod lifecycle;
mod listener;
mod logins;
mod mailbox;
mod memory;
mod notify;
mod pages;
mod payouts;
mod pipelining;
mod pooling;
mod portal;
mod presets;
mod profile;
mod reload;
mod replay_body;
mod request;
mod restarts;
mod revocation;
mod sandbox;
mod sanitize;
mod shared_connections;
mod store;
mod store_commands;
mod streaming;
mod subjects;
mod tls;
mod trailers;
mod two_hops;
mod upgrade;
mod vendors;
mod verified;
