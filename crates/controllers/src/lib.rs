//! The controllers: one reconciler each, in folders by API group.
//!
//! Every controller has the same shape. Its `mod.rs` wires informers to a queue and reconciles one
//! key: it reads the caches, asks a pure plan what to do, and executes that. Plans have no IO and are
//! what the unit tests test. Writes are bound to the state they were planned from, so that a stale
//! cache costs a retry and never a wrong write.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod core;
mod discovery;
mod entries;
mod error;
mod expectations;
mod expiry;
mod gc;
mod hash;
mod kinds;
mod kit;
mod measure;
mod networking;
mod node;
mod owner;
mod pods;
mod policy;
mod protection;
mod rbac;
mod resource;
mod run;
mod scale;
mod storage;
mod storagemigration;
#[cfg(test)]
mod testing;
mod write;

pub use error::Error;
pub use node::NodeNetwork;
pub use run::{Config, RunError, Signer, names, run};
