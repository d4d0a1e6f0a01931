//! Paths that lead from a schema to a field within it: `.spec.a`, `.spec['a.b']`.

use crate::Value;

/// Dots and brackets, each alone, and what is between them; a quoted name is one piece.
fn pieces(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = rest.as_bytes();
                (1..rest.len())
                    .find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\')
                    .map_or(rest.len(), |at| at + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        found.push(piece);
        rest = after;
    }
    found
}

/// The name that a quoted piece stands for.
fn unquoted(piece: &str) -> Result<String, String> {
    let inner = piece
        .strip_prefix('\'')
        .and_then(|piece| piece.strip_suffix('\''))
        .ok_or_else(|| format!("expected single quoted string but got {piece}"))?;
    let mut name = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            name.push(char);
            continue;
        }
        let meant = chars.next();
        name.push(match meant {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(same @ ('\\' | '\'')) => same,
            _ => return Err("invalid string literal: invalid syntax".to_owned()),
        });
    }
    Ok(name)
}

/// The schema of the field that the path names, or why it names none. Brackets are for those who ask
/// for them.
pub fn field<'s>(schema: &'s Value, path: &str, brackets: bool) -> Result<&'s Value, String> {
    const END: &str = "unexpected end of JSON path";
    let mut here = schema;
    let mut pieces = pieces(path).into_iter();
    while let Some(piece) = pieces.next() {
        let name = match piece {
            "." => pieces.next().ok_or(END)?.to_owned(),
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => unquoted(pieces.next().ok_or(END)?)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let properties = here.get("properties").and_then(Value::as_object);
        let next = match properties {
            Some(properties) => properties.get(&name),
            None => here
                .get("additionalProperties")
                .filter(|any| any.is_object()),
        };
        here = next.ok_or("does not refer to a valid field")?;
        if piece == "[" {
            match pieces.next().ok_or(END)? {
                "]" => {}
                other => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::field;

    #[test]
    fn fields_are_found() {
        let schema = json!({"properties": {
            "a": {"additionalProperties": {"type": "string"}}, "b.c\u{7}": {"type": "integer"},
            "l": {"items": {"type": "object"}}}});
        for (path, found) in [
            (".a", Ok(None)),
            (".a.any", Ok(Some("string"))),
            ("['b.c\\a']", Ok(Some("integer"))),
            (".x", Err("does not refer to a valid field")),
            (".l[0]", Err("expected single quoted string but got 0")),
            (".", Err("unexpected end of JSON path")),
            ("a", Err("expected [ or . but got: a")),
        ] {
            let got = field(&schema, path, true);
            let got = got.map(|schema| schema.get("type").and_then(|kind| kind.as_str()));
            assert_eq!(got, found.map_err(str::to_owned), "{path}");
        }
        let none = field(&schema, "['a']", false).unwrap_err();
        assert_eq!(none, "array notation is not allowed");
    }
}
