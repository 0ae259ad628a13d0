//! The path gate and the canonical form of paths.
