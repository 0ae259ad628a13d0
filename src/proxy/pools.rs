//! The pools of a worker, by where their connections lead.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Weak;

use crate::upstream::Destination;
use crate::upstream::pool::Pool;

/// By the address of the destination; a weak reference keeps the address from being used again.
pub(super) type Pools = HashMap<usize, (Weak<Destination>, Rc<Pool>), ByAddress>;

/// Addresses are spread well enough by one multiplication.
pub(super) type ByAddress = BuildHasherDefault<AddressHasher>;

/// See [`ByAddress`].
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
