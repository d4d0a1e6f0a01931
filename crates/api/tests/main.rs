//! Tests of the tables against upstream's own data.
#![allow(clippy::unwrap_used)]

mod roundtrip;
