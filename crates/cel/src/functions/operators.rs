//! Operators: arithmetic with overflow checks, order, membership, size.

use super::{Args, Row, built_in};
use crate::value::{Duration, Fault, Outcome, Value, compare};

/// What has an order.
macro_rules! ordered {
    ($function:literal, $name:literal, $code:expr) => {
        [
            (
                $function,
                concat!($name, "_bool"),
                "(bool, bool) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_int64"),
                "(int, int) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_int64_double"),
                "(int, double) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_int64_uint64"),
                "(int, uint) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_uint64"),
                "(uint, uint) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_uint64_double"),
                "(uint, double) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_uint64_int64"),
                "(uint, int) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_double"),
                "(double, double) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_double_int64"),
                "(double, int) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_double_uint64"),
                "(double, uint) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_string"),
                "(string, string) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_bytes"),
                "(bytes, bytes) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_timestamp"),
                "(timestamp, timestamp) -> bool",
                $code,
            ),
            (
                $function,
                concat!($name, "_duration"),
                "(duration, duration) -> bool",
                $code,
            ),
        ]
    };
}

const LESS: [Row; 14] = ordered!("_<_", "less", less);
const LESS_EQUALS: [Row; 14] = ordered!("_<=_", "less_equals", less_equals);
const GREATER: [Row; 14] = ordered!("_>_", "greater", greater);
const GREATER_EQUALS: [Row; 14] = ordered!("_>=_", "greater_equals", greater_equals);

const OTHERS: [Row; 42] = [
    ("_?_:_", "conditional", "(bool, A, A) -> A", built_in),
    ("_&&_", "logical_and", "(bool, bool) -> bool", built_in),
    ("_||_", "logical_or", "(bool, bool) -> bool", built_in),
    ("!_", "logical_not", "(bool) -> bool", not),
    (
        "@not_strictly_false",
        "not_strictly_false",
        "(bool) -> bool",
        built_in,
    ),
    ("_==_", "equals", "(A, A) -> bool", built_in),
    ("_!=_", "not_equals", "(A, A) -> bool", built_in),
    ("_+_", "add_bytes", "(bytes, bytes) -> bytes", add),
    ("_+_", "add_double", "(double, double) -> double", add),
    (
        "_+_",
        "add_duration_duration",
        "(duration, duration) -> duration",
        add,
    ),
    (
        "_+_",
        "add_duration_timestamp",
        "(duration, timestamp) -> timestamp",
        add,
    ),
    (
        "_+_",
        "add_timestamp_duration",
        "(timestamp, duration) -> timestamp",
        add,
    ),
    ("_+_", "add_int64", "(int, int) -> int", add),
    ("_+_", "add_list", "(list(A), list(A)) -> list(A)", add),
    ("_+_", "add_string", "(string, string) -> string", add),
    ("_+_", "add_uint64", "(uint, uint) -> uint", add),
    ("_/_", "divide_double", "(double, double) -> double", divide),
    ("_/_", "divide_int64", "(int, int) -> int", divide),
    ("_/_", "divide_uint64", "(uint, uint) -> uint", divide),
    ("_%_", "modulo_int64", "(int, int) -> int", modulo),
    ("_%_", "modulo_uint64", "(uint, uint) -> uint", modulo),
    (
        "_*_",
        "multiply_double",
        "(double, double) -> double",
        multiply,
    ),
    ("_*_", "multiply_int64", "(int, int) -> int", multiply),
    ("_*_", "multiply_uint64", "(uint, uint) -> uint", multiply),
    ("-_", "negate_double", "(double) -> double", negate),
    ("-_", "negate_int64", "(int) -> int", negate),
    (
        "_-_",
        "subtract_double",
        "(double, double) -> double",
        subtract,
    ),
    (
        "_-_",
        "subtract_duration_duration",
        "(duration, duration) -> duration",
        subtract,
    ),
    ("_-_", "subtract_int64", "(int, int) -> int", subtract),
    (
        "_-_",
        "subtract_timestamp_duration",
        "(timestamp, duration) -> timestamp",
        subtract,
    ),
    (
        "_-_",
        "subtract_timestamp_timestamp",
        "(timestamp, timestamp) -> duration",
        subtract,
    ),
    ("_-_", "subtract_uint64", "(uint, uint) -> uint", subtract),
    ("_[_]", "index_list", "(list(A), int) -> A", built_in),
    ("_[_]", "index_map", "(map(A, B), A) -> B", built_in),
    ("@in", "in_list", "(A, list(A)) -> bool", contains),
    ("@in", "in_map", "(A, map(A, B)) -> bool", contains),
    ("size", "size_bytes", "(bytes) -> int", size),
    ("size", "bytes_size", "bytes.() -> int", size),
    ("size", "size_list", "(list(A)) -> int", size),
    ("size", "list_size", "list(A).() -> int", size),
    ("size", "size_map", "(map(A, B)) -> int", size),
    ("size", "map_size", "map(A, B).() -> int", size),
];

const TEXT_SIZES: [Row; 2] = [
    ("size", "size_string", "(string) -> int", size),
    ("size", "string_size", "string.() -> int", size),
];

/// The rows, in cel-go's order.
pub(super) const ROWS: &[Row] = &{
    let mut rows = [OTHERS[0]; 100];
    let parts: [&[Row]; 6] = [
        &OTHERS,
        &LESS,
        &LESS_EQUALS,
        &GREATER,
        &GREATER_EQUALS,
        &TEXT_SIZES,
    ];
    let (mut part, mut filled) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            rows[filled] = parts[part][row];
            filled += 1;
            row += 1;
        }
        part += 1;
    }
    rows
};

fn integer_overflow() -> Fault {
    Fault::new("integer overflow")
}

fn unsigned_overflow() -> Fault {
    Fault::new("unsigned integer overflow")
}

fn duration_overflow() -> Fault {
    Fault::new("duration overflow")
}

fn timestamp_overflow() -> Fault {
    Fault::new("timestamp overflow")
}

fn pair<'x, 'a>(args: Args<'x, 'a>) -> Result<(&'x Value<'a>, &'x Value<'a>), Fault> {
    Ok((args.value(0)?, args.value(1)?))
}

fn not<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(Fault::no_such_overload()),
    }
}

pub(super) fn add<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match pair(args)? {
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_add(*b).ok_or_else(integer_overflow)?)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_add(*b).ok_or_else(unsigned_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => {
            Value::string(format!("{}{}", a.as_str(), b.as_str()))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&a[..], &b[..]].concat().into()),
        (Value::List(a), Value::List(b)) => Value::List(a.add(b)?),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(Duration(
            a.0.checked_add(b.0).ok_or_else(duration_overflow)?,
        )),
        (Value::Timestamp(at), Value::Duration(by))
        | (Value::Duration(by), Value::Timestamp(at)) => Value::Timestamp(
            at.shifted(i128::from(by.0))
                .ok_or_else(timestamp_overflow)?,
        ),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn subtract<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match pair(args)? {
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_sub(*b).ok_or_else(integer_overflow)?)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_sub(*b).ok_or_else(unsigned_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(Duration(
            a.0.checked_sub(b.0).ok_or_else(duration_overflow)?,
        )),
        (Value::Timestamp(at), Value::Duration(by)) => Value::Timestamp(
            at.shifted(-i128::from(by.0))
                .ok_or_else(timestamp_overflow)?,
        ),
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            Value::Duration(a.since(*b).ok_or_else(duration_overflow)?)
        }
        _ => return Err(Fault::no_such_overload()),
    })
}

fn multiply<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match pair(args)? {
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_mul(*b).ok_or_else(integer_overflow)?)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_mul(*b).ok_or_else(unsigned_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a * b),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn divide<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match pair(args)? {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return Err(Fault::new("division by zero"));
        }
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_div(*b).ok_or_else(integer_overflow)?)
        }
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a / b),
        (Value::Double(a), Value::Double(b)) => Value::Double(a / b),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn modulo<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match pair(args)? {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return Err(Fault::new("modulus by zero"));
        }
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_rem(*b).ok_or_else(integer_overflow)?)
        }
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a % b),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn negate<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match args.value(0)? {
        Value::Int(value) => Value::Int(value.checked_neg().ok_or_else(integer_overflow)?),
        Value::Double(value) => Value::Double(-value),
        Value::Duration(value) => Value::Duration(Duration(
            value.0.checked_neg().ok_or_else(duration_overflow)?,
        )),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn ordering(args: Args<'_, '_>) -> Result<std::cmp::Ordering, Fault> {
    let (a, b) = pair(args)?;
    compare(a, b)
}

fn less<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(ordering(args)?.is_lt()))
}

fn less_equals<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(ordering(args)?.is_le()))
}

fn greater<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(ordering(args)?.is_gt()))
}

fn greater_equals<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(ordering(args)?.is_ge()))
}

fn contains<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (value, within) = pair(args)?;
    Ok(Value::Bool(match within {
        Value::List(list) => list.contains(value)?,
        Value::Map(map) => map.find(value)?.is_some(),
        _ => return Err(Fault::no_such_overload()),
    }))
}

fn size<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        sized @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) => {
            Ok(Value::Int(sized.size() as i64))
        }
        _ => Err(Fault::no_such_overload()),
    }
}
