//! Signed JSON (JOSE; RFC 7515, 7517 and 7518): keys that sign, and what they sign.

pub mod detached;
pub mod key;
pub mod proof;
mod public;
pub mod verify;
