//! A person consents: the grants with a browser, a second device, or a one-time password.
//!
//! ```text
//! authorize ──▶ session: state, nonce, verifier, whose ──▶ URL for the browser ──▶ person
//!                 │ 10 minutes, single use                                           │
//! callback ──▶ the session is taken, the issuer compared ──▶ code for tokens ◀── code, state
//!                                                                   │
//! device ──▶ session ──▶ code for the person, polled in the background │
//!                                                                   ▼
//!                                     the keeper makes it durable, and publishes
//! ```
//!
//! The app and the browser see states and codes, never tokens.

pub mod spec;

pub use spec::ConsentSpec;
