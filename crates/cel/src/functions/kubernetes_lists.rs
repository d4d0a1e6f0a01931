//! Kubernetes' own list functions: isSorted, sum, min, max, indexOf, lastIndexOf.

use std::cmp::Ordering;

use super::{Args, Row, operators};
use crate::value::{Duration, Fault, Outcome, Value, compare, equal};

pub(super) const ROWS: &[Row] = &[
    (
        "isSorted",
        "list_{}_is_sorted_bool",
        "T:int|uint|double|bool|duration|timestamp|string|bytes list(T).() -> bool",
        is_sorted,
    ),
    ("sum", "list_int_sum_int", "list(int).() -> int", sum_int),
    (
        "sum",
        "list_uint_sum_uint",
        "list(uint).() -> uint",
        sum_uint,
    ),
    (
        "sum",
        "list_double_sum_double",
        "list(double).() -> double",
        sum_double,
    ),
    (
        "sum",
        "list_duration_sum_duration",
        "list(duration).() -> duration",
        sum_duration,
    ),
    (
        "max",
        "list_{}_max",
        "T:int|uint|double|bool|duration|timestamp|string|bytes list(T).() -> T",
        max,
    ),
    (
        "min",
        "list_{}_min",
        "T:int|uint|double|bool|duration|timestamp|string|bytes list(T).() -> T",
        min,
    ),
    (
        "indexOf",
        "list_a_index_of_int",
        "list(A).(A) -> int",
        index_of,
    ),
    (
        "lastIndexOf",
        "list_a_last_index_of_int",
        "list(A).(A) -> int",
        last_index_of,
    ),
];

fn is_sorted<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut before: Option<Value<'a>> = None;
    for item in args.list(0)?.iter() {
        let item = item?;
        if let Some(before) = &before
            && compare(before, &item)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: Args<'_, 'a>, zero: Value<'a>) -> Outcome<'a> {
    let mut total = zero;
    for item in args.list(0)?.iter() {
        total = operators::add(Args {
            values: &[total, item?],
            regex: None,
        })?;
    }
    Ok(total)
}

fn sum_int<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sum(args, Value::Int(0))
}

fn sum_uint<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sum(args, Value::Uint(0))
}

fn sum_double<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sum(args, Value::Double(0.0))
}

fn sum_duration<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sum(args, Value::Duration(Duration(0)))
}

fn extreme<'a>(args: Args<'_, 'a>, name: &str, replaces: Ordering) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in args.list(0)?.iter() {
        let item = item?;
        best = match best {
            Some(best) if compare(&item, &best)? != replaces => Some(best),
            _ => Some(item),
        };
    }
    best.ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

fn max<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    extreme(args, "max", Ordering::Greater)
}

fn min<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    extreme(args, "min", Ordering::Less)
}

fn is_at<'a>(args: Args<'_, 'a>, place: usize) -> Result<bool, Fault> {
    // As upstream: what cannot be compared is not it.
    Ok(equal(&args.list(0)?.get(place)?, args.value(1)?).unwrap_or(false))
}

fn index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    for place in 0..args.list(0)?.len() {
        if is_at(args, place)? {
            return Ok(Value::Int(place as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    for place in (0..args.list(0)?.len()).rev() {
        if is_at(args, place)? {
            return Ok(Value::Int(place as i64));
        }
    }
    Ok(Value::Int(-1))
}
