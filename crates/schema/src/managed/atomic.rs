//! Places of an applied object that would be replaced whole: what a mutating policy must not touch, since
//! whoever writes it rarely means to drop what is there already.

use super::node::{Keys, Meeting, Place};
use crate::Value;
use crate::table::{Table, TypeId};

/// The paths (`.spec.template`, `.list[0]`) of lists, maps and structs in `value` that an apply replaces
/// whole.
pub fn atomics(table: &Table, ty: TypeId, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(Place::root(table, ty), value, "", &mut found);
    found
}

// The value's depth bounds the recursion; decoders and expressions bound that.
fn walk(place: Place<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match (place.meeting(), value) {
        (Meeting::Leaf, Value::Object(_) | Value::Array(_)) => found.push(path.to_owned()),
        (Meeting::Map(keys), Value::Object(map)) => {
            for (key, value) in map {
                let (below, field) = place.below(keys, key);
                if field.is_some() || matches!(keys, Keys::Any(_)) {
                    walk(below, value, &format!("{path}.{key}"), found);
                }
            }
        }
        (Meeting::List { element, .. }, Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                walk(element, value, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}
