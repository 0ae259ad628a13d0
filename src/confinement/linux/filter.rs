//! The program of a seccomp filter: it finds the number of a system call by halving.
//!
//! When a filter is installed, the kernel runs it once for each system call that there is, to know from then on
//! which are allowed whatever their arguments. A program that compares one number after the other makes that
//! take a fifth of a millisecond.

use seccompiler::sock_filter;

/// How a system call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// With this error.
    Always(libc::c_int),
    /// With this error, unless one of these bits is in its first argument.
    Without(u32, libc::c_int),
}

/// Where `struct seccomp_data` (seccomp(2)) has the number, the architecture, and the lower half of the first
/// argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Numbers from here on are those of another interface to the same kernel (x32).
const OTHER_INTERFACE: u32 = 0x4000_0000;

/// A program that refuses these, sorted by their numbers, and allows the rest; calls of another architecture end
/// the process.
pub(super) fn program(refused: &[(u32, Refusal)], architecture: u32) -> Vec<sock_filter> {
    let begin = [
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, architecture, 1, 0),
        leave(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        jump(libc::BPF_JGE, OTHER_INTERFACE, 0, 1),
        fail(libc::EPERM),
    ];
    [begin.to_vec(), find(refused)].concat()
}

fn find(refused: &[(u32, Refusal)]) -> Vec<sock_filter> {
    let allow = leave(libc::SECCOMP_RET_ALLOW);
    match refused {
        [] => vec![allow],
        [(number, Refusal::Always(error))] => {
            vec![jump(libc::BPF_JEQ, *number, 0, 1), fail(*error), allow]
        }
        [(number, Refusal::Without(bits, error))] => vec![
            jump(libc::BPF_JEQ, *number, 0, 3),
            load(FIRST_ARGUMENT),
            jump(libc::BPF_JSET, *bits, 1, 0),
            fail(*error),
            allow,
        ],
        _ => {
            let (lower, upper) = refused.split_at(refused.len() / 2);
            let (first, lower) = (upper[0].0, find(lower));
            let behind = u8::try_from(lower.len()).expect("less than a hundred system calls are refused");
            [vec![jump(libc::BPF_JGE, first, behind, 0)], lower, find(upper)].concat()
        }
    }
}

fn load(place: u32) -> sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place, 0, 0)
}

/// Goes on so many steps behind the next one, if the comparison holds, or if it does not.
fn jump(comparison: u32, with: u32, if_so: u8, if_not: u8) -> sock_filter {
    step(libc::BPF_JMP | libc::BPF_K | comparison, with, if_so, if_not)
}

fn fail(error: libc::c_int) -> sock_filter {
    leave(libc::SECCOMP_RET_ERRNO | error.unsigned_abs())
}

fn leave(action: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, action, 0, 0)
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::{OTHER_INTERFACE, Refusal, program};

    const HERE: u32 = 7;

    /// What the program says of a call, as the kernel would run it.
    fn run(steps: &[seccompiler::sock_filter], number: u32, architecture: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &steps[at];
            let holds = match u32::from(step.code) & 0xf0 {
                libc::BPF_JEQ => value == step.k,
                libc::BPF_JGE => value >= step.k,
                _ => value & step.k != 0,
            };
            at += 1;
            match u32::from(step.code) & 0x07 {
                libc::BPF_LD => {
                    value = match step.k {
                        0 => number,
                        4 => architecture,
                        _ => argument,
                    }
                }
                libc::BPF_JMP => at += usize::from(if holds { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn what_is_refused_is_refused_and_the_rest_is_allowed() {
        for count in 0..90 {
            let refusal = |number| match number % 7 {
                3 => Refusal::Without(0x10, 38),
                _ => Refusal::Always(1),
            };
            let refused: Vec<_> =
                (0..count).map(|at| at * 5 + 2).map(|number| (number, refusal(number))).collect();
            let steps = program(&refused, HERE);
            for number in 0..500 {
                let known = refused.iter().find(|(other, _)| *other == number).map(|(_, refusal)| *refusal);
                for argument in [0, 0x10, 0xff, 0xffef] {
                    let expected = match known {
                        Some(Refusal::Always(error)) => libc::SECCOMP_RET_ERRNO | error.unsigned_abs(),
                        Some(Refusal::Without(bits, error)) if argument & bits == 0 => {
                            libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
                        }
                        _ => libc::SECCOMP_RET_ALLOW,
                    };
                    assert_eq!(run(&steps, number, HERE, argument), expected, "{number} of {count}");
                }
            }
            assert_eq!(run(&steps, OTHER_INTERFACE, HERE, 0), libc::SECCOMP_RET_ERRNO | 1);
            assert_eq!(run(&steps, 1, HERE + 1, 0), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
