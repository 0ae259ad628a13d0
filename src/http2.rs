//! HTTP/2 (RFC 9113) without any I/O, as apps speak it: frames, the compression of fields, heads.
//!
//! What comes over HTTP/2 becomes the same flat heads that HTTP/1.1 has (`http1`), and what goes out is
//! written straight into the output of a connection. The connections themselves are those of `server`;
//! to upstreams HTTP/2 is spoken by hyper.

pub mod frame;
pub mod head;
pub mod hpack;

use h2::Reason;

/// A rule that the other side broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection cannot go on (RFC 9113, section 5.4.1).
    Connection(Reason),
    /// Only the stream ends (section 5.4.2).
    Stream(Reason),
}
