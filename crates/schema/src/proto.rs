//! Protobuf, driven by the tables' tags: objects to messages and back. JSON's own forms (times,
//! quantities, base64, inlined structs) become upstream's messages for them.

use crate::{
    Value,
    table::{Table, TypeId},
};

mod decode;
mod encode;
pub mod envelope;
pub(crate) mod wire;

/// Messages may nest this deep, as JSON may.
pub const MAX_DEPTH: usize = crate::decode::MAX_DEPTH;

/// Why an object has no protobuf form, or bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The type has no fields on the wire.
    #[error("type {0} has no protobuf form")]
    NoMessage(String),
    /// A value has another type than its field.
    #[error("{path}: {reason}")]
    Value {
        /// Where the value is.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes end within a field.
    #[error("proto: unexpected end of message")]
    Truncated,
    /// A tag or length is out of range.
    #[error("proto: illegal tag or length")]
    Illegal,
    /// A field has another wire type than its type has.
    #[error("proto: wrong wire type {found} for field {path}")]
    WireType {
        /// Where the field is.
        path: String,
        /// The wire type found.
        found: u8,
    },
    /// Messages nest too deep.
    #[error("proto: exceeded max depth of {MAX_DEPTH}")]
    Depth,
    /// The bytes do not begin as Kubernetes' protobuf does.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoEnvelope,
}

/// Encodes an object as the message of its type, without envelope.
pub fn encode(table: &Table, ty: TypeId, object: &Value) -> Result<Vec<u8>, ProtoError> {
    encode::message(table, ty, object)
}

/// Decodes a message without envelope. `apiVersion` and `kind` are not in it: the caller knows
/// them from the envelope.
pub fn decode(table: &Table, ty: TypeId, bytes: &[u8]) -> Result<Value, ProtoError> {
    decode::message(table, ty, bytes)
}

/// The message of a list kind, from the encoded list metadata and encoded items.
pub fn list<'a>(meta: &[u8], items: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, 1, meta);
    for item in items {
        wire::put_bytes(&mut out, 2, item);
    }
    out
}
