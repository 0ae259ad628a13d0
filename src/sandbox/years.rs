//! Three years of each vendor in seconds: the real presets, flows, keeper and injection against the simulators,
//! in virtual time, with everything that may go wrong on the way.
//!
//! ```text
//!            plan (one vendor, as data) ─▶ life ─▶ what happened: no dead token, nothing lost, few calls
//!                                           │
//!   process: keeper, slots ◀── killed, started, stepped, put to sleep
//!      │  ▲                                                                person: is called, and helps
//!      │  └── disk: durable some time after it was asked
//!      └───── road: down, busy, deaf, stormy ──▶ simulator, by a clock of its own
//! ```
//!
//! All chance follows from one seed, which every failure names.

mod digilocker;
mod disk;
mod life;
mod neighbours;
mod nic;
mod payhub;
mod plan;
mod planted;
mod process;
mod road;
mod sahamati;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// How long a life is, in days.
const YEARS: u32 = 3 * 365;
