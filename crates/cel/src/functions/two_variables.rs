//! What loops with two variables build maps with.

use super::{Args, Row};
use crate::value::{Fault, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    (
        "cel.@mapInsert",
        "@mapInsert_map_key_value",
        "(map(A, B), A, B) -> map(A, B)",
        insert,
    ),
    (
        "cel.@mapInsert",
        "@mapInsert_map_map",
        "(map(A, B), map(A, B)) -> map(A, B)",
        insert,
    ),
];

fn insert<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let map = args.map(0)?.clone();
    into(Value::Map(map), &args.values[1..])
}

/// Puts a key with its value, or another map's entries, into a map nobody else holds.
pub(crate) fn into<'a>(map: Value<'a>, rest: &[Value<'a>]) -> Outcome<'a> {
    let Value::Map(mut map) = map else {
        return Err(Fault::no_such_overload());
    };
    match rest {
        [key, value] => map.insert(key, value.clone())?,
        [Value::Map(other)] => {
            for (key, value) in other.entries()? {
                map.insert(&key.value(), value)?;
            }
        }
        _ => return Err(Fault::no_such_overload()),
    }
    Ok(Value::Map(map))
}
