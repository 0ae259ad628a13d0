//! The machine, the user and the processes around.

use std::fs;
use std::path::Path;

use crate::cli::doctor::finding::Finding;
use crate::config::Loaded;
use crate::confinement::{Confinement, Measure, Sandbox};

/// Looks at `/proc` under `root`, and at this very process.
pub(super) fn look(root: &Path, loaded: &Loaded) -> Vec<Finding> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut findings = Vec::new();
    findings.extend(user(rustix::process::geteuid().as_raw()));
    findings.extend(processes(&read("proc/1/comm")));
    findings.extend(swap(&read("proc/swaps")));
    findings.extend(dumps(&read("proc/sys/kernel/core_pattern"), loaded.config.server.sandbox));
    findings.extend(confinement(loaded.config.server.sandbox));
    findings
}

fn user(id: u32) -> Option<Finding> {
    (id == 0).then(|| {
        let advice =
            "run it as a user of its own: it needs no privilege, and root's files are then none of its";
        Finding::advice("user", "this user is root", advice)
    })
}

/// In a pod whose containers share their processes, the first one is the pod's `pause`.
fn processes(first: &str) -> Option<Finding> {
    (first.trim() == "pause").then(|| {
        Finding::fault(
            "processes",
            "the containers of this pod share their processes: the app sees bearerd's",
            "take `shareProcessNamespace: true` out of the pod, and let the app run as another user",
        )
    })
}

fn swap(swaps: &str) -> Option<Finding> {
    // The first line is the table's head. What is swapped to compressed memory reaches no disk.
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let areas: Vec<&str> = areas.filter(|area| !area.starts_with("/dev/zram")).collect();
    (!areas.is_empty()).then(|| {
        let message = format!("this machine swaps to {}", areas.join(", "));
        let advice = "bearerd locks the secrets that tokens are made with, but not the tokens: encrypt the swap, or \
                      set `MemorySwapMax=0` in the unit";
        Finding::advice("swap", message, advice)
    })
}

fn dumps(pattern: &str, sandbox: Sandbox) -> Option<Finding> {
    let program = pattern.trim().strip_prefix('|')?;
    (sandbox == Sandbox::Off).then(|| {
        let name = program.split_ascii_whitespace().next().unwrap_or_default();
        let message = format!("core dumps of all programs go to {name}");
        Finding::advice("core_pattern", message, "bearerd leaves none, but commands of the configuration may")
    })
}

fn confinement(sandbox: Sandbox) -> Vec<Finding> {
    let possible = Confinement::possible(sandbox).into_iter();
    let missing = possible.filter_map(|(measure, outcome)| Some((measure, outcome.err()?)));
    let finding = |(measure, reason): (Measure, String)| {
        let message = format!("the measure `{}` is not to be had: {reason}", measure.as_str());
        if sandbox == Sandbox::Strict {
            let advice = "bearerd will refuse to run: mend it, or say `sandbox = \"on\"`";
            Finding::fault("confinement", message, advice)
        } else {
            let advice = match measure {
                Measure::Memory => "raise `LimitMEMLOCK` in the unit, or `ulimit -l`",
                _ => {
                    "bearerd runs without it; a newer kernel, or a container runtime that lets it through, has it"
                }
            };
            Finding::advice("confinement", message, advice)
        }
    };
    missing.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::{dumps, processes, swap, user};
    use crate::confinement::Sandbox;

    #[test]
    fn root_is_found() {
        assert!(user(0).is_some() && user(1000).is_none());
    }

    #[test]
    fn a_shared_process_namespace_is_found() {
        assert_eq!(processes("pause\n").map(|finding| finding.check), Some("processes"));
        assert!(processes("systemd\n").is_none() && processes("bearerd\n").is_none());
    }

    #[test]
    fn swap_on_a_disk_is_found() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(swap(head).is_none() && swap("").is_none());
        let zram = head.to_owned() + "/dev/zram0 partition 1000 0 100\n";
        assert!(swap(&zram).is_none());
        let found = swap(&(zram + "/swapfile file 1000 0 -2\n")).expect("a finding");
        assert_eq!((found.check, found.message.as_str()), ("swap", "this machine swaps to /swapfile"));
    }

    #[test]
    fn a_program_that_takes_core_dumps_is_found_where_commands_run_unconfined() {
        let pattern = "|/usr/lib/systemd/systemd-coredump %P %u\n";
        let found = dumps(pattern, Sandbox::Off).expect("a finding");
        assert!(found.message.ends_with("/usr/lib/systemd/systemd-coredump"), "{found:?}");
        assert!(dumps(pattern, Sandbox::On).is_none() && dumps("core\n", Sandbox::Off).is_none());
    }
}
