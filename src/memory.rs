//! Memory that the allocator holds and nobody uses.

/// Gives it back to the system. To read a configuration takes several times the memory of what comes of
/// it, and glibc's allocator would keep that for as long as the process lives. Takes a millisecond or
/// so for each 10 MiB; other threads that allocate may wait for it. Elsewhere it does nothing.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    #![expect(unsafe_code, reason = "there is no other way to ask for it; it takes no pointer")]

    use std::ffi::{c_int, c_ulong};

    // SAFETY: malloc_trim(3) is MT-safe, and leaves what is in use as it is.
    unsafe extern "C" {
        /// Returns whether anything was given back.
        pub(super) safe fn malloc_trim(keep: c_ulong) -> c_int;
    }
}
