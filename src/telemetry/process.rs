//! What the process uses, as the kernel tells it. Only Linux tells all of it this way.

use std::fs;
use std::time::Duration;

use crate::clock::Clock;

/// One reading of the process's own figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// CPU time in user and system mode.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Virtual memory in bytes.
    pub virtual_memory: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// How many file descriptors may be open.
    pub max_files: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// When the process began, in seconds of the Unix epoch.
    pub started: f64,
}

/// Reads them; `None` where `/proc` is not that of Linux.
pub fn usage(clock: &Clock) -> Option<ProcessUsage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything: the fields begin after its last one (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second();
    let duration = |count: u64| Duration::from_millis(count.saturating_mul(1000) / ticks.max(1));
    let now = clock.now();
    let age = now.boot.saturating_sub(duration(field(22)?));
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(ProcessUsage {
        cpu: duration(field(14)? + field(15)?),
        resident: field(24)?.saturating_mul(page),
        virtual_memory: field(23)?,
        // One of them is the folder being read.
        open_files: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64,
        max_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        threads: field(20)?,
        started: now.wall.as_duration().as_secs_f64() - age.as_secs_f64(),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::clock::Clock;

    #[test]
    fn the_process_knows_what_it_uses() {
        let clock = Clock::system();
        let usage = super::usage(&clock).expect("Linux");
        let now = clock.wall().as_duration().as_secs_f64();
        assert!(usage.started <= now + 1.0 && usage.started > now - 600.0, "{usage:?}");
        assert!(usage.resident > 1 << 20 && usage.virtual_memory > usage.resident, "{usage:?}");
        assert!(usage.open_files >= 3 && usage.threads >= 1, "{usage:?}");
    }
}
