//! The scheduler against a real API server, under its own identity: what is written, and in what
//! order.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod cluster;
mod devices;
