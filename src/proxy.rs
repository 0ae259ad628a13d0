//! The life of a request.

pub mod error;

pub use error::{Code, ProxyError};
