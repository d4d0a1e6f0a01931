//! Schemas of custom resources: checked to be structural, compiled into the tables that built-in
//! kinds have, and what such a schema asks of values. A structural schema gives every field's type
//! outside of `allOf` and its like
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>),
//! so decoding, pruning, defaulting and server-side apply work as for built-in kinds.

mod check;
mod compile;
mod defaults;
mod embedded;
mod field_path;
mod format;
mod invariants;
mod lists;
mod validate;

pub use check::{Options, check, has_defaults, is_structural, unknown_formats};
pub use compile::{base, compile, root};
pub use embedded::embedded;
pub use field_path::field as field_path;
pub use lists::validate as validate_lists;
pub use validate::{validate, validate_part};

use crate::Value;

/// A schema's flag.
fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A schema's text, empty where there is none.
fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The schemas of a list such as `allOf`.
fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The named schemas of a map such as `properties`.
fn named<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    schema
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema))
}

/// A schema that is an object: `items` and `additionalProperties` may be other things.
fn sub<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|value| value.is_object())
}

fn has_entries(schema: &Value, name: &str) -> bool {
    match schema.get(name) {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    }
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const RULES: &str = "x-kubernetes-validations";
const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];
