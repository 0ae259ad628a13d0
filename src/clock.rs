//! The only source of time and randomness.
//!
//! Two times are read: the wall clock, by which issuers date their tokens and which people and NTP
//! may step, and the time since boot, which only moves forward and, unlike tokio's clock, goes on
//! while a laptop sleeps. A token is judged by both: whichever ends first.
//!
//! [`Clock::system`] reads the machine through libc, so that `faketime` works on it.
//! [`Clock::simulated`] follows tokio's paused time and can be stepped and suspended by a test.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

/// So often whoever waits for a time looks at the clocks at least.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: Timestamp,
    /// Time since boot, suspended time included.
    pub boot: Duration,
}

impl Moment {
    /// The time from `now` until this moment, by the clock that gets there first; zero once one of
    /// them did.
    pub fn left(self, now: Self) -> Duration {
        let by_wall = Duration::try_from(self.wall.duration_since(now.wall)).unwrap_or_default();
        by_wall.min(self.boot.saturating_sub(now.boot))
    }

    /// The moment so much earlier.
    #[must_use]
    pub fn before(self, length: Duration) -> Self {
        Self {
            wall: self.wall.saturating_sub(length).unwrap_or(Timestamp::MIN),
            boot: self.boot.saturating_sub(length),
        }
    }

    /// The moment at which the wall clock shows `at`, as far as can be told now; not before this one by
    /// the time since boot.
    #[must_use]
    pub fn until(self, at: Timestamp) -> Self {
        let left = Duration::try_from(at.duration_since(self.wall)).unwrap_or_default();
        Self { wall: at, boot: self.boot.saturating_add(left) }
    }

    /// The moment so much later.
    #[must_use]
    pub fn after(self, length: Duration) -> Self {
        Self {
            wall: self.wall.saturating_add(length).unwrap_or(Timestamp::MAX),
            boot: self.boot.saturating_add(length),
        }
    }
}

/// A source of time and randomness; cloning shares it.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Simulated(Arc<Simulated>),
}

struct Simulated {
    simulation: Mutex<Simulation>,
    /// Told when its clocks were moved apart.
    moved: Notify,
}

struct Simulation {
    started: Instant,
    wall: Timestamp,
    boot: Duration,
    random: u64,
}

impl Clock {
    /// The machine's own clocks and random numbers.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts at `wall`, moves with tokio's (paused) time, and whose random numbers
    /// follow from `seed`.
    pub fn simulated(wall: Timestamp, seed: u64) -> Self {
        let boot = Duration::from_secs(1000);
        let simulation = Simulation { started: Self::instant(), wall, boot, random: seed };
        Self(Source::Simulated(Arc::new(Simulated {
            simulation: Mutex::new(simulation),
            moved: Notify::new(),
        })))
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => Moment { wall: system_wall(), boot: system_boot() },
            Source::Simulated(simulated) => {
                let simulation = simulated.lock();
                let elapsed = simulation.started.elapsed();
                Moment {
                    wall: simulation.wall.saturating_add(elapsed).unwrap_or(Timestamp::MAX),
                    boot: simulation.boot + elapsed,
                }
            }
        }
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        self.now().wall
    }

    /// The time since boot.
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Source::System => system_boot(),
            Source::Simulated(_) => self.now().boot,
        }
    }

    /// The runtime's own time, for timers and for measuring how long something took. It stands still
    /// while the machine sleeps: never judge a token by it.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn instant() -> Instant {
        Instant::now()
    }

    /// Waits for so long, or less: whoever waits looks at the clocks again. The machine's timers stand
    /// still while it sleeps, and nobody tells when its wall clock is stepped, so that nobody waits longer
    /// than [`LONGEST_WAIT`] at once; a simulation tells when its clocks are moved.
    pub async fn wait(&self, length: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(length.min(LONGEST_WAIT)).await,
            Source::Simulated(simulated) => {
                // A clock that was moved is a reason to look, too.
                let _ = tokio::time::timeout(length, simulated.moved.notified()).await;
            }
        }
    }

    /// Fills `bytes` from the machine's cryptographic random numbers (or the simulation's).
    pub fn fill_random(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System => system_random(bytes),
            Source::Simulated(simulated) => {
                let mut simulation = simulated.lock();
                for byte in bytes {
                    *byte = simulation.next_random().to_le_bytes()[3];
                }
            }
        }
    }

    /// A random number from 0 up to, but without, 1.
    pub fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill_random(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }

    /// A random identifier in the form of RFC 9562, version 4.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.fill_random(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = u128::from_be_bytes(bytes);
        let text = format!("{hex:032x}");
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }

    /// Steps a simulated wall clock, as NTP or a person would. No effect on the system's clock.
    pub fn step_wall(&self, by: SignedDuration) {
        if let Source::Simulated(simulated) = &self.0 {
            let mut simulation = simulated.lock();
            simulation.wall = simulation.wall.saturating_add(by).unwrap_or(Timestamp::MAX);
            simulated.moved.notify_waiters();
        }
    }

    /// Lets a simulated machine sleep: wall clock and time since boot go on, tokio's time does not.
    pub fn suspend(&self, length: Duration) {
        if let Source::Simulated(simulated) = &self.0 {
            let mut simulation = simulated.lock();
            simulation.wall = simulation.wall.saturating_add(length).unwrap_or(Timestamp::MAX);
            simulation.boot += length;
            simulated.moved.notify_waiters();
        }
    }
}

impl Simulated {
    fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.simulation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulation {
    /// SplitMix64: short, well spread and the same on every machine.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Simulated(_) => "Clock(simulated)",
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_wall() -> Timestamp {
    std::time::SystemTime::now().try_into().unwrap_or(Timestamp::UNIX_EPOCH)
}

fn system_boot() -> Duration {
    // CLOCK_BOOTTIME goes on while the machine sleeps; macOS calls that clock its monotonic one.
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    rustix::time::clock_gettime(clock).try_into().unwrap_or_default()
}

/// Asks the kernel, since aws-lc's generator gathers entropy for 40 ms before its first number, and
/// a process that speaks no TLS never needs it.
fn system_random(bytes: &mut [u8]) {
    #[cfg(target_os = "linux")]
    if kernel_random(bytes).is_ok() {
        return;
    }
    library_random(bytes);
}

#[cfg(target_os = "linux")]
fn kernel_random(bytes: &mut [u8]) -> rustix::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is the source of randomness")]
fn library_random(bytes: &mut [u8]) {
    // aws-lc's generator fails only if the system has no randomness at all: then nothing that
    // bearerd does would be safe.
    aws_lc_rs::rand::fill(bytes).expect("the system's random number generator works");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::Clock;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_moves_with_paused_time_and_is_stepped_apart() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
        let start = clock.now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.boot() - start.boot, Duration::from_secs(10));
        clock.step_wall(SignedDuration::from_hours(-1));
        assert_eq!(clock.boot() - start.boot, Duration::from_secs(10));
        assert_eq!(clock.wall().duration_since(start.wall), SignedDuration::from_secs(10 - 3600));
        clock.suspend(Duration::from_secs(100));
        assert_eq!(clock.boot() - start.boot, Duration::from_secs(110));
    }

    #[test]
    fn the_system_clock_moves_forward_and_gives_version_four_identifiers() {
        let clock = Clock::system();
        assert!(clock.boot() > Duration::ZERO && clock.boot() <= clock.boot());
        assert!((0.0..1.0).contains(&clock.fraction()));
        let uuid = clock.uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert_ne!(uuid, clock.uuid());
    }
}
