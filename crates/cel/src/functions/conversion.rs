//! Conversions between types, with the errors of cel-go where a value does not fit.

use super::{Args, Row};
use crate::value::{
    Fault, Outcome, Timestamp, Value, double_text, parse_duration, parse_timestamp,
};

pub(super) const ROWS: &[Row] = &[
    ("type", "type", "(A) -> type(A)", type_of),
    ("dyn", "to_dyn", "(A) -> dyn", same),
    ("bool", "bool_to_bool", "(bool) -> bool", same),
    ("bool", "string_to_bool", "(string) -> bool", to_bool),
    ("bytes", "bytes_to_bytes", "(bytes) -> bytes", same),
    ("bytes", "string_to_bytes", "(string) -> bytes", to_bytes),
    ("double", "double_to_double", "(double) -> double", same),
    ("double", "int64_to_double", "(int) -> double", to_double),
    (
        "double",
        "string_to_double",
        "(string) -> double",
        to_double,
    ),
    ("double", "uint64_to_double", "(uint) -> double", to_double),
    (
        "duration",
        "duration_to_duration",
        "(duration) -> duration",
        same,
    ),
    (
        "duration",
        "int64_to_duration",
        "(int) -> duration",
        to_duration,
    ),
    (
        "duration",
        "string_to_duration",
        "(string) -> duration",
        to_duration,
    ),
    ("int", "int64_to_int64", "(int) -> int", same),
    ("int", "double_to_int64", "(double) -> int", to_int),
    ("int", "duration_to_int64", "(duration) -> int", to_int),
    ("int", "string_to_int64", "(string) -> int", to_int),
    ("int", "timestamp_to_int64", "(timestamp) -> int", to_int),
    ("int", "uint64_to_int64", "(uint) -> int", to_int),
    ("string", "string_to_string", "(string) -> string", same),
    ("string", "bool_to_string", "(bool) -> string", to_string),
    ("string", "bytes_to_string", "(bytes) -> string", to_string),
    (
        "string",
        "double_to_string",
        "(double) -> string",
        to_string,
    ),
    (
        "string",
        "duration_to_string",
        "(duration) -> string",
        to_string,
    ),
    ("string", "int64_to_string", "(int) -> string", to_string),
    (
        "string",
        "timestamp_to_string",
        "(timestamp) -> string",
        to_string,
    ),
    ("string", "uint64_to_string", "(uint) -> string", to_string),
    (
        "timestamp",
        "timestamp_to_timestamp",
        "(timestamp) -> timestamp",
        same,
    ),
    (
        "timestamp",
        "int64_to_timestamp",
        "(int) -> timestamp",
        to_timestamp,
    ),
    (
        "timestamp",
        "string_to_timestamp",
        "(string) -> timestamp",
        to_timestamp,
    ),
    ("uint", "uint64_to_uint64", "(uint) -> uint", same),
    ("uint", "double_to_uint64", "(double) -> uint", to_uint),
    ("uint", "int64_to_uint64", "(int) -> uint", to_uint),
    ("uint", "string_to_uint64", "(string) -> uint", to_uint),
];

fn cannot(value: &Value<'_>, wanted: &str) -> Fault {
    Fault::new(format!(
        "type conversion error from '{}' to '{wanted}'",
        value.type_name()
    ))
}

fn same<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    args.value(0).cloned()
}

fn type_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Type(args.value(0)?.type_name().into()))
}

fn to_bool<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.text(0)? {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
        _ => Err(cannot(args.value(0)?, "bool")),
    }
}

fn to_bytes<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bytes(args.text(0)?.as_bytes().into()))
}

fn to_double<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    Ok(Value::Double(match value {
        Value::Int(whole) => *whole as f64,
        Value::Uint(whole) => *whole as f64,
        Value::String(text) => text.as_str().parse().map_err(|_| cannot(value, "double"))?,
        _ => return Err(Fault::no_such_overload()),
    }))
}

fn to_duration<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    value
        .as_str()
        .and_then(parse_duration)
        .map(Value::Duration)
        .ok_or_else(|| cannot(value, "google.protobuf.Duration"))
}

fn to_int<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let overflow = || Fault::new("integer overflow");
    let value = args.value(0)?;
    Ok(Value::Int(match value {
        Value::Double(number) => {
            // The greatest double below 2^63 converts; 2^63 itself and its negative do not.
            if number.is_nan() || number.abs() >= 9_223_372_036_854_775_808.0 {
                return Err(overflow());
            }
            *number as i64
        }
        Value::Uint(whole) => i64::try_from(*whole).map_err(|_| overflow())?,
        Value::Duration(duration) => duration.0,
        Value::Timestamp(timestamp) => timestamp.seconds,
        Value::String(text) => text.as_str().parse().map_err(|_| cannot(value, "int"))?,
        _ => return Err(Fault::no_such_overload()),
    }))
}

fn to_uint<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let overflow = || Fault::new("unsigned integer overflow");
    let value = args.value(0)?;
    Ok(Value::Uint(match value {
        Value::Double(number) => {
            if !(0.0..18_446_744_073_709_551_616.0).contains(number) {
                return Err(overflow());
            }
            *number as u64
        }
        Value::Int(whole) => u64::try_from(*whole).map_err(|_| overflow())?,
        Value::String(text) if !text.as_str().starts_with('+') => {
            text.as_str().parse().map_err(|_| cannot(value, "uint"))?
        }
        Value::String(_) => return Err(cannot(value, "uint")),
        _ => return Err(Fault::no_such_overload()),
    }))
}

fn to_string<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    text_of(args.value(0)?).map(Value::string)
}

/// What `string()` makes of a value.
pub(super) fn text_of(value: &Value<'_>) -> Result<String, Fault> {
    Ok(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::String(text) => text.as_str().to_owned(),
        Value::Timestamp(timestamp) => timestamp.to_string(),
        Value::Duration(duration) => duration.to_string(),
        Value::Type(name) => name.to_string(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| Fault::new("invalid UTF-8 in bytes, cannot convert to string"))?
            .to_owned(),
        _ => return Err(Fault::no_such_overload()),
    })
}

fn to_timestamp<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let overflow = || Fault::new("timestamp overflow");
    let value = args.value(0)?;
    Ok(Value::Timestamp(match value {
        Value::Int(seconds) => Timestamp::new(*seconds, 0).ok_or_else(overflow)?,
        Value::String(text) => {
            let read = parse_timestamp(text.as_str())
                .ok_or_else(|| cannot(value, "google.protobuf.Timestamp"))?;
            Timestamp::new(read.seconds, read.nanos).ok_or_else(overflow)?;
            read
        }
        _ => return Err(Fault::no_such_overload()),
    }))
}
