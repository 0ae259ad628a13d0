//! The measures of Linux.

mod access;
mod filter;
mod system_calls;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::confinement::{Measure, Outcome};
use crate::memory;

pub(super) use access::{files, ports};
pub(super) use system_calls::forbid as system_calls;

/// Overwrites the values of `variables` in the block that the kernel shows as `/proc/PID/environ`; to take
/// a variable out of the environment leaves it there. The process writes to its own memory by way of
/// `/proc/self/mem`, while nobody else reads the environment: there is one thread.
pub(super) fn environment(variables: &[impl AsRef<OsStr>]) -> Outcome {
    if variables.is_empty() {
        return Ok(());
    }
    overwrite(variables).map_err(|error| format!("the environment cannot be overwritten: {error}"))
}

fn overwrite(variables: &[impl AsRef<OsStr>]) -> io::Result<()> {
    let block = zeroize::Zeroizing::new(fs::read("/proc/self/environ")?);
    let mut at = environment_start()?;
    let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    for entry in block.split(|byte| *byte == 0) {
        let name = memchr::memchr(b'=', entry).unwrap_or(entry.len());
        let is_secret = variables.iter().any(|variable| variable.as_ref().as_bytes() == &entry[..name]);
        if is_secret && name + 1 < entry.len() {
            let value = name + 1;
            memory.write_all_at(&vec![0; entry.len() - value], at + value as u64)?;
        }
        at += entry.len() as u64 + 1;
    }
    Ok(())
}

/// Where the block begins: field 50 (proc_pid_stat(5)).
fn environment_start() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything: the fields begin after its last one.
    let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(50 - 3));
    let address = field.and_then(|field| field.parse().ok()).filter(|address| *address != 0);
    address.ok_or_else(|| io::Error::other("the kernel does not say where it lies"))
}

/// No core dumps, in three ways: a limit for those in files, a filter for those that go to a program
/// (core(5)), and the process's own word, which also closes `/proc/PID/mem` and `environ` to others of
/// its user, and keeps debuggers out (PR_SET_DUMPABLE(2const)).
pub(super) fn dumps() -> Outcome {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if getrlimit(Resource::Core) != none {
        setrlimit(Resource::Core, none).map_err(|error| format!("RLIMIT_CORE cannot be set: {error}"))?;
    }
    // A kernel without core dumps has no filter of them.
    let _ = fs::write("/proc/self/coredump_filter", "0");
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("the process cannot be made undumpable: {error}"))
}

/// Which of the measures that need a kernel of their own this one has.
pub(super) fn possible() -> Vec<(Measure, Outcome)> {
    // Filters hold for the thread that makes them: this one tries, and ends.
    let filter = memory::apart(|| privileges().and_then(|()| system_calls()));
    let filter = filter.unwrap_or_else(|error| Err(format!("there is no thread to try it in: {error}")));
    vec![
        (Measure::Files, access::can_confine_files()),
        (Measure::Ports, access::can_confine_ports()),
        (Measure::SystemCalls, filter),
    ]
}

/// No program that it starts has more privileges than itself (PR_SET_NO_NEW_PRIVS(2const)).
pub(super) fn privileges() -> Outcome {
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs cannot be set: {error}"))
}
