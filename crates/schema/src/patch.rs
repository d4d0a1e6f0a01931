//! The three patch formats, each from an object and a patch to a new object. What comes out is not
//! checked against the table: the request path decodes it next like any body.

use crate::{
    Value,
    table::{Table, TypeId},
};

mod json;
mod order;
mod strategic;

/// A JSON patch has at most this many operations.
pub const MAX_OPERATIONS: usize = 10_000;

/// The `copy` operations of a JSON patch add at most this many bytes.
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Why a patch does not apply. The words are those upstream's clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is no patch of its format (`400 Bad Request`).
    #[error("{0}")]
    Malformed(String),
    /// The patch has too many operations (`413 Request Entity Too Large`).
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooLarge(usize),
    /// The patch is well-formed, and the object is not as it expects (`422 Unprocessable Entity`
    /// for JSON patches, `400 Bad Request` for strategic ones).
    #[error("{0}")]
    NotApplicable(String),
    /// A `test` operation of a JSON patch found something else, or nothing.
    #[error("{0}")]
    TestFailed(String),
}

/// Applies a JSON patch (RFC 6902).
pub fn json(doc: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    json::apply(doc, patch)
}

/// Applies a JSON merge patch (RFC 7386).
#[must_use]
pub fn merge(doc: &Value, patch: &Value) -> Value {
    let mut out = doc.clone();
    merge_into(&mut out, patch);
    out
}

fn merge_into(doc: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *doc = patch.clone();
        return;
    };
    if !doc.is_object() {
        *doc = Value::Object(crate::Map::new());
    }
    let Value::Object(doc) = doc else { return };
    for (key, value) in patch {
        if value.is_null() {
            doc.remove(key);
        } else {
            merge_into(doc.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch: lists merge as the table says.
pub fn strategic(
    table: &Table,
    ty: TypeId,
    doc: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    strategic::apply(table, ty, doc, patch)
}
