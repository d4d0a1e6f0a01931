//! A rule's `fieldPath`: `.spec.name` or `['a key']`, valid where the schema has such a place.

use schema::Value as Json;

/// The path as errors show it; none where it is empty or no path of the schema.
pub(super) fn normalized(path: &str, schema: &Json) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let mut shown = String::new();
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        let name = if let Some(after) = rest.strip_prefix("['") {
            let end = closing(after)?;
            rest = after[end + 1..].strip_prefix(']')?;
            unescaped(&after[..end])?
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            rest = &after[end..];
            after[..end].to_owned()
        };
        if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
            schema = properties.get(&name)?;
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(&name);
        } else {
            schema = schema
                .get("additionalProperties")
                .filter(|values| values.is_object())?;
            shown.push('[');
            shown.push_str(&name);
            shown.push(']');
        }
    }
    Some(shown)
}

/// Where a quoted name ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let ends = b == b'\'' && !escaped;
        escaped = b == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        made.push(match c {
            '\\' => match chars.next()? {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                c @ ('\'' | '\\') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::normalized;
    use serde_json::json;

    #[test]
    fn paths_lead_through_fields_and_keys_of_the_schema() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a.b": {"type": "string"}, "c": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {"type": "string"}},
        }});
        for (path, shown) in [
            (".spec", Some("spec")),
            (".spec.c", Some("spec.c")),
            (".spec['a.b']", Some("spec.a.b")),
            ("['spec']['c']", Some("spec.c")),
            (".map['k\\'x']", Some("map[k'x]")),
            (".map.k", Some("map[k]")),
            (".nope", None),
            ("spec", None),
            (".spec.", None),
            (".spec['c'", None),
            (".list[0]", None),
            ("", None),
        ] {
            assert_eq!(normalized(path, &schema).as_deref(), shown, "{path}");
        }
    }
}
