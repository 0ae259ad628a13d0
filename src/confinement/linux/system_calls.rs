//! System calls that a proxy does not need, refused by seccomp (seccomp(2)).
//!
//! Refused are those by which others break out or look in: starting programs and processes, looking into
//! processes, loading code into the kernel, changing identity, mounts, namespaces and the clock. The rest
//! is allowed, and not listed: what the C library calls differs between machines and changes with time,
//! and a proxy that dies of an update would be switched off.

use std::collections::BTreeMap;

use seccompiler::apply_filter;

use crate::confinement::Outcome;
use crate::confinement::linux::filter::{Refusal, program};

/// Refused with EPERM, whatever their arguments.
const FORBIDDEN: [i64; 57] = [
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Looking into processes, this one included.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // Ways into the kernel that other sandboxes do not see, or that had many holes.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_personality,
    libc::SYS_vhangup,
    // Who it is.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Where it is.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // What time it is.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Devices and files of a kind that it never makes.
    libc::SYS_mknodat,
    libc::SYS_memfd_secret,
];

/// This machine, as the kernel names it to filters (`AUDIT_ARCH_..`, linux/audit.h): by the number of its
/// executables (elf(5)).
const MACHINE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0x3e | WIDE_AND_LITTLE_ENDIAN)
} else if cfg!(target_arch = "aarch64") {
    Some(0xb7 | WIDE_AND_LITTLE_ENDIAN)
} else if cfg!(target_arch = "riscv64") {
    Some(0xf3 | WIDE_AND_LITTLE_ENDIAN)
} else {
    None
};

/// 64 bits, the lowest byte first.
const WIDE_AND_LITTLE_ENDIAN: u32 = 0xc000_0000;

/// Forbids them, and to start processes: threads are what the rest of `clone` is for. `clone3` hides its
/// flags behind a pointer, so that it is said not to exist, on which C libraries take `clone`.
pub(in crate::confinement) fn forbid() -> Outcome {
    let machine = MACHINE.ok_or("system calls cannot be filtered on a machine of this kind")?;
    apply_filter(&program(&refused(), machine))
        .map_err(|error| format!("system calls cannot be filtered: {error}"))
}

/// All that is refused, sorted by number.
fn refused() -> Vec<(u32, Refusal)> {
    let mut numbers = FORBIDDEN.to_vec();
    #[cfg(target_arch = "x86_64")]
    numbers.extend([libc::SYS_fork, libc::SYS_vfork, libc::SYS_mknod]);
    let forbidden = numbers.into_iter().map(|number| (number, Refusal::Always(libc::EPERM)));
    let processes = [
        (libc::SYS_clone, Refusal::Without(libc::CLONE_THREAD.unsigned_abs(), libc::EPERM)),
        (libc::SYS_clone3, Refusal::Always(libc::ENOSYS)),
    ];
    let sorted: BTreeMap<_, _> = forbidden.chain(processes).collect();
    sorted.into_iter().filter_map(|(number, refusal)| Some((u32::try_from(number).ok()?, refusal))).collect()
}
