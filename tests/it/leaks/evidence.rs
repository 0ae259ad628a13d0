//! What can be seen, and what of it is a secret.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::canary;
use crate::support::message::Message;
use crate::support::sidecar::{Setup, Sidecar};

/// What of `/proc/PID` anybody may read, or would like to.
const OF_A_PROCESS: [&str; 22] = [
    "auxv",
    "cgroup",
    "clear_refs",
    "cmdline",
    "comm",
    "coredump_filter",
    "environ",
    "io",
    "limits",
    "loginuid",
    "maps",
    "mountinfo",
    "net/tcp",
    "net/unix",
    "oom_score",
    "sched",
    "smaps",
    "stat",
    "statm",
    "status",
    "syscall",
    "wchan",
];

/// So many bytes of a form are looked up at once; each has more.
const BEGINNING: usize = 8;

/// What can be seen, by the place where.
#[derive(Default)]
pub(super) struct Evidence {
    found: Vec<(String, Vec<u8>)>,
    /// Secrets that were not made as canaries.
    known: Vec<String>,
}

impl Evidence {
    pub(super) fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.found.push((place.into(), bytes.into()));
    }

    pub(super) fn add_answer(&mut self, place: impl Into<String>, answer: &Message) {
        self.add(place, [answer.head.as_slice(), &answer.body].concat());
    }

    /// Has one more secret looked for.
    pub(super) fn know(&mut self, secret: &str) {
        self.known.push(secret.to_owned());
    }

    /// The same for a private key: each of its lines, since whoever shows it shows those.
    pub(super) fn know_key(&mut self, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with("--") && line.len() > 24);
        self.known.extend(lines.map(str::to_owned));
    }

    /// In how many places it looks.
    pub(super) fn places(&self) -> usize {
        self.found.len()
    }

    /// Each secret that shows, with its place and form.
    pub(super) fn hits(&self) -> Vec<String> {
        let canaries = canary::known().into_iter().map(|secret| (canary::forms(&secret), secret));
        let others = self.known.iter().map(|secret| (canary::forms_of(secret), secret.clone()));
        let secrets: Vec<_> = canaries.chain(others).collect();
        // One pass over each place, for there is much to read: whatever begins like a form is compared with it.
        let mut begins: HashMap<&[u8], Vec<(&str, &str, &str)>> = HashMap::new();
        for (forms, secret) in &secrets {
            for (name, form) in forms {
                begins.entry(&form.as_bytes()[..BEGINNING]).or_default().push((form, name, secret));
            }
        }
        let mut hits = BTreeMap::new();
        for (number, (place, bytes)) in self.found.iter().enumerate() {
            for at in 0..bytes.len().saturating_sub(BEGINNING - 1) {
                for (form, name, secret) in begins.get(&bytes[at..at + BEGINNING]).into_iter().flatten() {
                    if bytes[at..].starts_with(form.as_bytes()) {
                        hits.entry((number, secret))
                            .or_insert_with(|| format!("{place} shows {secret} ({name})"));
                    }
                }
            }
        }
        hits.into_values().collect()
    }

    /// What a process, its threads and its helper show to others of this machine, what it wrote to its folder
    /// beside the files that are `given`, and its log.
    pub(super) fn add_process(&mut self, sidecar: &Sidecar, given: &BTreeSet<OsString>) {
        let children = format!("/proc/{0}/task/{0}/children", sidecar.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        for id in children.split_ascii_whitespace().chain([sidecar.id().to_string().as_str()]) {
            self.add_one_process(&format!("/proc/{id}"));
        }
        self.add_files(sidecar.folder(), given);
        let logs = sidecar.logs().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(logs.contains("\"TRACE\"") || logs.contains("\"DEBUG\""), "the finest level is on");
        self.add("the log", logs);
    }

    fn add_one_process(&mut self, folder: &str) {
        let mut look = |file: &Path| {
            if let Ok(bytes) = fs::read(file) {
                self.add(file.display().to_string(), bytes);
            }
        };
        for name in OF_A_PROCESS {
            look(&Path::new(folder).join(name));
        }
        for task in fs::read_dir(format!("{folder}/task")).expect("its threads").flatten() {
            look(&task.path().join("comm"));
            look(&task.path().join("environ"));
        }
        for file in fs::read_dir(format!("{folder}/fd")).expect("its files").flatten() {
            if let Ok(target) = fs::read_link(file.path()) {
                self.add(file.path().display().to_string(), target.into_os_string().into_encoded_bytes());
            }
            let about = Path::new(folder).join("fdinfo").join(file.file_name());
            self.add(about.display().to_string(), fs::read(about).unwrap_or_default());
        }
    }

    fn add_files(&mut self, folder: &Path, given: &BTreeSet<OsString>) {
        for file in fs::read_dir(folder).expect("its folder").flatten() {
            if !given.contains(&file.file_name()) {
                // A socket is there without any content.
                self.add(file.path().display().to_string(), fs::read(file.path()).unwrap_or_default());
            }
        }
    }

    /// Has the process abort, which dumps the core of others, in a folder where it could, and with all limits
    /// lifted that can be: it leaves none.
    pub(super) fn add_core(&mut self, sidecar: &mut Sidecar, given: &BTreeSet<OsString>) {
        self.add_core_of(Signal::ABORT, sidecar, given);
    }

    /// The same by another signal that dumps the core.
    pub(super) fn add_core_of(&mut self, signal: Signal, sidecar: &mut Sidecar, given: &BTreeSet<OsString>) {
        let everything = Rlimit { current: None, maximum: None };
        // Only root may lift what the process has given up.
        let _ =
            prlimit(rustix::process::Pid::from_raw(sidecar.id().cast_signed()), Resource::Core, everything);
        sidecar.signal(signal);
        let status = sidecar.wait_for_exit();
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false));
        let files = fs::read_dir(sidecar.folder()).expect("its folder").flatten();
        let core = files.map(|file| file.file_name()).find(|name| name.to_string_lossy().starts_with("core"));
        assert_eq!(core, None, "there is a dump");
        self.add_files(sidecar.folder(), given);
    }
}

/// Has a bearerd run where a core dump of it would be written to its own folder; with the names of the files
/// that are there already.
pub(super) fn exposed(setup: Setup) -> (Setup, BTreeSet<OsString>) {
    setup.write();
    let given =
        fs::read_dir(setup.folder()).expect("its folder").flatten().map(|file| file.file_name()).collect();
    let script = format!("ulimit -c unlimited; cd {}; exec \"$@\"", setup.folder().display());
    (setup.through(&["/bin/sh", "-c", &script, "sh"]), given)
}
