//! What became of bytes that crossed the end of their connection on the way.

use std::io::ErrorKind;

use tokio::net::TcpStream;

/// What became of bytes that were written to a connection that the other end has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nobody has seen any of them.
    Unseen,
    /// That is not known yet.
    Undecided,
    /// They may have been received.
    Unknown,
}

impl Fate {
    /// What became of the last `written` bytes; the first write behind them may have failed for this reason.
    ///
    /// None of them was seen if three things hold: the other end has said that it sends nothing more (FIN); until
    /// then, and since, it has acknowledged none of them; and what it answered them with is a reset, as a system
    /// answers what comes for a socket that nobody holds any more (RFC 9293, section 3.10.7.4). One that
    /// reads on behind its FIN acknowledges what comes instead.
    #[cfg(target_os = "linux")]
    pub(super) fn of(stream: &TcpStream, written: u64, failed: Option<ErrorKind>) -> Self {
        match linux::Report::of(stream) {
            Some(report) if report.unacknowledged < written => Self::Unknown,
            // TLS says its own farewell before that of the connection.
            Some(report) if matches!(report.state, linux::ESTABLISHED | linux::CLOSE_WAIT) => Self::Undecided,
            // The kernel calls a reset behind a FIN a broken pipe, and any other by its name; it does so once, be it to
            // a write or to whoever asks.
            Some(report) if report.state == linux::CLOSED => {
                let told = || stream.take_error().ok().flatten().map(|error| error.kind());
                if failed.or_else(told) == Some(ErrorKind::BrokenPipe) { Self::Unseen } else { Self::Unknown }
            }
            _ => Self::Unknown,
        }
    }

    /// Elsewhere the system is not asked.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_: &TcpStream, _: u64, _: Option<ErrorKind>) -> Self {
        Self::Unknown
    }
}

/// `TCP_INFO` (tcp(7)).
#[cfg(target_os = "linux")]
mod linux {
    #![expect(
        unsafe_code,
        reason = "no crate here has this option as far as it is needed; the call is below"
    )]

    use std::ffi::{c_int, c_void};
    use std::os::fd::AsRawFd;

    use tokio::net::TcpStream;

    /// From `net/tcp_states.h`.
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const CLOSED: u8 = 7;
    pub(super) const CLOSE_WAIT: u8 = 8;

    /// From `netinet/tcp.h`, and where the numbers stand in `struct tcp_info` of `linux/tcp.h` (Linux 4.19).
    const TCP: c_int = 6;
    const INFO: c_int = 11;
    const ACKNOWLEDGED: usize = 120;
    const UNSENT: usize = 144;
    const SENT: usize = 200;
    const SENT_AGAIN: usize = 208;
    const LENGTH: usize = 216;

    unsafe extern "C" {
        fn getsockopt(
            socket: c_int,
            level: c_int,
            name: c_int,
            value: *mut c_void,
            length: *mut u32,
        ) -> c_int;
    }

    /// What the kernel tells of a connection.
    pub(super) struct Report {
        pub(super) state: u8,
        /// Bytes that were written, and that the other end has not acknowledged.
        pub(super) unacknowledged: u64,
    }

    impl Report {
        /// None where the kernel tells less.
        pub(super) fn of(stream: &TcpStream) -> Option<Self> {
            let mut bytes = [0_u8; LENGTH];
            let mut length = u32::try_from(LENGTH).ok()?;
            let (value, socket) = (bytes.as_mut_ptr().cast(), stream.as_raw_fd());
            // SAFETY: `value` points to `length` bytes that outlive the call, and the kernel writes no more than that.
            let done = unsafe { getsockopt(socket, TCP, INFO, value, &raw mut length) };
            if done != 0 || length as usize != LENGTH {
                return None;
            }
            let long = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
            let unsent = bytes[UNSENT..UNSENT + 4].try_into().map_or(0, u32::from_ne_bytes);
            let written = long(SENT) - long(SENT_AGAIN) + u64::from(unsent);
            // The opening of the connection is acknowledged like a byte.
            Some(Self { state: bytes[0], unacknowledged: (written + 1).saturating_sub(long(ACKNOWLEDGED)) })
        }
    }
}
