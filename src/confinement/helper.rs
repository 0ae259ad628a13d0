//! The helper: a process that was started before everything was given up, and that starts the commands
//! of the configuration, and nothing else.
//!
//! ```text
//! bearerd ── the commands, once ────────────────────────────────▶ helper
//!         ── number of a command, its two pipes, a socket ──────▶ (starts it)
//!         ◀═════════════ output, straight from the command ══════ command
//!         ◀── how it ended, by that socket ─────────────────────── helper
//! ```
//!
//! It is this very program with another first argument, has one thread, sees no secret (outputs go past
//! it), and ends with bearerd: when the socket between them closes.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::OnceLock;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::confinement::command::{self, Group};

/// The first argument that makes a helper of this program.
pub const ARGUMENT: &str = "helper-for-commands";

/// What is said of a command that ended well.
const WELL: &[u8] = b"ok";

/// The helper of this process, if it has one: that it may start no programs is true of all of it.
static OF_PROCESS: OnceLock<Helper> = OnceLock::new();

/// The way to the helper.
#[derive(Debug)]
pub(super) struct Helper {
    control: UnixStream,
    commands: Vec<Vec<String>>,
}

impl Helper {
    /// Starts the one of this process, which may run these commands.
    pub(super) fn start(commands: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
        let commands: Vec<_> = commands.into_iter().collect();
        let (mut control, its) = UnixStream::pair()?;
        // It is not waited for: it ends when this process does.
        drop(
            std::process::Command::new("/proc/self/exe")
                .arg0("bearerd")
                .arg(ARGUMENT)
                .env_clear()
                .envs(command::environment())
                .stdin(OwnedFd::from(its))
                .stdout(Stdio::null())
                // What is typed at a terminal to end bearerd is not for the helper.
                .process_group(0)
                .spawn()?,
        );
        let list = serde_json::to_vec(&commands)?;
        control.write_all(&(list.len() as u64).to_le_bytes())?;
        control.write_all(&list)?;
        control.set_nonblocking(true)?;
        // It is called once.
        let _ = OF_PROCESS.set(Self { control, commands });
        Ok(())
    }

    /// The one of this process.
    pub(super) fn of_process() -> Option<&'static Self> {
        OF_PROCESS.get()
    }

    /// Has a command started that reads from `input` and writes to `output`. The error says why it cannot be.
    pub(super) fn ask(
        &self,
        argv: &[String],
        input: BorrowedFd<'_>,
        output: BorrowedFd<'_>,
    ) -> Result<Asked, String> {
        let number = self.commands.iter().position(|known| known == argv);
        let number = number.ok_or("is not one of those that were configured at start: restart needed")?;
        let gone = |error: io::Error| {
            format!("cannot be started, since the helper is gone ({}): restart needed", error.kind())
        };
        let (ending, its) = UnixStream::pair().map_err(gone)?;
        send(&self.control, number as u64, [input, output, its.as_fd()]).map_err(gone)?;
        ending.set_nonblocking(true).map_err(gone)?;
        Ok(Asked { ending: tokio::net::UnixStream::from_std(ending).map_err(gone)? })
    }
}

/// Sends a number with descriptors, in one piece.
fn send(control: &UnixStream, number: u64, passed: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    // The space is made for three.
    beside.push(SendAncillaryMessage::ScmRights(&passed));
    sendmsg(control, &[IoSlice::new(&number.to_le_bytes())], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A command that the helper was asked to start. Dropping it has the helper end it.
#[derive(Debug)]
pub struct Asked {
    ending: tokio::net::UnixStream,
}

impl Asked {
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        let mut told = Vec::new();
        match self.ending.read_to_end(&mut told).await {
            Ok(_) if told == WELL => Ok(()),
            Ok(_) if !told.is_empty() => Err(String::from_utf8_lossy(&told).into_owned()),
            _ => Err("was lost, since the helper has ended: restart needed".to_owned()),
        }
    }
}

/// Is a helper, until the process that started it ends. It is spoken to by its standard input.
pub fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Whoever ends a whole group of processes ends bearerd too, which may want a command before.
        let _kept = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let mut control = adopt(io::stdin().as_fd().try_clone_to_owned()?)?;
        let length = control.read_u64_le().await?;
        let mut list = Vec::new();
        (&mut control).take(length).read_to_end(&mut list).await?;
        let commands: Vec<Vec<String>> = serde_json::from_slice(&list)?;
        let mut running = JoinSet::new();
        while let Some((number, [input, output, ending])) = receive(&control).await? {
            while running.try_join_next().is_some() {}
            if let Some(argv) = usize::try_from(number).ok().and_then(|at| commands.get(at)) {
                running.spawn(run(argv.clone(), input, output, ending));
            }
        }
        Ok(())
    })
}

fn adopt(socket: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}

/// A number with the descriptors that came with it; `None` when the other end is closed.
async fn receive(control: &tokio::net::UnixStream) -> io::Result<Option<(u64, [OwnedFd; 3])>> {
    let mut number = [0; 8];
    let mut passed = Vec::new();
    let length = control
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [IoSliceMut::new(&mut number)];
            let message = recvmsg(control, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            for also in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = also {
                    passed.extend(descriptors);
                }
            }
            Ok(message.bytes)
        })
        .await?;
    match (length, <[OwnedFd; 3]>::try_from(passed)) {
        (0, _) => Ok(None),
        (8, Ok(passed)) => Ok(Some((u64::from_le_bytes(number), passed))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Runs a command, and tells how it ended. When nobody waits for that any more, it is ended.
async fn run(argv: Vec<String>, input: OwnedFd, output: OwnedFd, ending: OwnedFd) -> io::Result<()> {
    let mut ending = adopt(ending)?;
    let mut group = match Group::start(&argv, input, output) {
        Ok(group) => group,
        Err(error) => return ending.write_all(command::cannot_start(&argv, &error).as_bytes()).await,
    };
    let (mut waits, mut tells) = ending.split();
    let mut nothing = [0; 1];
    let outcome = tokio::select! {
        outcome = group.ended() => outcome,
        // Nothing is ever sent this way.
        _ = waits.read(&mut nothing) => return Ok(()),
    };
    tells.write_all(outcome.as_ref().map_or_else(String::as_bytes, |()| WELL)).await
}
