//! From bytes to a value in one pass: types checked, unknown and duplicate fields found, nulls
//! dropped, times and quantities brought into their one written form. What the request path does
//! first with a body, and what protobuf and patches end in.

use crate::{
    Value,
    table::{Table, TypeId},
};

mod json;
mod loose;
mod normal;
mod settled;
mod value;
mod yaml;

pub use normal::normalize;

/// Objects and lists may nest this deep: far beyond any kind, and far within the stack.
pub const MAX_DEPTH: usize = 127;

/// At most this many unknown or duplicate fields are told of; further ones are dropped silently.
pub const MAX_STRICT_ERRORS: usize = 100;

/// A decoded body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The object, without unknown fields and nulls.
    pub value: Value,
    /// `unknown field "spec.foo"` and `duplicate field "spec.foo"` (the last one given holds), in
    /// order of appearance, as upstream tells of them. What YAML says of its own keys comes first.
    pub strict: Vec<String>,
}

/// Why a body is no object of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON.
    #[error("{0}")]
    Json(String),
    /// It is not YAML.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    /// A value has another type than its field.
    #[error("{0}")]
    Type(String),
}

/// Decodes JSON.
pub fn json(table: &Table, ty: TypeId, body: &[u8]) -> Result<Decoded, DecodeError> {
    json::decode(table, ty, body)
}

/// Decodes the first document of YAML.
pub fn yaml(table: &Table, ty: TypeId, body: &[u8]) -> Result<Decoded, DecodeError> {
    yaml::decode(table, ty, body)
}

/// Decodes JSON of no known type (a patch, say) and tells of fields given twice, worded as
/// `duplicate field "spec.foo"`.
pub fn json_untyped(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    json::untyped(body)
}

/// Decodes YAML of no known type, as `kubectl` needs to find out what it is.
pub fn yaml_untyped(body: &[u8]) -> Result<Value, DecodeError> {
    yaml::untyped(body)
}

/// Checks an object that is already in memory (after a patch, say) as if it came as a body.
pub fn value(table: &Table, ty: TypeId, object: Value) -> Result<Decoded, DecodeError> {
    if settled::is_settled(table, &table.kind_of(ty), &object) {
        return Ok(Decoded {
            value: object,
            strict: Vec::new(),
        });
    }
    value::decode(table, ty, object)
}
