//! Machines that do not have it all: older kernels, strict containers, low limits.

use std::fs;
use std::thread;

use landlock::{AccessFs, Ruleset, RulesetAttr};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::Value;

use super::{confinement, route};
use crate::support::sidecar::{Setup, bearerd, run};
use crate::support::{Upstream, canary};

/// Starts a process from a thread that has as many layers of Landlock as the kernel allows.
fn beyond_the_last_layer<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let spoiled = thread::spawn(|| {
        let layer = || Ruleset::default().handle_access(AccessFs::MakeChar)?.create()?.restrict_self();
        while layer().is_ok() {}
        start()
    });
    spoiled.join().expect("a thread")
}

#[test]
fn what_the_machine_does_not_have_is_told_and_counted_and_strict_refuses_to_run_without() {
    let upstream = Upstream::start();
    let configuration = route(&upstream, &format!("{{ value = \"{}\" }}", canary::token()));
    let setup = Setup::new(&configuration);
    let sidecar = beyond_the_last_layer(move || setup.start());
    sidecar.wait_until_ready();
    assert_eq!((confinement(&sidecar, "files"), confinement(&sidecar, "system_calls")), (0, 1));
    sidecar.log("what is missing", |line| {
        line["message"] == "not confined in this" && line["measure"] == "files" && line["level"] == "WARN"
    });
    assert_eq!(sidecar.app().get("/").status(), 200);

    let strict = Setup::new(&configuration).server("sandbox = \"strict\"");
    let (code, told) = beyond_the_last_layer(move || strict.start_in_vain());
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("`sandbox = \"strict\"`") && told.contains("files: "), "{told}");
}

/// Starts a process from a thread for which the kernel has no such system calls, as an older one, or a container
/// that does not let them through.
fn on_a_kernel_without<T: Send + 'static>(calls: &[i64], start: impl FnOnce() -> T + Send + 'static) -> T {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known processor");
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    let older = thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("a filter that holds");
        start()
    });
    older.join().expect("a thread")
}

#[test]
fn without_landlock_or_seccomp_it_runs_and_tells_it_and_the_doctor_knows_beforehand() {
    let upstream = Upstream::start();
    let configuration = route(&upstream, "{ file = \"token\" }");
    for (calls, missing) in [
        (&[libc::SYS_landlock_create_ruleset][..], &["files", "ports"][..]),
        (&[libc::SYS_seccomp], &["system_calls"]),
    ] {
        let setup = || Setup::new(&configuration).file("token", &canary::token());
        let sidecar = on_a_kernel_without(calls, {
            let setup = setup();
            move || setup.start()
        });
        sidecar.wait_until_ready();
        assert_eq!(sidecar.app().get("/").status(), 200);
        for measure in missing {
            assert_eq!(confinement(&sidecar, measure), 0, "{measure}");
            sidecar.log("what is missing", |line| {
                line["message"] == "not confined in this" && line["measure"] == *measure
            });
        }

        for (line, severity, code) in [("", "advice", 0), ("sandbox = \"strict\"", "fault", 1)] {
            let setup = setup().server(line);
            let mut doctor = bearerd(&["doctor", "--json", "--config"]);
            doctor.arg(setup.write());
            let output = on_a_kernel_without(calls, move || run(doctor, ""));
            let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let found: Vec<_> = told["findings"].as_array().expect("a list").iter().collect();
            for measure in missing {
                let name = format!("`{measure}`");
                let finding = found.iter().find(|finding| {
                    finding["check"] == "confinement"
                        && finding["message"].as_str().is_some_and(|message| message.contains(&name))
                });
                let finding = finding.unwrap_or_else(|| panic!("{measure} in {told}"));
                assert_eq!(finding["severity"], severity, "{finding}");
                assert!(!finding["advice"].as_str().expect("a text").is_empty());
            }
            assert_eq!(output.status.code(), Some(code), "{told}");
            if code == 1 {
                let (code, told) = on_a_kernel_without(calls, move || setup.start_in_vain());
                assert_eq!(code, Some(78), "{told}");
                assert!(missing.iter().all(|measure| told.contains(&format!("{measure}: "))), "{told}");
            }
        }
    }
}

#[test]
fn as_much_memory_is_locked_as_the_limit_leaves_and_the_rest_is_told() {
    let upstream = Upstream::start();
    let configuration = route(&upstream, "{ file = \"token\" }");
    // Whoever has this capability knows no limit: root would have it.
    let without = if rustix::process::geteuid().is_root() { "setpriv --bounding-set=-ipc_lock" } else { "" };
    for (kib, locked) in [(0, 0), (8, 8), (64, 64), (100, 64), (8192, 64)] {
        let script = format!("ulimit -l {kib}; exec {without} \"$@\"");
        let setup = Setup::new(&configuration).file("token", &canary::token());
        let sidecar = setup.through(&["/bin/sh", "-c", &script, "sh"]).start();
        sidecar.wait_until_ready();
        assert_eq!(sidecar.app().get("/").status(), 200);
        let bytes = |locked| sidecar.metric(&format!("bearerd_secret_memory_bytes{{locked=\"{locked}\"}}"));
        assert_eq!(bytes("yes"), locked * 1024, "{kib} KiB");
        assert_eq!(confinement(&sidecar, "memory"), u64::from(kib > 0), "{kib} KiB");
        assert_eq!(bytes("no") > 0, kib == 0, "{kib} KiB");
        let status = fs::read_to_string(format!("/proc/{}/status", sidecar.id())).expect("a status");
        assert!(status.contains(&format!("VmLck:\t{locked:>8} kB")), "{kib} KiB: {status}");
    }
}
