//! Who manages which fields: `metadata.managedFields`, kept on every write, and server-side apply,
//! which decides by it. Sets of fields come from walking objects by the table; all writers' sets
//! are taken as of one shape, whatever version they wrote in.

use crate::{
    Value,
    table::{Table, TypeId},
};

mod apply;
mod atomic;
mod compare;
mod conflict;
mod element;
mod entries;
mod merge;
mod node;
mod prune;
mod reset;
mod set;
mod update;

pub use atomic::atomics;
pub use conflict::{ApplyError, Conflict};
pub use element::Element;
pub use reset::ResetFields;
pub use set::Set;

/// At most this many entries of plain writes are kept; older ones become one per version.
pub const MAX_UPDATE_MANAGERS: usize = 10;

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// As `managedFields` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who writes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// `kubectl-client-side-apply`; empty means `unknown`.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version written in: `apps/v1`.
    pub api_version: String,
    /// `status`; empty for the object itself.
    pub subresource: String,
    /// Now, as a `Time`.
    pub time: String,
}

/// Notes in `new` what a plain write (not an apply) of it changes against `live`.
///
/// `new` may bring `metadata.managedFields` of its own, as a read object does; an empty list stops
/// the tracking. Fields that the subresource does not write are left out of account:
/// [`ResetFields::of`].
pub fn update(table: &Table, ty: TypeId, live: Option<&Value>, new: &mut Value, manager: &Manager) {
    let reset = ResetFields::of(&manager.subresource);
    update_with(table, ty, live, new, manager, &reset);
}

/// [`update`] with other fields left out of account.
pub fn update_with(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager,
    reset: &ResetFields,
) {
    update::run(table, ty, live, new, manager, reset);
}

/// Applies a configuration: the object that results, with what the manager applied earlier and
/// applies no more taken out. The result is to be defaulted and validated like any written object.
pub fn apply(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApplyError> {
    let reset = ResetFields::of(&manager.subresource);
    apply_with(table, ty, live, applied, manager, force, &reset)
}

/// [`apply`] with other fields left out of account.
pub fn apply_with(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager,
    force: bool,
    reset: &ResetFields,
) -> Result<Value, ApplyError> {
    apply::run(table, ty, live, applied, manager, force, reset)
}
