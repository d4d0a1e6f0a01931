//! Revisioned keys with watch: an engine that keeps them durably, and the watch cache over it.
//!
//! ```text
//!  apiserver ──create/update/delete──▶ Store ──commit──▶ Engine (redb now; etcd is the other one)
//!            ◀─get/list/watch──────── Cache ◀──apply─── in revision order, before the
//!                                                        commit is acknowledged
//! ```
//!
//! Promises, which the rest of Corten is built on:
//! - a write is acknowledged after it is durable; writers that arrive together share one sync;
//! - revisions are one strictly increasing sequence over the whole store;
//! - whoever was told of a write sees it in every later read;
//! - a list is one consistent snapshot at its revision;
//! - a watch resumes from any kept revision and sees every later event exactly once, in order,
//!   or is told that its revision has expired.
//!
//! Only the crate `apiserver` opens a store.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
mod cache;
pub mod engine;
mod entry;
mod event;
mod key;
mod options;
mod seal;
mod store;
mod watch;

pub use attributes::Attributes;
pub use cache::{List, ListError, ListOptions};
pub use engine::{Engine, Expect, OpenError};
pub use entry::{Entry, Marks, Stored};
pub use event::{Event, EventKind};
pub use key::{Key, Revision};
pub use options::Options;
pub use seal::{Seal, SealError};
pub use store::{IndexFn, RegisterError, Registration, Stats, Store, WriteError};
pub use watch::{Scope, WatchError, WatchStream};
