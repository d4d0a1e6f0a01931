//! Values of expressions. JSON is read where an expression looks, not copied: lists and maps of an
//! object are views on it, with the schema's types where a schema is given.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value as Json;

use crate::declared::Declared;

mod compare;
mod json;
mod list;
mod map;
mod opaque;
mod text;
mod time;

pub(crate) use compare::{compare, equal};
pub use list::List;
pub(crate) use list::check_index;
pub use map::{Key, Map};
pub use opaque::OpaqueValue;
pub use text::Text;
pub use time::{Duration, Timestamp};
pub(crate) use time::{parse_duration, parse_timestamp};

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number with sign.
    Int(i64),
    /// A number without sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// A text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A length of time.
    Duration(Duration),
    /// A list.
    List(List<'a>),
    /// A map, or an object read from JSON.
    Map(Map<'a>),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by name.
    Type(Arc<str>),
    /// An object the expression made (`Object{…}`, `JSONPatch{…}`).
    Struct(Arc<Struct<'a>>),
    /// What only functions look into.
    Opaque(Arc<OpaqueValue<'a>>),
    /// The activation's named programs, each evaluated when first read.
    Variables,
}

/// An object an expression made.
#[derive(Clone, Debug)]
pub struct Struct<'a> {
    /// Its type: `Object.spec`, `JSONPatch`.
    pub name: Arc<str>,
    /// The fields set, in order.
    pub fields: Vec<(Arc<str>, Value<'a>)>,
}

impl<'a> Struct<'a> {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields
            .iter()
            .find(|(field, _)| **field == *name)
            .map(|(_, value)| value)
    }
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// As upstream words it. `&&`, `||` and comprehensions can absorb it.
    Runtime(Cow<'static, str>),
    /// The evaluation costs more than it may; nothing absorbs that.
    Cost,
}

/// What evaluating gives.
pub(crate) type Outcome<'a> = Result<Value<'a>, Fault>;

impl Fault {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Fault::Runtime(message.into())
    }

    pub fn no_such_overload() -> Self {
        Fault::new("no such overload")
    }

    pub fn no_such_key(key: &Value<'_>) -> Self {
        Fault::new(format!("no such key: {key}"))
    }
}

impl<'a> Value<'a> {
    /// A text.
    pub fn string(text: impl Into<Text<'a>>) -> Self {
        Value::String(text.into())
    }

    /// A list of these.
    pub fn list(values: Vec<Value<'a>>) -> Self {
        Value::List(List::owned(values))
    }

    /// A map of these.
    pub fn map(entries: impl IntoIterator<Item = (Key<'a>, Value<'a>)>) -> Self {
        Value::Map(Map::owned(entries.into_iter().collect()))
    }

    /// A value that is there.
    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// JSON of no known type.
    pub fn json(json: &'a Json) -> Self {
        json::dynamic(json)
    }

    /// JSON of a declared type; the error is what reading it says.
    pub fn typed(json: &'a Json, declared: &'a Declared) -> Result<Self, String> {
        json::typed(json, declared).map_err(|fault| fault.to_string())
    }

    /// A quantity.
    pub fn quantity(quantity: api::quantity::Quantity) -> Self {
        Value::opaque(OpaqueValue::Quantity(quantity))
    }

    /// A semantic version, read strictly; the error is as `semver()` words it.
    pub fn semver(text: &str) -> Result<Self, String> {
        crate::functions::semver::strict(text)
            .map(|version| Value::opaque(OpaqueValue::Semver(version)))
    }

    pub(crate) fn opaque(value: OpaqueValue<'a>) -> Self {
        Value::Opaque(Arc::new(value))
    }

    /// As JSON; the error says what has no form in JSON.
    pub fn to_json(&self) -> Result<Json, String> {
        json::write(self).map_err(|fault| fault.to_string())
    }

    /// Is it `true`?
    pub fn is_true(&self) -> bool {
        matches!(self, Value::Bool(true))
    }

    /// The text it is.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The name of its type, as `type()` has it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) | Value::Variables => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Struct(made) => &made.name,
            Value::Opaque(opaque) => opaque.kind().name(),
        }
    }

    /// How many characters, items or entries: what costs are reckoned from. One for anything else.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Optional(Some(value)) => value.size(),
            Value::Opaque(opaque) => opaque.size(),
            _ => 1,
        }
    }

    /// Is it nothing, as `optional.ofNonZeroValue` asks?
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            Value::String(text) => text.as_str().is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Duration(duration) => duration.0 == 0,
            Value::Timestamp(timestamp) => timestamp.is_zero(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Runtime(message) => f.write_str(message),
            Fault::Cost => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

impl fmt::Display for Value<'_> {
    /// As error messages show values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Uint(value) => write!(f, "{value}"),
            Value::Double(value) => f.write_str(&text::double(*value)),
            Value::String(text) => f.write_str(text.as_str()),
            Value::Bytes(bytes) => write!(f, "{bytes:?}"),
            Value::Timestamp(timestamp) => write!(f, "{timestamp}"),
            Value::Duration(duration) => write!(f, "{duration}"),
            Value::List(list) => {
                f.write_str("[")?;
                for place in 0..list.len() {
                    if place > 0 {
                        f.write_str(", ")?;
                    }
                    match list.get(place) {
                        Ok(value) => write!(f, "{value}")?,
                        Err(fault) => write!(f, "{fault}")?,
                    }
                }
                f.write_str("]")
            }
            Value::Map(map) => write!(f, "map of {} entries", map.len()),
            Value::Optional(Some(value)) => write!(f, "optional({value})"),
            Value::Optional(None) => f.write_str("optional.none()"),
            Value::Type(name) => f.write_str(name),
            Value::Struct(made) => f.write_str(&made.name),
            Value::Opaque(opaque) => write!(f, "{opaque}"),
            Value::Variables => f.write_str("variables"),
        }
    }
}

/// How Go writes a floating-point number with `%g`.
pub(crate) use text::double as double_text;
