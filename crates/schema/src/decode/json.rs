//! JSON text into the visitor of [`super::value`].

use serde::de::DeserializeSeed;

use super::{
    DecodeError, Decoded, MAX_DEPTH,
    loose::Loose,
    value::{Findings, Node},
};
use crate::{
    Path, Value,
    field_error::quote,
    table::{Table, TypeId},
};

pub(super) fn decode(table: &Table, ty: TypeId, body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut findings = Findings::default();
    // Checked once for all: the reader would check every text of its own.
    let text = std::str::from_utf8(body)
        .map_err(|_| DecodeError::Json("invalid UTF-8 in JSON".to_owned()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node::root(table, ty, &mut findings, &Path::ROOT)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| DecodeError::Json(wording(&error, body)))?;
    findings.finish(value)
}

pub(super) fn untyped(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    let mut findings = Findings::default();
    let text = std::str::from_utf8(body)
        .map_err(|_| DecodeError::Json("invalid UTF-8 in JSON".to_owned()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let loose = Loose {
        findings: &mut findings,
        path: &Path::ROOT,
    };
    let value = loose
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| DecodeError::Json(wording(&error, body)))?;
    Ok((value, findings.strict))
}

/// What Go's decoder says of the same text.
pub(super) fn wording(error: &serde_json::Error, body: &[u8]) -> String {
    use serde_json::error::Category;
    if error.to_string().starts_with("recursion limit") {
        return format!("exceeded max depth of {MAX_DEPTH}");
    }
    if error.classify() == Category::Eof {
        return "unexpected end of JSON input".to_owned();
    }
    let line_start = body
        .split_inclusive(|b| *b == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let at = (line_start + error.column().saturating_sub(1)).min(body.len());
    let text = error.to_string();
    let place = if text.starts_with("trailing characters") {
        "after top-level value"
    } else if text.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if text.starts_with("expected `:`") {
        "after object key"
    } else if text.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if text.starts_with("expected `,` or `]`") {
        "after array element"
    } else if text.starts_with("control character") {
        "in string literal"
    } else if text.starts_with("expected value") || text.starts_with("trailing comma") {
        "looking for beginning of value"
    } else {
        return text;
    };
    match String::from_utf8_lossy(&body[at..body.len().min(at + 4)])
        .chars()
        .next()
    {
        Some(c) => {
            let shown = quote(&c.to_string());
            format!("invalid character '{}' {place}", &shown[1..shown.len() - 1])
        }
        None => "unexpected end of JSON input".to_owned(),
    }
}
