//! What stands against an apply, in upstream's words.

use super::{Manager, Operation, entries::Id};
use crate::field_error::quote;

/// A field that another manager has set to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who has set it.
    pub manager: String,
    /// How.
    pub operation: Operation,
    /// In which version; empty for appliers.
    pub api_version: String,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
    /// `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    pub(super) fn new(id: &Id, field: String) -> Self {
        Self {
            manager: id.name.clone(),
            operation: id.operation,
            api_version: id.api_version.clone(),
            subresource: id.subresource.clone(),
            field,
        }
    }

    fn who(&self) -> String {
        let mut out = quote(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(" with subresource ");
            out.push_str(&quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(" using ");
            out.push_str(&self.api_version);
        }
        out
    }

    /// What the `Status` cause of this field says: `conflict with "x" using apps/v1`.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.who())
    }
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others manage fields that it sets (`409 Conflict`).
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// It is no configuration that can be applied (`400 Bad Request`).
    #[error("{0}")]
    Invalid(String),
    /// Its schema cannot take it.
    #[error("failed to create typed patch object: {0}")]
    Untyped(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            only.message(),
            only.field
        );
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        let who = conflict.who();
        if last.as_ref() != Some(&who) {
            lines.push(format!("conflicts with {who}:"));
            last = Some(who);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

impl Manager {
    /// Whether it is kubectl's own server-side apply, which takes over from client-side apply.
    pub(super) fn is_kubectl(&self) -> bool {
        self.name == "kubectl"
    }
}
