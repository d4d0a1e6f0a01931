//! Values that may be absent. `or` and `orValue` are evaluated by name, for they look at their argument
//! only where it is needed.

use super::{Args, Row, built_in};
use crate::value::{Fault, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    ("optional.of", "optional_of", "(A) -> optional(A)", of),
    (
        "optional.ofNonZeroValue",
        "optional_ofNonZeroValue",
        "(A) -> optional(A)",
        of_non_zero,
    ),
    ("optional.none", "optional_none", "() -> optional(A)", none),
    ("value", "optional_value", "optional(A).() -> A", value),
    (
        "hasValue",
        "optional_hasValue",
        "optional(A).() -> bool",
        has_value,
    ),
    (
        "or",
        "optional_or_optional",
        "optional(A).(optional(A)) -> optional(A)",
        built_in,
    ),
    (
        "orValue",
        "optional_orValue_value",
        "optional(A).(A) -> A",
        built_in,
    ),
    (
        "_?._",
        "select_optional_field",
        "(dyn, string) -> optional(A)",
        built_in,
    ),
    (
        "_[?_]",
        "list_optindex_optional_int",
        "(list(A), int) -> optional(A)",
        built_in,
    ),
    (
        "_[?_]",
        "optional_list_optindex_optional_int",
        "(optional(list(A)), int) -> optional(A)",
        built_in,
    ),
    (
        "_[?_]",
        "map_optindex_optional_value",
        "(map(A, B), A) -> optional(B)",
        built_in,
    ),
    (
        "_[?_]",
        "optional_map_optindex_optional_value",
        "(optional(map(A, B)), A) -> optional(B)",
        built_in,
    ),
    (
        "_[_]",
        "optional_list_index_int",
        "(optional(list(A)), int) -> optional(A)",
        built_in,
    ),
    (
        "_[_]",
        "optional_map_index_value",
        "(optional(map(A, B)), A) -> optional(B)",
        built_in,
    ),
    ("first", "list_first", "list(A).() -> optional(A)", first),
    ("last", "list_last", "list(A).() -> optional(A)", last),
    (
        "optional.unwrap",
        "optional_unwrap",
        "(list(optional(A))) -> list(A)",
        unwrap,
    ),
    (
        "unwrapOpt",
        "optional_unwrapOpt",
        "list(optional(A)).() -> list(A)",
        unwrap,
    ),
];

fn of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::some(args.value(0)?.clone()))
}

fn of_non_zero<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    if value.is_zero() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(value.clone()))
}

fn none<'a>(_: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Optional(None))
}

fn value<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        Value::Optional(Some(value)) => Ok(Value::clone(value)),
        Value::Optional(None) => Err(Fault::new("optional.none() dereference")),
        _ => Err(Fault::no_such_overload()),
    }
}

fn has_value<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        Value::Optional(value) => Ok(Value::Bool(value.is_some())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn first<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    if list.is_empty() {
        return Ok(Value::Optional(None));
    }
    list.get(0).map(Value::some)
}

fn last<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    match list.len().checked_sub(1) {
        Some(place) => list.get(place).map(Value::some),
        None => Ok(Value::Optional(None)),
    }
}

fn unwrap<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut present = Vec::new();
    for item in args.list(0)?.iter() {
        match item? {
            Value::Optional(Some(value)) => present.push(Value::clone(&value)),
            Value::Optional(None) => {}
            other => return Err(Fault::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(present))
}
