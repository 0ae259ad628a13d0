//! What is read soon, brought into the processor's caches while the program goes on.
//!
//! Of one route in thousands the caches have little. What its requests read hangs together by pointers: without this
//! each of its lines would be waited for before the next is asked for.

use std::future::poll_fn;
use std::pin::pin;

/// Bytes that the caches keep together.
const LINE: usize = 64;

/// At most so many lines of a slice: what stands behind them few requests read.
const MOST_LINES: usize = 5;

/// Where a value begins. It may be gone when it is brought: then other lines come, which is no harm.
#[derive(Debug, Clone, Copy)]
pub struct Place(*const u8);

impl Place {
    /// The place of a value.
    #[inline]
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self(std::ptr::from_ref(value).cast())
    }

    /// Brings what is there, 64 bytes of it.
    #[inline]
    pub fn bring(self) {
        line(self.0);
        line(self.0.wrapping_add(LINE - 1));
    }
}

/// Brings the beginning of a value, 64 bytes of it. Nothing is read. Elsewhere than on x86-64 it does nothing, as
/// all of this.
#[inline]
pub fn bring<T: ?Sized>(value: &T) {
    Place::of(value).bring();
}

/// Brings the beginning of a slice, 320 bytes of it at most.
#[inline]
pub fn bring_slice<T>(values: &[T]) {
    let (address, length) = (values.as_ptr().cast::<u8>(), size_of_val(values));
    for number in 0..length.div_ceil(LINE).min(MOST_LINES) {
        line(address.wrapping_add(number * LINE));
    }
    line(address.wrapping_add(length.saturating_sub(1)));
}

/// Brings the places each time that the work is looked at: it may have waited, and what it needs then is gone from
/// the caches.
pub async fn bring_before<W: Future>(places: &[Place], work: W) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        places.iter().copied().for_each(Place::bring);
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "there is no other way to ask for it; nothing is read or written")]
#[inline(always)]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint. Whatever the address, it neither faults nor changes anything but caches
    // ("PREFETCHlevel", AMD64 Architecture Programmer's Manual, volume 3). It needs SSE, which each x86-64 has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn line(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use super::{Place, bring, bring_before, bring_slice};

    #[tokio::test]
    async fn what_is_brought_is_left_as_it_is_be_it_long_short_or_gone() {
        let long: Vec<u64> = (0..1000).collect();
        bring_slice(&long);
        bring_slice::<u8>(&[]);
        bring(&long[999]);
        assert!(long.iter().copied().eq(0..1000));
        let gone = Place::of(&*Box::new(1));
        let work = async {
            tokio::task::yield_now().await;
            long.len()
        };
        assert_eq!(bring_before(&[Place::of(&long), gone], work).await, 1000);
    }
}
