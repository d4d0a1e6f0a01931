//! Tests of the engine on the built-in kinds' tables.
#![allow(clippy::unwrap_used)]

mod apply;
mod discovery;
mod hostile;
mod kinds;
mod roundtrip;
mod rules;
mod strategic;
