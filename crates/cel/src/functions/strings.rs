//! Texts: what every CEL has (contains, startsWith, endsWith) and cel-go's strings extension.
//! Places count code points.

use super::{Args, Row, printf};
use crate::value::{Fault, Outcome, Value};

pub(super) const STANDARD: &[Row] = &[
    (
        "contains",
        "contains_string",
        "string.(string) -> bool",
        contains,
    ),
    (
        "endsWith",
        "ends_with_string",
        "string.(string) -> bool",
        ends_with,
    ),
    (
        "startsWith",
        "starts_with_string",
        "string.(string) -> bool",
        starts_with,
    ),
];

pub(super) const ROWS: &[Row] = &[
    (
        "charAt",
        "string_char_at_int",
        "string.(int) -> string",
        char_at,
    ),
    (
        "indexOf",
        "string_index_of_string",
        "string.(string) -> int",
        index_of,
    ),
    (
        "indexOf",
        "string_index_of_string_int",
        "string.(string, int) -> int",
        index_of,
    ),
    (
        "lastIndexOf",
        "string_last_index_of_string",
        "string.(string) -> int",
        last_index_of,
    ),
    (
        "lastIndexOf",
        "string_last_index_of_string_int",
        "string.(string, int) -> int",
        last_index_of,
    ),
    (
        "lowerAscii",
        "string_lower_ascii",
        "string.() -> string",
        lower,
    ),
    (
        "upperAscii",
        "string_upper_ascii",
        "string.() -> string",
        upper,
    ),
    (
        "replace",
        "string_replace_string_string",
        "string.(string, string) -> string",
        replace,
    ),
    (
        "replace",
        "string_replace_string_string_int",
        "string.(string, string, int) -> string",
        replace,
    ),
    (
        "split",
        "string_split_string",
        "string.(string) -> list(string)",
        split,
    ),
    (
        "split",
        "string_split_string_int",
        "string.(string, int) -> list(string)",
        split,
    ),
    (
        "substring",
        "string_substring_int",
        "string.(int) -> string",
        substring,
    ),
    (
        "substring",
        "string_substring_int_int",
        "string.(int, int) -> string",
        substring,
    ),
    ("trim", "string_trim", "string.() -> string", trim),
    (
        "format",
        "string_format",
        "string.(list(dyn)) -> string",
        format,
    ),
    (
        "strings.quote",
        "strings_quote",
        "(string) -> string",
        quote,
    ),
    ("join", "list_join", "list(string).() -> string", join),
    (
        "join",
        "list_join_string",
        "list(string).(string) -> string",
        join,
    ),
];

fn contains<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(args.text(0)?.contains(args.text(1)?)))
}

fn starts_with<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(args.text(0)?.starts_with(args.text(1)?)))
}

fn ends_with<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(args.text(0)?.ends_with(args.text(1)?)))
}

fn out_of_range(place: i64) -> Fault {
    Fault::new(format!("index out of range: {place}"))
}

/// The byte offset of a place in code points; the end counts as a place.
fn byte_at(text: &str, place: i64) -> Option<usize> {
    let place = usize::try_from(place).ok()?;
    if text.is_ascii() {
        return (place <= text.len()).then_some(place);
    }
    text.char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .nth(place)
}

fn place_of(text: &str, byte: usize) -> i64 {
    text[..byte].chars().count() as i64
}

fn char_at<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, place) = (args.text(0)?, args.int(1)?);
    let start = byte_at(text, place).ok_or_else(|| out_of_range(place))?;
    let c: String = text[start..].chars().take(1).collect();
    Ok(Value::string(c))
}

fn index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, wanted) = (args.text(0)?, args.text(1)?);
    let from = if args.len() > 2 { args.int(2)? } else { 0 };
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    let found = byte_at(text, from).and_then(|start| {
        text[start..]
            .find(wanted)
            .map(|at| place_of(text, start + at))
    });
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn last_index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, wanted) = (args.text(0)?, args.text(1)?);
    let size = text.chars().count() as i64;
    if args.len() < 3 {
        if wanted.is_empty() {
            return Ok(Value::Int(size));
        }
        let found = text.rfind(wanted).map(|at| place_of(text, at));
        return Ok(Value::Int(found.unwrap_or(-1)));
    }
    let from = args.int(2)?;
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    if from >= size {
        return Ok(Value::Int(-1));
    }
    // The last that begins at `from` or before.
    let last = byte_at(text, from).unwrap_or(text.len());
    let end = (last + wanted.len()).min(text.len());
    let found = (0..=end)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .and_then(|end| text[..end].rfind(wanted))
        .map(|at| place_of(text, at));
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn lower<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(args.text(0)?.to_ascii_lowercase()))
}

fn upper<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(args.text(0)?.to_ascii_uppercase()))
}

/// What `replace` may make at most: what it costs does not show how much longer the text gets, so its
/// result is bounded here.
const LONGEST: usize = 16 << 20;

fn replace<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, old, new) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let count = if args.len() > 3 { args.int(3)? } else { -1 };
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let places = if old.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(old).count()
    };
    let longer = places.min(most).saturating_mul(new.len());
    if longer.saturating_add(text.len()) > LONGEST {
        return Err(Fault::new("replace: the result is too long"));
    }
    Ok(Value::string(text.replacen(old, new, most)))
}

fn split<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    let most = if args.len() > 2 { args.int(2)? } else { -1 };
    let made = |part: &str| Value::string(part.to_owned());
    let Ok(most) = usize::try_from(most) else {
        let parts = if separator.is_empty() {
            text.chars().map(|c| Value::string(c.to_string())).collect()
        } else {
            text.split(separator).map(made).collect()
        };
        return Ok(Value::list(parts));
    };
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !separator.is_empty() {
        return Ok(Value::list(
            text.splitn(most, separator).map(made).collect(),
        ));
    }
    let mut parts: Vec<Value<'a>> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if parts.len() + 1 == most {
            parts.push(made(rest));
            break;
        }
        parts.push(Value::string(c.to_string()));
        rest = &rest[c.len_utf8()..];
    }
    Ok(Value::list(parts))
}

fn substring<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, start) = (args.text(0)?, args.int(1)?);
    let end = if args.len() > 2 {
        Some(args.int(2)?)
    } else {
        None
    };
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(Fault::new(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    let first = byte_at(text, start).ok_or_else(|| out_of_range(start))?;
    let last = match end {
        Some(end) => byte_at(text, end).ok_or_else(|| out_of_range(end))?,
        None => text.len(),
    };
    Ok(Value::string(text[first..last].to_owned()))
}

fn trim<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(args.text(0)?.trim().to_owned()))
}

fn format<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    printf::format(args.text(0)?, args.list(1)?).map(Value::string)
}

fn quote<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut quoted = String::from("\"");
    for c in args.text(0)?.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(Value::string(quoted))
}

fn join<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let separator = if args.len() > 1 { args.text(1)? } else { "" };
    let mut joined = String::new();
    for (place, item) in args.list(0)?.iter().enumerate() {
        let item = item?;
        let Some(text) = item.as_str() else {
            return Err(Fault::new(format!("join: invalid input: {item}")));
        };
        if place > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
        if joined.len() > LONGEST {
            return Err(Fault::new("join: the result is too long"));
        }
    }
    Ok(Value::string(joined))
}
