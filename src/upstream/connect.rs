//! Names to addresses to connections.
