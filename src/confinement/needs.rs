//! What a configuration needs of the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::lookout;

/// The files, ports and commands of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Folders, and single files, that are read. What lies below a folder is meant too.
    pub read: BTreeSet<PathBuf>,
    /// Folders in which files and sockets are made, written and removed.
    pub write: BTreeSet<PathBuf>,
    /// Folders in which files are moved from one folder to another, and folders are made.
    pub rearrange: BTreeSet<PathBuf>,
    /// TCP ports to listen on; 0 is one that the system chooses.
    pub listen: BTreeSet<u16>,
    /// TCP ports to connect to.
    pub connect: BTreeSet<u16>,
    /// Those of them at which something is meant to be on this machine.
    pub local: BTreeSet<u16>,
    /// Commands with their arguments.
    pub commands: BTreeSet<Vec<String>>,
}

impl Needs {
    /// Adds a file that is read. Its folder is needed, since editors and Kubernetes replace files, and each
    /// folder with a link on the way, since links are swapped too.
    pub fn read_file(&mut self, file: &Path) {
        for folder in lookout::folders_of(file) {
            // A whole machine is not what anybody means by a file in its root, or by `/var/run`.
            if folder.parent().is_none() || folder == Path::new("/var") {
                self.read.insert(absolute(file));
            } else {
                self.read.insert(folder);
            }
        }
    }

    /// Adds a file or socket that is made.
    pub fn write_file(&mut self, file: &Path) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.write.insert(absolute(folder.unwrap_or(Path::new("."))));
    }

    /// Adds a folder in which files are moved from one folder to another.
    pub fn rearrange(&mut self, folder: &Path) {
        self.rearrange.insert(absolute(folder));
    }

    /// What these do not hold of `others`, in words.
    pub(super) fn lacks(&self, others: &Self, ports_hold: bool) -> Vec<String> {
        let mut lacks = Vec::new();
        let may_read = |path: &Path| self.read.iter().chain(&self.write).any(|known| path.starts_with(known));
        for path in others.read.iter().filter(|path| !may_read(path)) {
            lacks.push(format!("to read in {}", path.display()));
        }
        for path in others.write.difference(&self.write) {
            lacks.push(format!("to write in {}", path.display()));
        }
        for path in others.rearrange.difference(&self.rearrange) {
            lacks.push(format!("to move files in {}", path.display()));
        }
        if ports_hold {
            for port in others.listen.difference(&self.listen) {
                lacks.push(format!("to listen on port {port}"));
            }
            for port in others.connect.difference(&self.connect) {
                lacks.push(format!("to connect to port {port}"));
            }
        }
        for command in others.commands.difference(&self.commands) {
            // Arguments may hold what is nobody's business.
            lacks.push(format!("to run the command `{}`", command.first().map_or("", String::as_str)));
        }
        lacks
    }

    /// A port that may be another in the next configuration, and why: nobody chose it (it is the system's
    /// choice, or one of those that it chooses from), or it is that of a server on this machine, whose people
    /// choose others as they please.
    #[cfg(target_os = "linux")]
    pub(super) fn passing_port(&self) -> Option<(u16, &'static str)> {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ends = range.split_ascii_whitespace().filter_map(|end| end.parse::<u16>().ok());
        let chance = match (ends.next(), ends.next()) {
            (Some(first), Some(last)) => first..=last,
            // The kernel's default (ip-sysctl).
            _ => 32768..=60999,
        };
        let is_chance = |port: &u16| *port == 0 || chance.contains(port);
        let by_chance = self.listen.union(&self.connect).copied().find(is_chance);
        by_chance
            .map(|port| (port, "is one that the system hands out by chance"))
            .or_else(|| Some((*self.local.first()?, "is that of a server on this machine")))
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Needs;

    fn needs(read: &[&str], connect: &[u16]) -> Needs {
        let mut needs = Needs { connect: connect.iter().copied().collect(), ..Needs::default() };
        for file in read {
            needs.read_file(Path::new(file));
        }
        needs
    }

    #[test]
    fn a_file_needs_its_folder_and_the_root_is_never_granted() {
        let needs = needs(&["/nowhere/a/secret", "/bearerd.toml"], &[]);
        let read: Vec<_> = needs.read.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(read, ["/bearerd.toml", "/nowhere/a"]);
    }

    #[test]
    fn folders_of_swapped_links_are_needed_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().canonicalize().expect("a place");
        std::fs::create_dir(place.join("first")).expect("a folder");
        std::fs::write(place.join("first/secret"), "1").expect("a file");
        std::os::unix::fs::symlink("first", place.join("now")).expect("a link");
        let mut needs = Needs::default();
        needs.read_file(&place.join("now/secret"));
        assert!(needs.read.contains(&place), "{needs:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ports_of_servers_elsewhere_stay_and_those_of_this_machine_pass() {
        let mut needs = needs(&[], &[443, 8443]);
        needs.listen.insert(8080);
        assert_eq!(needs.passing_port(), None);
        needs.local.insert(8443);
        assert_eq!(needs.passing_port().map(|(port, _)| port), Some(8443));
        needs.listen.insert(0);
        assert_eq!(needs.passing_port().map(|(port, _)| port), Some(0));
    }

    #[test]
    fn what_is_new_is_named_and_what_lies_deeper_is_not_new() {
        let before = needs(&["/nowhere/secret"], &[443]);
        assert_eq!(before.lacks(&needs(&["/nowhere/deeper/secret"], &[443]), true), [""; 0]);
        let more = needs(&["/elsewhere/secret"], &[443, 8443]);
        assert_eq!(before.lacks(&more, true), ["to read in /elsewhere", "to connect to port 8443"]);
        assert_eq!(before.lacks(&more, false), ["to read in /elsewhere"]);
    }
}
