//! Takes out of an object what upstream's encoder does not write: nulls, and the zero values of
//! fields that are left out when zero.

use crate::{
    Map, Value,
    table::{Kind, Presence, Scalar, Table, TypeId},
};

/// Drops nulls and the zero values of [`Presence::OmitZero`] fields, in place.
pub fn normalize(table: &Table, ty: TypeId, object: &mut Value) {
    walk(table, &table.kind_of(ty), object);
}

fn walk(table: &Table, kind: &Kind<'_>, value: &mut Value) {
    match (kind, value) {
        (Kind::Struct(_, fields), Value::Object(map)) => {
            map.retain(|name, value| {
                let Some(field) = fields.field(name) else {
                    return true;
                };
                if value.is_null() {
                    return field.constraints.as_ref().is_some_and(|c| c.nullable);
                }
                let kind = table.kind(&field.ty);
                walk(table, &kind, value);
                field.presence != Presence::OmitZero || !is_zero(&kind, value)
            });
        }
        (Kind::Map(element), Value::Object(map)) => {
            let kind = table.kind(element);
            if !is_flat(&kind) {
                map.values_mut().for_each(|value| walk(table, &kind, value));
            }
        }
        (Kind::List(element), Value::Array(list)) => {
            let kind = table.kind(element);
            if !is_flat(&kind) {
                list.iter_mut().for_each(|value| walk(table, &kind, value));
            }
        }
        (Kind::Either(either), Value::Array(list)) => {
            if let Some((_, element)) = &either.list {
                let kind = table.kind(element);
                list.iter_mut().for_each(|value| walk(table, &kind, value));
            }
        }
        (Kind::Either(either), value @ Value::Object(_)) => {
            walk(table, &table.kind_of(either.object.1), value);
        }
        _ => {}
    }
}

fn is_flat(kind: &Kind<'_>) -> bool {
    matches!(kind, Kind::Scalar(_))
}

fn is_zero(kind: &Kind<'_>, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Scalar(Scalar::IntOrString | Scalar::Any), _) => false,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(set)) => !set,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::Array(list)) => list.is_empty(),
        (_, Value::Object(map)) => Map::is_empty(map),
        (_, Value::Null) => true,
    }
}
