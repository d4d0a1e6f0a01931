//! How property names that are no identifiers are written in expressions: `__dash__`, `__dot__`,
//! `__namespace__` (upstream's `Escape` and `Unescape`).

use std::borrow::Cow;

/// Words an expression cannot use as a name.
pub(crate) const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The property's name in expressions; none where it has none.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    let first = *name.as_bytes().first()?;
    if first.is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    if name
        .bytes()
        .any(|b| !b.is_ascii_alphanumeric() && !b"_.-/".contains(&b))
    {
        return None;
    }
    if !name.contains("__") && !name.contains(['.', '-', '/']) {
        return Some(Cow::Borrowed(name));
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (taken, written) = match c {
            '_' if rest.starts_with("__") => (2, "__underscores__"),
            '.' => (1, "__dot__"),
            '-' => (1, "__dash__"),
            '/' => (1, "__slash__"),
            _ => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        escaped.push_str(written);
        rest = &rest[taken..];
    }
    Some(Cow::Owned(escaped))
}

/// The property that a name in an expression means; none where it can mean none.
pub fn unescape(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("__") {
        plain.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find('_').unwrap_or(inner.len());
        if end == 0 || !inner[end..].starts_with("__") {
            // No closing pair: the first underscore stands for itself.
            plain.push('_');
            rest = &rest[at + 1..];
            continue;
        }
        match &inner[..end] {
            "underscores" => plain.push_str("__"),
            "dot" => plain.push('.'),
            "dash" => plain.push('-'),
            "slash" => plain.push('/'),
            word if RESERVED.contains(&word) && word.len() + 4 == name.len() => {
                plain.push_str(word);
            }
            _ => return None,
        }
        rest = &inner[end + 2..];
    }
    plain.push_str(rest);
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_documents() {
        for (plain, escaped) in [
            ("spec", Some("spec")),
            ("namespace", Some("__namespace__")),
            ("if", Some("__if__")),
            ("self", Some("self")),
            ("x-prop", Some("x__dash__prop")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("redact__d", Some("redact__underscores__d")),
            ("_a", Some("_a")),
            ("", None),
            ("1a", None),
            ("a b", None),
            ("ä", None),
        ] {
            assert_eq!(escape(plain).as_deref(), escaped, "{plain}");
            if let Some(escaped) = escaped {
                assert_eq!(unescape(escaped).as_deref(), Some(plain), "{escaped}");
            }
        }
        assert_eq!(unescape("a__nonsense__b"), None);
        assert_eq!(unescape("x__if__"), None);
        assert_eq!(unescape("__illegal"), Some("__illegal".into()));
    }
}
