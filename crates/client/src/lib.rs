//! How every other part reaches the API: transports, informers, work queues, the loop that runs a
//! reconciler, leader election and events.
//!
//! The flow of a reconciler: an [`Informers`] registry keeps one shared cache per kind; a
//! [`informer::Subscription`] turns changes into keys; a [`queue::WorkQueue`] holds each key once;
//! [`controller::run`] calls the reconciler with a key at a time and retries with backoff.
//! Clock and randomness are passed in wherever behaviour depends on them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backoff;
mod context;
pub mod controller;
pub mod election;
pub mod events;
mod fence;
pub mod informer;
mod key;
pub mod metrics;
pub mod queue;
pub mod random;
mod transport;

pub use context::Context;
pub use fence::{Closed, Fence};
pub use informer::{Change, Index, Informer, Informers, Scope, Subscription};
pub use key::{Key, revision_of};
pub use transport::{TransportError, from_kubeconfig, in_process};
