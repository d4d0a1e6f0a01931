//! Field selectors: `metadata.name=x,status.phase!=Running`.

use std::fmt;

/// A conjunction of equalities and inequalities over fields. The default one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// `spec.nodeName`.
    pub field: Box<str>,
    /// The value.
    pub value: Box<str>,
    /// `!=` rather than `=`.
    pub negated: bool,
}

/// Why a field selector cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// The text is not of the form.
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Parse {
        /// All of it.
        selector: String,
        /// What is wrong in it.
        part: String,
    },
    /// A backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// The kind has no such field selector.
    #[error("field label not supported: {0}")]
    Unsupported(String),
}

impl FieldSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        FieldSelector::default()
    }

    /// Selects objects whose field has this value.
    pub fn equal(field: &str, value: &str) -> Self {
        FieldSelector {
            terms: vec![Term {
                field: field.into(),
                value: value.into(),
                negated: false,
            }],
        }
    }

    /// From the text form.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let wrong = || FieldSelectorError::Parse {
                selector: text.to_owned(),
                part: part.to_owned(),
            };
            let at = find_operator(part).ok_or_else(wrong)?;
            let (field, rest) = part.split_at(at);
            let (value, negated) = if let Some(value) = rest.strip_prefix("!=") {
                (value, true)
            } else if let Some(value) = rest.strip_prefix("==") {
                (value, false)
            } else {
                (rest.strip_prefix('=').ok_or_else(wrong)?, false)
            };
            terms.push(Term {
                field: field.into(),
                value: unescape(value)?.into(),
                negated,
            });
        }
        Ok(FieldSelector { terms })
    }

    /// Calls fields by the names that `name` gives; those it does not know are refused.
    pub fn rename<'n>(
        mut self,
        name: impl Fn(&str) -> Option<&'n str>,
    ) -> Result<Self, FieldSelectorError> {
        for term in &mut self.terms {
            let Some(renamed) = name(&term.field) else {
                return Err(FieldSelectorError::Unsupported(term.field.to_string()));
            };
            if *term.field != *renamed {
                term.field = renamed.into();
            }
        }
        Ok(self)
    }

    /// The terms on these fields, and the others.
    pub fn partition(self, these: impl Fn(&str) -> bool) -> (Self, Self) {
        let (terms, others) = self.terms.into_iter().partition(|term| these(&term.field));
        (FieldSelector { terms }, FieldSelector { terms: others })
    }

    /// Does it select everything?
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Its terms.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The value this field must have, when one is demanded.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| !term.negated && &*term.field == field)
            .map(|term| &*term.value)
    }

    /// Only these fields may be asked for.
    pub fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), FieldSelectorError> {
        match self.terms.iter().find(|term| !known(&term.field)) {
            Some(term) => Err(FieldSelectorError::Unsupported(term.field.to_string())),
            None => Ok(()),
        }
    }

    /// Do the fields that `get` answers satisfy it? A field that is absent reads as empty.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|term| (get(&term.field).unwrap_or("") == &*term.value) != term.negated)
    }

    /// Do these fields satisfy it?
    pub fn matches<'a, I>(&self, fields: I) -> bool
    where
        I: IntoIterator<Item = (&'a str, &'a str)>,
        I::IntoIter: Clone,
    {
        let fields = fields.into_iter();
        self.matches_with(|name| {
            fields
                .clone()
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value)
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let sign = if term.negated { "!=" } else { "=" };
            let value = term
                .value
                .replace('\\', "\\\\")
                .replace(',', "\\,")
                .replace('=', "\\=");
            write!(f, "{comma}{}{sign}{value}", term.field)?;
        }
        Ok(())
    }
}

/// Parts between commas that no backslash precedes.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn find_operator(part: &str) -> Option<usize> {
    (0..part.len()).find(|&at| {
        part.is_char_boundary(at) && (part[at..].starts_with('=') || part[at..].starts_with("!="))
    })
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.to_owned());
    }
    let mut result = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => result.push(c),
                other => {
                    return Err(FieldSelectorError::Escape(format!(
                        "\\{}",
                        other.map_or(String::new(), String::from)
                    )));
                }
            },
            ',' | '=' => {
                return Err(FieldSelectorError::Escape(format!(
                    "unescaped character in value: {c}"
                )));
            }
            c => result.push(c),
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_by_fields() {
        let fields = [
            ("metadata.name", "a"),
            ("spec.nodeName", "n1"),
            ("x", "a,b=c"),
        ];
        let cases = [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,spec.nodeName!=n2", true),
            ("spec.nodeName!=n1", false),
            ("spec.other=", true),
            ("spec.other!=", false),
            (r"x=a\,b\=c", true),
        ];
        for (text, expected) in cases {
            let selector = FieldSelector::parse(text).unwrap();
            assert_eq!(selector.matches(fields), expected, "{text}");
            assert_eq!(
                FieldSelector::parse(&selector.to_string()).unwrap(),
                selector
            );
        }
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert_eq!(
            FieldSelector::parse("metadata.name")
                .unwrap_err()
                .to_string(),
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
        );
        assert!(FieldSelector::parse(r"a=b\c").is_err());
        let selector = FieldSelector::parse("spec.foo=x").unwrap();
        assert_eq!(
            selector
                .check(|name| name == "metadata.name")
                .unwrap_err()
                .to_string(),
            "field label not supported: spec.foo"
        );
    }
}
