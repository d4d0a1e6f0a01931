//! Gives absent fields the values upstream gives them: the table's defaults, and the zero values
//! of fields that are always written. Defaults that depend on other fields belong to the kind.

use crate::{
    Map, Value,
    table::{Field, Kind, Presence, Scalar, Table, TypeId},
};

/// What defaults add to one object at most, in bytes: twice what any store keeps of one. A schema may
/// have a large default in the items of a list, and a small body then many items; at the bound the
/// rest stays absent, and the object is too large to be stored in any case.
const MAX_ADDED: usize = 16 << 20;

/// About the size of a value in JSON; not more than it is.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, value)| key.len() + 3 + size(value))
                .sum::<usize>()
        }
        _ => 1,
    }
}

/// Gives absent fields their values, through lists and maps, in place.
///
/// After this a plain struct such as `resources` or `status` is there, if empty, and so is a text,
/// number or bool that is always written: whether such a field was given shows in its being zero.
pub fn apply(table: &Table, ty: TypeId, object: &mut Value) {
    walk(table, &table.kind_of(ty), object, &mut { MAX_ADDED });
}

/// The zero value of a leaf that has one.
pub(crate) fn zero(scalar: Scalar) -> Option<Value> {
    Some(match scalar {
        Scalar::String => Value::String(String::new()),
        Scalar::Bool => Value::Bool(false),
        Scalar::Int32 | Scalar::Int64 => Value::from(0),
        Scalar::Double => Value::from(0.0),
        Scalar::Bytes => Value::String(String::new()),
        Scalar::Quantity => Value::String("0".to_owned()),
        Scalar::IntOrString => Value::from(0),
        Scalar::Time | Scalar::MicroTime | Scalar::Duration | Scalar::Any => return None,
    })
}

fn absent(field: &Field, kind: &Kind<'_>) -> Option<Value> {
    if let Some(default) = &field.default {
        let left_out = field.presence == Presence::OmitZero
            && matches!(default, Value::String(text) if text.is_empty());
        return (!left_out).then(|| default.clone());
    }
    if field.presence != Presence::Always {
        return None;
    }
    match kind {
        Kind::Struct(..) => Some(Value::Object(Map::new())),
        // Zero is a value of these forms, so kinds must still see that none was given.
        Kind::Scalar(Scalar::IntOrString | Scalar::Quantity) => None,
        Kind::Scalar(scalar) => zero(*scalar),
        _ => None,
    }
}

fn walk(table: &Table, kind: &Kind<'_>, value: &mut Value, left: &mut usize) {
    match (kind, value) {
        (Kind::Struct(_, fields), Value::Object(map)) => {
            for field in fields.fields() {
                let kind = table.kind(&field.ty);
                match map.get_mut(&*field.name) {
                    Some(value) => walk(table, &kind, value, left),
                    // A field of an inlined struct defaults like any other.
                    None if *left == 0 => {}
                    None => {
                        if let Some(mut value) = absent(field, &kind) {
                            *left = left.saturating_sub(field.name.len() + size(&value));
                            walk(table, &kind, &mut value, left);
                            map.insert(String::from(&*field.name), value);
                        }
                    }
                }
            }
        }
        (Kind::Map(element), Value::Object(map)) => {
            let kind = table.kind(element);
            if !matches!(kind, Kind::Scalar(_)) {
                map.values_mut()
                    .for_each(|value| walk(table, &kind, value, left));
            }
        }
        (Kind::List(element), Value::Array(list)) => {
            let kind = table.kind(element);
            if !matches!(kind, Kind::Scalar(_)) {
                list.iter_mut()
                    .for_each(|value| walk(table, &kind, value, left));
            }
        }
        // A schema within a schema has no defaults of its own.
        _ => {}
    }
}
