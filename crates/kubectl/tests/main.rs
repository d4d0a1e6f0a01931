//! The command line through its public face.
#![allow(clippy::unwrap_used)]

mod describe;
