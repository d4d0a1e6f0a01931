//! What mutations construct: `Object{spec: Object.spec{…}}` for server-side apply, `JSONPatch{op: …}`
//! for patches, and `jsonpatch.escapeKey` for paths.

use std::sync::Arc;

use super::{Args, Row};
use crate::{
    types::{Fields, Object, Type},
    value::{Outcome, Value},
};

pub(super) const ROWS: &[Row] = &[(
    "jsonpatch.escapeKey",
    "string_jsonpatch_escapeKey_string",
    "(string) -> string",
    escape_key,
)];

/// The types that can be constructed.
pub(super) fn type_named(name: &str) -> Option<Type> {
    let fields = match name {
        "JSONPatch" => Fields::Listed(
            [
                ("op", Type::String),
                ("path", Type::String),
                ("from", Type::String),
                ("value", Type::Dyn),
            ]
            .into_iter()
            .map(|(name, ty)| (name.into(), ty))
            .collect(),
        ),
        "Object" => Fields::Open,
        _ if name.starts_with("Object.") => Fields::Open,
        _ => return None,
    };
    Some(Type::Object(Object {
        name: Arc::from(name),
        fields,
    }))
}

fn escape_key<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let escaped = args.text(0)?.replace('~', "~0").replace('/', "~1");
    Ok(Value::string(escaped))
}
