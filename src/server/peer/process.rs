//! The process at the other end of a Unix socket.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::net::UnixStream;

use crate::caller::{Known, Needs, Peer, cgroup};
use crate::server::peer::options;

/// Looks at the process that connected: its credentials of that moment (unix(7), `SO_PEERCRED`), and what
/// it is now, if it is still there.
pub(super) fn look(stream: &UnixStream, needs: Needs, peer: &mut Peer) {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => {
            let unknown = || Cow::Owned(format!("the kernel does not tell: {error}"));
            (peer.uid, peer.gids, peer.cgroup) = (Err(unknown()), Err(unknown()), Err(unknown()));
            return;
        }
    };
    peer.uid = known_user(credentials.uid());
    if needs.gids {
        peer.gids = groups(stream, credentials.gid());
    }
    if needs.cgroup {
        peer.cgroup = control_group(stream, credentials.pid());
    }
}

/// What the kernel calls every user, and every group, that has no number in this process's user namespace
/// (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

/// A user's number, unless it stands for all those that have none here.
pub(super) fn known_user(uid: u32) -> Known<u32> {
    static MAP: OnceLock<bool> = OnceLock::new();
    known(uid, *MAP.get_or_init(|| is_mapped("/proc/self/uid_map")))
}

fn known(number: u32, overflow_is_mapped: bool) -> Known<u32> {
    if number == OVERFLOW && !overflow_is_mapped {
        return Err("bearerd runs in a user namespace in which it has no number (`PrivateUsers=`)".into());
    }
    Ok(number)
}

/// Whether the number is somebody's by a map of this process's user namespace.
fn is_mapped(map: &str) -> bool {
    // Without such a file the system has no user namespaces.
    fs::read_to_string(map).map_or(true, |map| maps(&map, OVERFLOW))
}

/// Whether a map has a number on its inside. Each line has the first number inside and outside, and how
/// many follow.
fn maps(map: &str, number: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&number.into())
    })
}

/// The groups of the process, its own first.
fn groups(stream: &UnixStream, own: u32) -> Known<Vec<u32>> {
    static MAP: OnceLock<bool> = OnceLock::new();
    let is_mapped = *MAP.get_or_init(|| is_mapped("/proc/self/gid_map"));
    let others = options::peer_groups(stream)
        .map_err(|error| Cow::Owned(format!("the kernel does not tell: {error}")))?;
    let known: Vec<u32> =
        [own].into_iter().chain(others).filter(|gid| known(*gid, is_mapped).is_ok()).collect();
    Ok(known)
}

/// The control group in which the process runs. The number of a process may be another's a moment later:
/// what was read counts only if the process that connected is still there afterwards.
fn control_group(stream: &UnixStream, pid: Option<i32>) -> Known<String> {
    let pid = pid.filter(|pid| *pid > 0).ok_or("it runs in another PID namespace")?;
    let process = Process::of(stream, pid)
        .map_err(|error| Cow::Owned(format!("its process {pid} cannot be held: {error}")))?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|error| {
        let kind = error.kind();
        Cow::Owned(format!("/proc/{pid}/cgroup cannot be read: {kind} (`ProtectProc=`, `hidepid=`?)"))
    })?;
    if !process.is_there() {
        return Err("its process has ended".into());
    }
    let path = cgroup::of_process(&text).ok_or("its process is in none")?;
    Ok(path.to_owned())
}

/// The process that connected.
enum Process {
    /// Held by the kernel.
    Held(OwnedFd),
    /// Kernels before 6.5 cannot hold it: known by its number and when it began.
    Began(i32, u64),
}

impl Process {
    fn of(stream: &UnixStream, pid: i32) -> io::Result<Self> {
        match options::peer_process(stream) {
            Ok(descriptor) => Ok(Self::Held(descriptor)),
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NOPROTOOPT) => {
                Ok(Self::Began(pid, began(pid)?))
            }
            Err(error) => Err(error),
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Held(descriptor) => !has_ended(descriptor),
            Self::Began(pid, then) => began(*pid).is_ok_and(|now| now == *then),
        }
    }
}

/// A descriptor of a process can be read when the process has ended (pidfd_open(2)).
fn has_ended(process: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let at_once = Timespec::try_from(Duration::ZERO).ok();
    !matches!(rustix::event::poll(&mut watched, at_once.as_ref()), Ok(0))
}

/// When a process began, in ticks since boot: the 22nd field of `/proc/PID/stat` (proc_pid_stat(5)).
fn began(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses, which may hold anything.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = rest.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use tokio::net::UnixStream;

    use super::{OVERFLOW, Process, began, control_group, has_ended, known, look, maps};
    use crate::caller::cgroup::of_process;
    use crate::caller::{Needs, Peer};

    #[tokio::test]
    async fn the_process_behind_a_socket_is_known_by_user_groups_and_control_group() {
        let (stream, _other) = UnixStream::pair().expect("a pair");
        let needs = Needs { uid: true, gids: true, cgroup: true, ..Needs::default() };
        let mut peer = Peer::default();
        look(&stream, needs, &mut peer);
        assert_eq!(peer.uid, Ok(rustix::process::geteuid().as_raw()));
        let gids = peer.gids.expect("groups");
        assert_eq!(gids[0], rustix::process::getegid().as_raw());
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("a line");
        let others: Vec<u32> = line.split_ascii_whitespace().map(|gid| gid.parse().expect("a gid")).collect();
        assert_eq!(gids[1..], others);
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("a group");
        assert_eq!(peer.cgroup.as_deref(), Ok(of_process(&own).expect("a path")));
    }

    #[tokio::test]
    async fn a_process_of_another_namespace_has_no_known_group() {
        let (stream, _other) = UnixStream::pair().expect("a pair");
        for pid in [None, Some(0)] {
            assert_eq!(control_group(&stream, pid), Err("it runs in another PID namespace".into()));
        }
    }

    #[test]
    fn a_process_that_has_ended_is_not_there() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
        let pid = i32::try_from(child.id()).expect("a small number");
        let by_number = Process::Began(pid, began(pid).expect("it has begun"));
        assert!(by_number.is_there());
        assert!(!Process::Began(pid, 1).is_there(), "another had this number");
        let held = rustix::process::Pid::from_raw(pid).expect("a number");
        let held = rustix::process::pidfd_open(held, rustix::process::PidfdFlags::empty()).expect("held");
        assert!(!has_ended(&held));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert!(has_ended(&held) && !by_number.is_there());
    }

    #[test]
    fn the_number_of_all_who_have_none_is_nobody_in_particular() {
        assert!(maps("         0          0 4294967295\n", OVERFLOW));
        assert!(!maps("0 0 1\n61184 61184 1\n", OVERFLOW));
        assert!(maps("0 100000 65536\n", OVERFLOW) && !maps("", OVERFLOW) && !maps("x y z\n", OVERFLOW));
        assert_eq!(known(OVERFLOW, true), Ok(OVERFLOW));
        assert!(known(OVERFLOW, false).is_err() && known(0, false).is_ok());
    }
}
