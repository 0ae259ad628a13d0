//! Logs and the numbers behind the metrics.

/// How logs are written, from `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// A tracing filter, such as `info` or `bearerd=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}
