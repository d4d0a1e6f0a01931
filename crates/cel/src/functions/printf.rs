//! `string.format`: the clauses `%s %d %f %e %b %x %X %o`, with cel-go's errors. Numbers are written as
//! its default locale (en_US) writes them.

use super::conversion::text_of;
use crate::value::{Fault, Key, List, Value};

const DEFAULT_PRECISION: usize = 6;
/// Digits after the point that are written at most; what asks for more is an error.
const MOST_PRECISION: usize = 1000;

/// One part of a format.
pub(crate) enum Piece<'f> {
    Text(&'f str),
    Clause(char, Option<usize>),
}

/// The parts of a format, up to the first mistake.
pub(crate) fn pieces(format: &str) -> impl Iterator<Item = Result<Piece<'_>, String>> {
    let mut rest = format;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(after) = rest.strip_prefix('%') else {
            let end = rest.find('%').unwrap_or(rest.len());
            let (text, tail) = rest.split_at(end);
            rest = tail;
            return Some(Ok(Piece::Text(text)));
        };
        if let Some(tail) = after.strip_prefix('%') {
            rest = tail;
            return Some(Ok(Piece::Text("%")));
        }
        if after.is_empty() {
            rest = after;
            return Some(Err("unexpected end of string".to_owned()));
        }
        let piece = clause(after);
        rest = piece.as_ref().map_or("", |(_, tail)| tail);
        Some(piece.map(|(piece, _)| piece))
    })
}

fn clause(after: &str) -> Result<(Piece<'_>, &str), String> {
    let failed = |what: String| format!("could not parse formatting clause: {what}");
    let (precision, rest) = match after.strip_prefix('.') {
        None => (None, after),
        Some(digits) => {
            let end = digits.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| {
                failed(
                    "error while parsing precision: could not find end of precision specifier"
                        .to_owned(),
                )
            })?;
            let precision: usize = digits[..end].parse().map_err(|_| {
                failed(format!(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {:?}: invalid syntax",
                    &digits[..end]
                ))
            })?;
            (Some(precision), &digits[end..])
        }
    };
    let mut chars = rest.chars();
    match chars.next() {
        Some(kind @ ('s' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o')) => {
            Ok((Piece::Clause(kind, precision), chars.as_str()))
        }
        Some(other) => Err(failed(format!(
            "unrecognized formatting clause \"{other}\""
        ))),
        None => Err("unexpected end of string".to_owned()),
    }
}

/// What a clause says to a value (or type) it cannot write.
pub(crate) fn misfit(kind: char, given: &str) -> String {
    let rule = match kind {
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        'o' => "octal clause can only be used on integers",
        _ => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
    };
    format!("error during formatting: {rule}, was given {given}")
}

/// The format filled in.
pub(super) fn format(format: &str, args: &List<'_>) -> Result<String, Fault> {
    let mut text = String::with_capacity(format.len());
    let mut next = 0;
    for piece in pieces(format) {
        match piece.map_err(Fault::new)? {
            Piece::Text(part) => text.push_str(part),
            Piece::Clause(kind, precision) => {
                if next >= args.len() {
                    return Err(Fault::new(format!("index {next} out of range")));
                }
                let value = args.get(next)?;
                next += 1;
                text.push_str(&write(kind, precision, &value)?);
            }
        }
    }
    Ok(text)
}

fn write(kind: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, Fault> {
    let precision = precision.unwrap_or(DEFAULT_PRECISION);
    if precision > MOST_PRECISION {
        return Err(Fault::new(format!(
            "error during formatting: precision {precision} is more than {MOST_PRECISION}"
        )));
    }
    Ok(match (kind, value) {
        ('s', value) => plain(value)?,
        ('d' | 'b' | 'o' | 'x' | 'X', Value::Int(number)) => {
            let sign = if *number < 0 { "-" } else { "" };
            format!("{sign}{}", digits(kind, number.unsigned_abs()))
        }
        ('d' | 'b' | 'o' | 'x' | 'X', Value::Uint(number)) => digits(kind, *number),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('x' | 'X', Value::String(text)) => hex(text.as_str().as_bytes(), kind),
        ('x' | 'X', Value::Bytes(bytes)) => hex(bytes, kind),
        ('f' | 'e', Value::Double(number)) => real(kind, precision, *number),
        ('f' | 'e', Value::String(text)) => match text.as_str() {
            "NaN" => real(kind, precision, f64::NAN),
            "Infinity" => real(kind, precision, f64::INFINITY),
            "-Infinity" => real(kind, precision, f64::NEG_INFINITY),
            _ => return Err(Fault::new(misfit(kind, value.type_name()))),
        },
        _ => return Err(Fault::new(misfit(kind, value.type_name()))),
    })
}

fn digits(kind: char, number: u64) -> String {
    match kind {
        'b' => format!("{number:b}"),
        'o' => format!("{number:o}"),
        'x' => format!("{number:x}"),
        'X' => format!("{number:X}"),
        _ => number.to_string(),
    }
}

fn hex(bytes: &[u8], kind: char) -> String {
    let digits = |byte: &u8| {
        if kind == 'X' {
            format!("{byte:02X}")
        } else {
            format!("{byte:02x}")
        }
    };
    bytes.iter().map(digits).collect()
}

fn real(kind: char, precision: usize, number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    if kind == 'e' {
        let text = format!("{number:.precision$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{mantissa}\u{202f}×\u{202f}10{}", superscript(exponent));
    }
    let text = format!("{:.precision$}", number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    if number < 0.0 {
        grouped.push('-');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// An exponent of at least two digits.
fn superscript(exponent: &str) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let (sign, number) = match exponent.strip_prefix('-') {
        Some(number) => ("⁻", number),
        None => ("", exponent),
    };
    let raised: String = format!("{number:0>2}")
        .bytes()
        .filter_map(|b| DIGITS.get(usize::from(b.wrapping_sub(b'0'))))
        .collect();
    format!("{sign}{raised}")
}

/// What `%s` writes.
fn plain(value: &Value<'_>) -> Result<String, Fault> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::List(_) | Value::Map(_) => nested(value)?,
        Value::Optional(_) | Value::Struct(_) | Value::Opaque(_) | Value::Variables => {
            return Err(Fault::new(misfit('s', value.type_name())));
        }
        other => text_of(other)?,
    })
}

/// A value within a list or map: texts are quoted.
fn nested(value: &Value<'_>) -> Result<String, Fault> {
    Ok(match value {
        Value::String(text) => format!("{:?}", text.as_str()),
        Value::Bytes(_) => format!("b{:?}", text_of(value)?),
        Value::Timestamp(_) => format!("timestamp({:?})", text_of(value)?),
        Value::Duration(_) => format!("duration({:?})", text_of(value)?),
        Value::Double(number) if number.is_nan() => "\"NaN\"".to_owned(),
        Value::Double(number) if number.is_infinite() => {
            let sign = if *number > 0.0 { '+' } else { '-' };
            format!("\"{sign}Inf\"")
        }
        Value::Double(number) => format!("{number:.6}"),
        Value::List(list) => {
            let items: Vec<String> = list
                .iter()
                .map(|item| nested(&item?))
                .collect::<Result<_, Fault>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let mut entries: Vec<(String, String)> = map
                .entries()?
                .into_iter()
                .map(|(key, value)| {
                    let key = match key {
                        Key::String(text) => format!("{:?}", text.as_str()),
                        other => text_of(&other.value())?,
                    };
                    Ok((key, nested(&value)?))
                })
                .collect::<Result<_, Fault>>()?;
            entries.sort();
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Type(_) => {
            plain(value)?
        }
        other => {
            return Err(Fault::new(format!(
                "error during formatting: no formatting function for {}",
                other.type_name()
            )));
        }
    })
}
