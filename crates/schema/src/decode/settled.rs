//! Whether an object that is already in memory would come out of the decoder as it went in. Most of
//! what a patch leaves behind would; looking costs a tenth of building it anew.

use crate::{
    Value,
    table::{Kind, Scalar, Table},
    text,
};

/// True only where decoding changes nothing and has nothing to tell. Custom resources are never
/// settled: their schemas have rules of their own for nulls and unknown fields.
pub(super) fn is_settled(table: &Table, kind: &Kind<'_>, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null) => false,
        (Kind::Scalar(Scalar::Any), _) => true,
        (Kind::Struct(_, fields), Value::Object(map)) => {
            !fields.custom
                && map.iter().all(|(name, value)| {
                    let field = fields.place(name).map(|place| &fields.fields()[place]);
                    field.is_some_and(|field| is_settled(table, &table.kind(&field.ty), value))
                })
        }
        (Kind::Map(element), Value::Object(map)) => {
            let kind = table.kind(element);
            map.values().all(|value| is_settled(table, &kind, value))
        }
        (Kind::List(element), Value::Array(list)) => {
            let kind = table.kind(element);
            list.iter().all(|value| is_settled(table, &kind, value))
        }
        (Kind::Scalar(scalar), value) => is_settled_scalar(table, *scalar, value),
        _ => false,
    }
}

fn is_settled_scalar(table: &Table, scalar: Scalar, value: &Value) -> bool {
    match (scalar, value) {
        (Scalar::Bool, Value::Bool(_)) | (Scalar::Double, Value::Number(_)) => true,
        (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) => number
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        (Scalar::Int64, Value::Number(number)) => number.as_i64().is_some(),
        (Scalar::String | Scalar::IntOrString, Value::String(_)) => true,
        (Scalar::Quantity, Value::String(text)) => {
            table.quantity(text).is_ok_and(|fixed| fixed == *text)
        }
        (Scalar::Time, Value::String(text)) => text::time(text) == Ok(None),
        (Scalar::MicroTime, Value::String(text)) => text::micro_time(text) == Ok(None),
        (Scalar::Duration, Value::String(text)) => {
            text::parse_duration(text).is_ok_and(|nanos| text::duration(nanos) == *text)
        }
        (Scalar::Bytes, Value::String(text)) => text::base64(text).is_ok(),
        _ => false,
    }
}
