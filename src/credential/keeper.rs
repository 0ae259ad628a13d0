//! The one background task that keeps all credentials fresh.
