//! Memory: what the allocator holds and nobody uses, and what is given back to it.

pub mod ahead;
pub mod wiping;

use std::io;
use std::time::Duration;

/// Does work on a thread of its own, and waits for its end. glibc's allocator serves each thread from memory
/// of its own: what the work needs for a while is not mixed with what is kept for long, and whole pages of
/// it can be given back. An error says that the machine has no room for a thread.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("apart".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Gives it back to the system. To read a configuration takes several times the memory of what comes of
/// it, and glibc's allocator would keep that for as long as the process lives. Takes a millisecond or
/// so for each 10 MiB; other threads that allocate may wait for it. Elsewhere it does nothing.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

/// Has glibc's allocator give back what lies unused at the end of its memory, for each thread. By itself it
/// gives up doing so as soon as something large was used once, as a configuration is. Elsewhere it does
/// nothing.
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [(glibc::M_TRIM_THRESHOLD, KEPT_UNUSED), (glibc::M_TOP_PAD, KEPT_UNUSED / 4)] {
        // What cannot be set stays as it was.
        let _ = glibc::mallopt(parameter, bytes);
    }
}

/// So many bytes may lie unused at the end of a thread's memory: as many as glibc starts with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_UNUSED: i32 = 128 * 1024;

/// Lets go of what is mapped of the program itself: call it when only the start had need of most of that. To
/// read the command line and the configuration touches several times as much of it as to serve requests. What
/// is needed again comes from the system's cache, page by page. Elsewhere it does nothing.
pub fn forget_start() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    program::let_go();
}

/// When what a start or a reload sets off is mostly over: the first exchanges, of static tokens and of all.
const SETTLED: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(5)];

/// Gives it back after a start or a reload: now, and once more when the first exchanges are over.
pub async fn give_back_when_settled() {
    give_back();
    for pause in SETTLED {
        tokio::time::sleep(pause).await;
        give_back();
    }
}

/// How often it is looked what bursts have left, and how much is worth giving back, in bytes.
const LOOK: Duration = Duration::from_secs(5);
const WORTH_GIVING_BACK: usize = 4 * 1024 * 1024;

/// Gives back, for as long as the process lives, what a burst of work has left: glibc's allocator by itself returns only
/// what lies at the end of its memory, where a single small piece that is kept holds all before it.
pub async fn give_back_what_bursts_leave() {
    let mut leavings = Leavings::new();
    loop {
        tokio::time::sleep(LOOK).await;
        leavings.look();
    }
}

/// What bursts of work leave in the allocator.
#[derive(Debug)]
struct Leavings {
    /// The least that the process had in memory since something was given back, in bytes.
    least: usize,
}

impl Leavings {
    /// Nothing was looked at yet.
    fn new() -> Self {
        Self { least: usize::MAX }
    }

    /// Gives it back if the process has grown, and that may be the reason. What was given back before
    /// counts as unused still.
    fn look(&mut self) {
        let now = resident();
        if now > self.least.saturating_add(WORTH_GIVING_BACK) && unused() > WORTH_GIVING_BACK {
            give_back();
            self.least = resident();
        } else {
            self.least = self.least.min(now);
        }
    }
}

/// How much of the process lies in memory, in bytes; none where `/proc` is not that of Linux.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize).saturating_mul(rustix::param::page_size())
}

/// Bytes that lie unused in the allocator; none where it does not tell.
fn unused() -> usize {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return glibc::mallinfo().unused();
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    return 0;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    #![expect(unsafe_code, reason = "there is no other way to ask for it; it takes no pointer")]

    use std::ffi::{c_int, c_ulong};

    /// mallopt(3): from how much on what lies unused is given back.
    pub(super) const M_TRIM_THRESHOLD: c_int = -1;
    /// mallopt(3): how much is taken or left beside what is needed.
    pub(super) const M_TOP_PAD: c_int = -2;

    /// What mallinfo(3) tells, of all threads together. Its numbers begin anew at 4 GiB.
    #[repr(C)]
    pub(super) struct Report {
        before: [c_int; 8],
        unused: c_int,
        behind: c_int,
    }

    impl Report {
        /// Bytes that lie unused.
        pub(super) fn unused(&self) -> usize {
            self.unused.cast_unsigned() as usize
        }
    }

    // SAFETY: malloc_trim(3), mallopt(3) and mallinfo(3) are MT-safe, and leave what is in use as it is.
    unsafe extern "C" {
        /// Returns whether anything was given back.
        pub(super) safe fn malloc_trim(keep: c_ulong) -> c_int;
        /// Returns how much is used and how much is not.
        pub(super) safe fn mallinfo() -> Report;
        /// Returns whether it was set.
        pub(super) safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod program {
    #![expect(unsafe_code, reason = "the system is told about memory by its address")]

    use rustix::mm::{Advice, madvise};

    // SAFETY: the linker defines both, as places of which only the address means something (ld(1)).
    unsafe extern "C" {
        /// Where the program begins in memory: its headers and constants, and then its code.
        static __executable_start: u8;
        /// Where its code ends.
        static etext: u8;
    }

    pub(super) fn let_go() {
        let page = rustix::param::page_size();
        let start = &raw const __executable_start;
        let end = (&raw const etext).addr() / page * page;
        let length = end.saturating_sub(start.addr());
        // SAFETY: the range is whole pages, since a program begins with one. They are mapped from its file and
        // never written to, since the code is independent of its position: what is touched again is read from
        // there as it was (madvise(2), `MADV_DONTNEED`).
        let _ = unsafe { madvise(start.cast_mut().cast(), length, Advice::LinuxDontNeed) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::fs;

    use super::{Leavings, forget_start, resident};

    /// How much of the program's code lies in memory, in KiB.
    fn resident_code() -> u64 {
        let program = fs::read_link("/proc/self/exe").expect("a program");
        let maps = fs::read_to_string("/proc/self/smaps").expect("maps");
        let is_code = |line: &&str| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy());
        let mut lines = maps.lines().skip_while(|line| !is_code(line));
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        resident.expect("a figure").parse().expect("a number")
    }

    #[test]
    fn what_a_burst_leaves_is_given_back() {
        const BURST: usize = 64 * 1024 * 1024;
        let mut leavings = Leavings::new();
        leavings.look();
        let before = resident();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The second time, what was given back before is used again.
                for _ in 0..2 {
                    let mut burst: Vec<_> = (0..BURST / 16384).map(|_| vec![1_u8; 16384]).collect();
                    // What is kept lies at the end of the memory that was taken.
                    let kept = vec![1_u8; 100];
                    burst.clear();
                    assert!(resident() > before + BURST / 2, "the allocator keeps it");
                    leavings.look();
                    assert!(resident() < before + BURST / 4, "it was given back");
                    drop(kept);
                }
            });
        });
    }

    #[test]
    fn what_is_let_go_of_the_program_comes_again_when_it_is_needed() {
        let before = resident_code();
        forget_start();
        let after = resident_code();
        assert!(after > 0 && after < before, "{after} KiB of {before} KiB");
    }
}
