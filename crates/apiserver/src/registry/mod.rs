//! The generic operations on objects of any kind, and the subresources.

pub mod call;
mod collection;
mod create;
mod decode;
mod delete;
mod dispatch;
mod listing;
mod manage;
mod patch;
mod read;
mod respond;
mod selection;
mod serialize;
mod sub;
mod update;
mod watch;

pub use create::create;
pub use delete::{DeleteOptions, delete};
pub use dispatch::dispatch;
pub(crate) use respond::failure;
pub use serialize::{attributes, live};
pub(crate) use serialize::{served, to_storage};
pub use update::{Change, update};

use std::sync::Arc;

use serde_json::Value;
use store::Entry;

/// What a write left behind.
pub enum Written {
    /// The object as it is stored.
    Entry(Arc<Entry>),
    /// The object as it would be stored (dry run), or as it was (deleted), in the version asked for.
    Value(Value),
}
