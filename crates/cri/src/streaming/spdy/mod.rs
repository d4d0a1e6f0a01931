//! SPDY/3.1, as much of it as Kubernetes' clients speak: streams, headers, data, no flow control.

mod connection;
mod frame;
mod headers;

pub use connection::{Connection, Stream, StreamWriter};
