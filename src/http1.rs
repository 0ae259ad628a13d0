//! HTTP/1.1 messages (RFC 9112) without any I/O: reading heads, following bodies, writing both.
//!
//! A head is read once, into a flat list of spans over its own text: no map is made of it, nothing is
//! hashed and names keep their spelling. What the rest of the house asks of a field is its
//! [`Kind`], found when it is read.

pub mod body;
pub mod field;
pub mod head;

pub use body::{Decoder, Encoder, Framing};
pub use field::{Field, Fields, Kind};
pub use head::{AnswerHead, HeadLimits, RequestHead};
