//! The queue between those who log and the thread that writes.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines wait for a reader that stands still.
const QUEUE_LINES: usize = 1024;
/// How often, and in what steps, the end of the process waits for the last lines: 0.5 s.
const FLUSH_TRIES: u32 = 50;
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many log lines were dropped because standard error stood still, since the process began.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The end of the queue that takes lines; cloning shares it.
#[derive(Clone)]
pub(super) struct Queue(SyncSender<Item>);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the thread that writes to `output`.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_LINES);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || write_all(&receiver, output))?;
        Ok(Self(sender))
    }

    /// Takes a line, or drops and counts it when the queue is full. Never waits.
    pub(super) fn push(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Item::Line(line)) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the lines so far are written, or for half a second.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let mut flush = Item::Flush(done);
        for _ in 0..FLUSH_TRIES {
            match self.0.try_send(flush) {
                Ok(()) => {
                    // Too late is as good as never: the process ends.
                    let _ = wait.recv_timeout(FLUSH_PAUSE * FLUSH_TRIES);
                    return;
                }
                Err(TrySendError::Full(item)) => flush = item,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(FLUSH_PAUSE);
        }
    }
}

fn write_all(items: &Receiver<Item>, mut output: impl Write) {
    let mut told = lines_dropped();
    for item in items {
        match item {
            // A closed standard error leaves nowhere to tell so.
            Item::Line(line) => drop(output.write_all(&line)),
            Item::Flush(done) => drop(done.send(())),
        }
        let dropped = lines_dropped();
        if dropped > told {
            let lines = dropped - told;
            told = dropped;
            tracing::warn!(lines, "log lines were dropped: standard error stood still");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{QUEUE_LINES, Queue, lines_dropped};

    /// An output that writes one line for each permission.
    struct Slow {
        permissions: Receiver<()>,
        lines: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permissions.recv().map_err(io::Error::other)?;
            self.lines.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_standard_error_drops_lines_and_holds_nobody_up() {
        let (permit, permissions) = channel();
        let (lines, written) = channel();
        let queue = Queue::start(Slow { permissions, lines }).expect("a thread");
        let before = lines_dropped();
        for number in 0..2 * QUEUE_LINES {
            queue.push(number.to_string().into_bytes());
        }
        assert!(lines_dropped() - before >= (QUEUE_LINES - 1) as u64);
        for _ in 0..2 * QUEUE_LINES {
            permit.send(()).expect("the writer");
        }
        queue.flush();
        let written: Vec<_> = written.try_iter().collect();
        assert!(written.len() >= QUEUE_LINES && written[1] == b"1", "{}", written.len());
    }
}
