//! The scheduler: decides on which node each pod runs.
//!
//! Floor: an API client with the identity `system:kube-scheduler`. One loop owns all state
//! ([`decide::Scheduler`], pure) and turns watch events into decisions; decisions are written
//! concurrently ([`bind`]) and their outcome comes back into the loop.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bind;
pub mod cache;
pub mod decide;
pub mod extenders;
pub mod framework;
mod metrics;
pub mod plugins;
pub mod preemption;
pub mod queue;
mod run;
pub mod selectors;

pub use framework::config::{Configuration, parse as parse_configuration};
pub use run::{run, run_with};
