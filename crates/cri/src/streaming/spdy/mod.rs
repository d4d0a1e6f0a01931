//! SPDY/3.1, as much of it as Kubernetes' clients speak: streams, headers, data, no flow control.

mod connection;
mod frame;
mod headers;

pub use connection::{Connection, Stream, StreamWriter};
#[cfg(test)]
pub use frame::{Frame, decode as decode_frame, encode as encode_frame};
#[cfg(test)]
pub use headers::Encoder;
