//! Vendor simulators on loopback.
