//! Takes fields out of an object.

use super::{
    element::Element,
    node::{Keys, Meeting, Place},
    set::Set,
};
use crate::{Map, Value, table::ListKind};

/// The value without the fields of the set; a map or list that this empties stays, empty.
pub(super) fn remove(place: Place<'_>, value: &Value, fields: &Set) -> Value {
    if fields.is_empty() {
        return value.clone();
    }
    match (place.meeting(), value) {
        (Meeting::Map(keys), Value::Object(map)) => remove_keys(place, keys, map, fields),
        (Meeting::Free, Value::Object(map)) => remove_keys(place, Keys::Any(place), map, fields),
        (Meeting::List { kind, element }, Value::Array(list)) => {
            remove_elements(kind, element, list, fields)
        }
        _ => value.clone(),
    }
}

fn remove_keys(place: Place<'_>, keys: Keys<'_>, map: &Map<String, Value>, fields: &Set) -> Value {
    map.iter()
        .filter_map(|(key, value)| {
            let kept = match fields.get(&Element::field(key)) {
                None => value.clone(),
                Some(node) if node.member => return None,
                Some(node) => remove(place.below(keys, key).0, value, &node.below),
            };
            Some((key.clone(), kept))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn remove_elements(kind: &ListKind, element: Place<'_>, list: &[Value], fields: &Set) -> Value {
    list.iter()
        .filter_map(|item| {
            let node = element
                .identity(kind, item)
                .ok()
                .and_then(|identity| fields.get(&identity));
            match node {
                None => Some(item.clone()),
                Some(node) if node.member => None,
                Some(node) => Some(remove(element, item, &node.below)),
            }
        })
        .collect::<Vec<_>>()
        .into()
}
