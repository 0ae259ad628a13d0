//! Files and ports, by Landlock (landlock(7)): what is not granted is denied, for good.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::confinement::{Needs, Outcome};

/// Beside the configured ones: what reading the clock's and the process's own figures, looking names up and
/// checking certificates read. Programs' libraries are among them, for look-ups load some when first used.
const READ_ALWAYS: [&str; 20] = [
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/static",
    "/var/lib/ca-certificates",
    "/var/lib/sss",
];

/// Of `/etc`, if the process is root's: it could read what nobody else may. They are granted as they lie
/// there now. Others are granted the folder, since some systems replace `resolv.conf` at times.
const READ_IN_ETC: [&str; 9] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ld.so.cache",
    "/etc/localtime",
];

/// Variables by which whoever started it names files for the libraries in it: certificates, and the clock
/// of tests.
const READ_BY_VARIABLE: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "FAKETIME_TIMESTAMP_FILE"];

/// The port of DNS: long answers come over TCP (RFC 7766).
const DNS: u16 = 53;

/// What of files is denied unless it is granted: all that Linux 6.10 knows to deny.
const FILES: ABI = ABI::V5;

/// Which kernels can.
const FILES_SINCE: &str = "Linux 5.13";
const PORTS_SINCE: &str = "Linux 6.7";

/// Only the configured folders, and what a proxy reads anyway. Programs cannot be started at all.
pub(in crate::confinement) fn files(needs: &Needs) -> Outcome {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let confine = || {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(FILES))?
            .scope(Scope::Signal)?
            .create()?;
        let etc: &[&str] = if rustix::process::geteuid().is_root() { &READ_IN_ETC } else { &["/etc"] };
        for path in READ_ALWAYS.iter().chain(etc) {
            rules = grant(rules, Path::new(path), read)?;
        }
        for path in READ_BY_VARIABLE.iter().filter_map(std::env::var_os) {
            let mut named = Needs::default();
            named.read_file(Path::new(&path));
            for folder in named.read.iter().map(AsRef::as_ref).chain([Path::new(&path)]) {
                rules = grant(rules, folder, read)?;
            }
        }
        for path in &needs.read {
            rules = grant(rules, nearest(path), read)?;
        }
        for path in &needs.write {
            rules = grant(rules, path, write)?;
        }
        for path in &needs.rearrange {
            rules = grant(rules, path, write | AccessFs::MakeDir | AccessFs::Refer)?;
        }
        rules.restrict_self()
    };
    // Files are confined by any Landlock; what newer ones add comes on top.
    judge(confine(), FILES_SINCE, |status| *status != RulesetStatus::NotEnforced)
}

/// Only the configured TCP ports.
pub(in crate::confinement) fn ports(needs: &Needs) -> Outcome {
    let confine = || {
        let mut rules =
            Ruleset::default().handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?.create()?;
        for port in &needs.listen {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        // Connections with a source address of their own bind to a port that the system chooses.
        rules = rules.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
        for port in needs.connect.iter().chain([&DNS]) {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        rules.restrict_self()
    };
    judge(confine(), PORTS_SINCE, |status| *status == RulesetStatus::FullyEnforced)
}

/// Whether this kernel can confine files.
pub(super) fn can_confine_files() -> Outcome {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    asked.map(drop).map_err(|_| missing(FILES_SINCE))
}

/// Whether this kernel can confine ports.
pub(super) fn can_confine_ports() -> Outcome {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)
        .and_then(Ruleset::create);
    asked.map(drop).map_err(|_| missing(PORTS_SINCE))
}

fn missing(since: &str) -> String {
    format!("this kernel has no Landlock for it: it needs {since}, with Landlock enabled")
}

/// What is not there needs no grant.
fn grant(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(place) = PathFd::new(path) else { return Ok(rules) };
    // Of a file only what fits one: else the kernel refuses the whole rule.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(FILES) };
    rules.add_rule(PathBeneath::new(place, access))
}

/// The folder itself, or the nearest above it that is there, for it may be mounted or made later; never
/// the root.
fn nearest(path: &Path) -> &Path {
    let found = path.ancestors().find(|folder| folder.exists() && folder.parent().is_some());
    found.unwrap_or(path)
}

fn judge(
    outcome: Result<landlock::RestrictionStatus, RulesetError>,
    since: &str,
    is_enough: impl Fn(&RulesetStatus) -> bool,
) -> Outcome {
    match outcome {
        Ok(status) if is_enough(&status.ruleset) => Ok(()),
        Ok(_) => Err(missing(since)),
        Err(error) => Err(format!("Landlock cannot be used: {error}")),
    }
}
