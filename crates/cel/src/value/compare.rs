//! Equality and order of values. Numbers of different kinds compare by what they are worth; values
//! of different types are unequal and have no order.

use std::cmp::Ordering;

use super::{Fault, Value};

/// Are they equal? Lists and objects with a schema refuse to be compared with anything else.
pub(crate) fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, Fault> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::List(a), Value::List(b)) => return a.equals(b),
        (Value::Map(a), Value::Map(b)) => return a.equals(b),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => return equal(a, b),
            (None, None) => true,
            _ => false,
        },
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Struct(a), Value::Struct(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.field(name) {
                    Some(other) if equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Opaque(a), Value::Opaque(b)) => {
            return a.equals(b).ok_or_else(Fault::no_such_overload);
        }
        (Value::Opaque(_), _) => return Err(Fault::no_such_overload()),
        (Value::List(list), _) if list.kind.is_some() => return Err(Fault::no_such_overload()),
        _ => matches!(numbers(a, b), Some(Some(Ordering::Equal))),
    })
}

/// Their order; a fault where they have none.
pub(crate) fn compare<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Ordering, Fault> {
    let order = match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => {
            return match numbers(a, b) {
                Some(Some(order)) => Ok(order),
                Some(None) => Err(Fault::new("NaN values cannot be ordered")),
                None => Err(Fault::no_such_overload()),
            };
        }
    };
    Ok(order)
}

/// The order of two numbers: none where one is no number, `Some(None)` where one is NaN.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Some(Some(a.cmp(&b)));
    }
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Some(a.partial_cmp(b)),
        (Value::Double(a), b) => Some(mixed(*a, whole(b)?)),
        (a, Value::Double(b)) => Some(mixed(*b, whole(a)?).map(Ordering::reverse)),
        _ => None,
    }
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn mixed(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a >= 2e19 {
        return Some(Ordering::Greater);
    }
    if a <= -2e19 {
        return Some(Ordering::Less);
    }
    let floor = a.floor();
    Some((floor as i128).cmp(&b).then(if a > floor {
        Ordering::Greater
    } else {
        Ordering::Equal
    }))
}
