//! Memory and descriptors of the running bearerd, and whether they grew.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::ledger::{Kind, Ledger};

/// What memory may differ by between the second and the last quarter, in KiB, and as a part of what it
/// was: buffers are lent to whoever has bytes on their way, and how many have is chance.
const MEMORY: u64 = 2 * 1024;
const MEMORY_PART: u64 = 16;

/// What open descriptors may differ by. Connections come and go, and those of an old table end some
/// seconds after it; a leak shows at the end, when all must be gone.
const DESCRIPTORS: u64 = 64;

/// Ends of pipes that may be kept: eight pipes of each of a few workers, and those of the runtimes.
const KEPT_PIPES: usize = 40;

/// Between two looks at what is open.
const PAUSE: Duration = Duration::from_millis(200);

/// Samples of one process.
pub struct Gauge {
    process: u32,
    memory: Vec<u64>,
    descriptors: Vec<u64>,
}

impl Gauge {
    /// A gauge of this process.
    pub fn new(process: u32) -> Self {
        Self { process, memory: Vec::new(), descriptors: Vec::new() }
    }

    /// Takes a sample.
    pub fn sample(&mut self) {
        self.memory.push(self.resident());
        self.descriptors.push(self.open());
    }

    /// Resident memory now, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default()
    }

    /// Open descriptors now.
    pub fn open(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.process)).map_or(0, |entries| entries.count() as u64)
    }

    /// Open descriptors now, without the pipes that workers keep for long answers: there are few.
    pub fn open_but_kept_pipes(&self) -> u64 {
        let (pipes, others): (Vec<_>, Vec<_>) =
            self.links().into_iter().partition(|link| link.to_string_lossy().starts_with("pipe:"));
        (others.len() + pipes.len().saturating_sub(KEPT_PIPES)) as u64
    }

    /// What each open descriptor is of.
    fn links(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", self.process)) else { return Vec::new() };
        entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
    }

    /// The same, once it has begun to watch its files, which is a moment after it is ready.
    pub fn at_rest(&self) -> u64 {
        while !self.links().iter().any(|link| link.to_string_lossy().contains("inotify")) {
            thread::sleep(PAUSE);
        }
        loop {
            let before = self.open_but_kept_pipes();
            thread::sleep(PAUSE);
            if self.open_but_kept_pipes() == before {
                return before;
            }
        }
    }

    /// CPU time of the process so far.
    pub fn busy(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Reports what grew, and says what was seen.
    pub fn judge(&self, ledger: &Ledger) -> String {
        let mut said = Vec::new();
        for (kind, unit, samples, allowance) in [
            (Kind::Memory, "KiB", &self.memory, MEMORY),
            (Kind::Descriptors, "descriptors", &self.descriptors, DESCRIPTORS),
        ] {
            let (early, late) = quarters(samples);
            let part = if kind == Kind::Memory { early / MEMORY_PART } else { 0 };
            if late > early + allowance.max(part) {
                ledger.find(kind, format!("{early} {unit} in the second quarter, {late} in the last"));
            }
            let most = samples.iter().max().copied().unwrap_or_default();
            let course: Vec<u64> = samples.iter().step_by(samples.len().div_ceil(12)).copied().collect();
            said.push(format!("{early} -> {late} {unit} (at most {most}; in its course {course:?})"));
        }
        said.join(", ")
    }
}

/// The medians of the second and of the last quarter.
fn quarters(samples: &[u64]) -> (u64, u64) {
    let quarter = samples.len() / 4;
    (median(&samples[quarter..quarter * 2]), median(&samples[samples.len() - quarter..]))
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[test]
fn growth_between_the_second_and_the_last_quarter_is_found_and_the_start_is_not() {
    let gauge = |memory: Vec<u64>| Gauge { process: 0, descriptors: vec![9; memory.len()], memory };
    let found = |gauge: Gauge| {
        let ledger = Ledger::new(None);
        gauge.judge(&ledger);
        ledger.count(Kind::Memory)
    };
    assert_eq!(found(gauge((0..100).map(|second| 10_000 + second * 50).collect())), 1);
    assert_eq!(found(gauge((0..100).map(|second| 10_000 + second.min(20) * 500).collect())), 0);
}
