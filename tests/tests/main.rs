//! What a user does with a whole cluster, with real containers: one module for each promise of the
//! README.
#![allow(clippy::unwrap_used)]

mod crash;
mod inside;
mod kubectl;
mod node;
mod start;
mod trouble;
mod workloads;
