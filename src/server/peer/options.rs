//! Two options of a Unix socket that no safe interface offers (socket(7), unix(7)).
#![expect(
    unsafe_code,
    reason = "no crate here has these options; the two calls are below, with their bounds"
)]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// From `asm-generic/socket.h`.
const SOCKET: c_int = 1;
const PEER_GROUPS: c_int = 59;
const PEER_PROCESS: c_int = 77;

/// Groups that a first guess has room for; the kernel tells how many there are if they are more.
const USUAL: usize = 64;

unsafe extern "C" {
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
}

/// The supplementary groups of the process that connected, as they were then (Linux 4.13).
pub(super) fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; USUAL];
    loop {
        match get(socket, PEER_GROUPS, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err((error, count))
                if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::RANGE) =>
            {
                if count <= groups.len() {
                    return Err(error);
                }
                groups.resize(count, 0);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// A descriptor of the very process that connected, which no other process takes the place of (Linux 6.5).
pub(super) fn peer_process(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut descriptor = [-1_i32];
    get(socket, PEER_PROCESS, &mut descriptor).map_err(|(error, _)| error)?;
    // SAFETY: the kernel has just made this descriptor for us alone; nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor[0]) })
}

/// Fills `values` with an option, and says how many there are, also where they are too many.
fn get<T: Number>(socket: &impl AsFd, name: c_int, values: &mut [T]) -> Result<usize, (io::Error, usize)> {
    let socket = socket.as_fd().as_raw_fd();
    let mut length = u32::try_from(size_of_val(values)).unwrap_or(u32::MAX);
    // SAFETY: `value` points to `length` bytes that are writable and of which every pattern is a number;
    // both outlive the call, and the kernel writes no more than that.
    let done = unsafe { getsockopt(socket, SOCKET, name, values.as_mut_ptr().cast(), &raw mut length) };
    let count = length as usize / size_of::<T>();
    if done == 0 { Ok(count) } else { Err((io::Error::last_os_error(), count)) }
}

/// A type of which every pattern of bytes is a value.
trait Number {}
impl Number for u32 {}
impl Number for i32 {}
