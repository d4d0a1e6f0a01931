//! A kubelet between a real API server and a container runtime that only pretends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adoption;
mod harness;
mod lifecycle;
mod pretended_runtime;
mod probes;
mod server;
mod volumes;
