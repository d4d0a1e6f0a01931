//! The built-in CRI runtime: images, snapshots, sandboxes, containers, and the shim that holds them.
//!
//! [`Runtime::open`] finds what is there, [`Runtime::serve`] speaks CRI on a unix socket. Pods are
//! held by [`shim`] processes and outlive the server.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod container;
pub mod images;
pub mod network;
pub mod sandbox;
pub mod shim;
pub mod snapshot;

mod server;
mod state;
mod stats;
mod sys;

pub use server::{Config, Runtime, RuntimeError};
