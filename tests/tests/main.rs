//! What a user does with a whole cluster, with real containers: one module for each promise of the
//! README.
#![allow(clippy::unwrap_used)]

mod crash;
mod full_disk;
mod inside;
mod join;
mod kubectl;
mod node;
mod start;
mod trouble;
mod workloads;
