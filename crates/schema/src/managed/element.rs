//! One step of a field path, as `FieldsV1` writes it: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.

use std::{cmp::Ordering, fmt};

use crate::{Value, field_error::quote};

/// One step of a field path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of an object, or a key of a map.
    Field(Box<str>),
    /// The element of a list with these values of its keys, sorted by key.
    Key(Vec<(Box<str>, Leaf)>),
    /// The element of a set.
    Value(Leaf),
    /// The place in a list.
    Index(i64),
}

/// A value that tells elements apart, in upstream's order of values.
#[derive(Clone, Debug)]
pub struct Leaf(pub Value);

impl Leaf {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Leaf {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a
                    .as_f64()
                    .unwrap_or_default()
                    .total_cmp(&b.as_f64().unwrap_or_default()),
            },
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
                self.0.to_string().cmp(&other.0.to_string())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Leaf {}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => f.write_str(&quote(text)),
            other => write!(f, "{other}"),
        }
    }
}

impl Element {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// As a key of `FieldsV1`.
    pub fn serialize(&self) -> String {
        match self {
            Self::Field(name) => {
                let mut out = String::with_capacity(name.len() + 2);
                out.push_str("f:");
                out.push_str(name);
                out
            }
            Self::Key(keys) => {
                let mut out = String::from("k:{");
                for (i, (key, leaf)) in keys.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::from(&**key).to_string());
                    out.push(':');
                    out.push_str(&leaf.0.to_string());
                }
                out.push('}');
                out
            }
            Self::Value(leaf) => format!("v:{}", leaf.0),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a key of `FieldsV1`. The outer error is a malformed key; `None` is a kind of step
    /// that a later version may know.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let malformed = || format!("malformed path element {text:?}");
        let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
        Ok(Some(match kind {
            "f" => Self::Field(rest.into()),
            "k" => {
                let keys: crate::Map<String, Value> =
                    serde_json::from_str(rest).map_err(|_| malformed())?;
                // A map of serde_json is sorted by key already.
                Self::Key(
                    keys.into_iter()
                        .map(|(key, value)| (key.into_boxed_str(), Leaf(value)))
                        .collect(),
                )
            }
            "v" => Self::Value(Leaf(serde_json::from_str(rest).map_err(|_| malformed())?)),
            "i" => Self::Index(rest.parse().map_err(|_| malformed())?),
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (i, (key, leaf)) in keys.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{key}={leaf}")?;
                }
                f.write_str("]")
            }
            Self::Value(leaf) => write!(f, "[={leaf}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}
