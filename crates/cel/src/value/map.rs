//! Maps and objects: views on JSON, or made while evaluating.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::{Fault, Outcome, Text, Value, equal, json};
use crate::{
    declared::{Declared, Properties},
    escape::{escape, unescape},
};

/// A map, or an object read from JSON.
#[derive(Clone, Debug)]
pub struct Map<'a>(Entries<'a>);

#[derive(Clone, Debug)]
enum Entries<'a> {
    Owned(Arc<BTreeMap<Key<'a>, Value<'a>>>),
    /// With what a key that is not there gives where it is looked up.
    Defaulting(Arc<BTreeMap<Key<'a>, Value<'a>>>, Arc<Value<'a>>),
    Json(&'a serde_json::Map<String, Json>, Shape<'a>),
}

/// What a view on JSON knows of its values.
#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
    Dynamic,
    Values(&'a Declared),
    Object(&'a Properties),
}

/// A key of a map. Numbers are the same key where they are the same number.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// A truth value.
    Bool(bool),
    /// A number with sign.
    Int(i64),
    /// A number without sign.
    Uint(u64),
    /// A text.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// What key a value makes; none where it can be no key.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::String(text) => Key::String(text.clone()),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => {
                Key::Int(*value as i64)
            }
            _ => return None,
        })
    }

    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::String(text) => Value::String(text.clone()),
        }
    }

    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Key::Bool(value) => (0, i128::from(*value), ""),
            Key::Int(value) => (1, i128::from(*value), ""),
            Key::Uint(value) => (1, i128::from(*value), ""),
            Key::String(text) => (2, 0, text.as_str()),
        }
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Key::String(text.into())
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl<'a> Map<'a> {
    /// Of these.
    pub fn owned(entries: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        Self(Entries::Owned(Arc::new(entries)))
    }

    /// Of these. Looking up a key that is not there gives `default`, though `in` says that it is not
    /// there.
    pub fn defaulting(entries: BTreeMap<Key<'a>, Value<'a>>, default: Value<'a>) -> Self {
        Self(Entries::Defaulting(Arc::new(entries), Arc::new(default)))
    }

    pub(crate) fn json(fields: &'a serde_json::Map<String, Json>) -> Self {
        Self(Entries::Json(fields, Shape::Dynamic))
    }

    pub(crate) fn values(fields: &'a serde_json::Map<String, Json>, element: &'a Declared) -> Self {
        Self(Entries::Json(fields, Shape::Values(element)))
    }

    pub(crate) fn object(
        fields: &'a serde_json::Map<String, Json>,
        properties: &'a Properties,
    ) -> Self {
        Self(Entries::Json(fields, Shape::Object(properties)))
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Owned(entries) | Entries::Defaulting(entries, _) => entries.len(),
            Entries::Json(fields, _) => fields.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What looking the key up gives: its value, or the map's default.
    pub(crate) fn look_up(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, Fault> {
        let found = self.find(key)?;
        match &self.0 {
            Entries::Defaulting(_, default) if found.is_none() => Ok(Some((**default).clone())),
            _ => Ok(found),
        }
    }

    /// The value under this key, if there is one.
    pub(crate) fn find(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, Fault> {
        match &self.0 {
            Entries::Owned(entries) | Entries::Defaulting(entries, _) => {
                let Some(key) = Key::of(key) else {
                    return Ok(None);
                };
                Ok(entries.get(&key).cloned())
            }
            Entries::Json(_, shape) => match key {
                Value::String(text) => self.field(text.as_str()).transpose(),
                _ if matches!(shape, Shape::Dynamic) => Ok(None),
                _ => Err(Fault::no_such_overload()),
            },
        }
    }

    /// The field an expression names; absent where it is not there, or is null in an object.
    pub(crate) fn field(&self, name: &str) -> Option<Outcome<'a>> {
        match &self.0 {
            Entries::Owned(entries) | Entries::Defaulting(entries, _) => entries
                .get(&Key::String(Text::Borrowed(name)))
                .cloned()
                .map(Ok),
            Entries::Json(_, Shape::Object(_)) => self.property(&unescape(name)?),
            Entries::Json(..) => self.property(name),
        }
    }

    /// The field JSON names.
    pub(crate) fn property(&self, name: &str) -> Option<Outcome<'a>> {
        match &self.0 {
            Entries::Owned(_) | Entries::Defaulting(..) => self.field(name),
            Entries::Json(fields, shape) => {
                let value = fields.get(name)?;
                match shape {
                    Shape::Dynamic => Some(Ok(json::dynamic(value))),
                    Shape::Values(element) => Some(json::typed(value, element)),
                    Shape::Object(_) if value.is_null() => None,
                    Shape::Object(properties) => properties
                        .plain
                        .get(name)
                        .map(|declared| json::typed(value, declared)),
                }
            }
        }
    }

    /// The keys an expression sees, in order.
    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match &self.0 {
            Entries::Owned(entries) | Entries::Defaulting(entries, _) => {
                entries.keys().map(Key::value).collect()
            }
            Entries::Json(fields, Shape::Object(properties)) => fields
                .keys()
                .filter(|name| properties.plain.contains_key(name.as_str()))
                .map(|name| match escape(name) {
                    Some(Cow::Owned(name)) => Value::string(name),
                    _ => Value::string(name.as_str()),
                })
                .collect(),
            Entries::Json(fields, _) => fields
                .keys()
                .map(|name| Value::string(name.as_str()))
                .collect(),
        }
    }

    /// Puts an entry in, in the place of one of the same key.
    pub(crate) fn put(&mut self, key: &Value<'a>, value: Value<'a>) -> Result<(), Fault> {
        self.enter(key, value, true)
    }

    /// Puts an entry of a new key in: in place where nobody else holds the map.
    pub(crate) fn insert(&mut self, key: &Value<'a>, value: Value<'a>) -> Result<(), Fault> {
        self.enter(key, value, false)
    }

    fn enter(&mut self, key: &Value<'a>, value: Value<'a>, replace: bool) -> Result<(), Fault> {
        let name = Key::of(key)
            .ok_or_else(|| Fault::new(format!("unsupported key type: {}", key.type_name())))?;
        let mut entries =
            match std::mem::replace(&mut self.0, Entries::Owned(Arc::new(BTreeMap::new()))) {
                Entries::Owned(entries) => Arc::unwrap_or_clone(entries),
                view => Map(view).entries()?.into_iter().collect(),
            };
        if !replace && entries.contains_key(&name) {
            return Err(Fault::new(format!(
                "insert failed: key {key} already exists"
            )));
        }
        entries.insert(name, value);
        self.0 = Entries::Owned(Arc::new(entries));
        Ok(())
    }

    /// The entries, all read.
    pub(crate) fn entries(&self) -> Result<Vec<(Key<'a>, Value<'a>)>, Fault> {
        if let Entries::Owned(entries) | Entries::Defaulting(entries, _) = &self.0 {
            return Ok(entries
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect());
        }
        let mut entries = Vec::with_capacity(self.len());
        for key in self.keys() {
            if let (Some(name), Some(value)) = (Key::of(&key), self.find(&key)?) {
                entries.push((name, value));
            }
        }
        Ok(entries)
    }

    /// The JSON it is a view on.
    pub(crate) fn source(&self) -> Option<&'a serde_json::Map<String, Json>> {
        match self.0 {
            Entries::Json(fields, _) => Some(fields),
            Entries::Owned(_) | Entries::Defaulting(..) => None,
        }
    }

    /// Equal to another: the same keys with equal values.
    pub(crate) fn equals(&self, other: &Map<'a>) -> Result<bool, Fault> {
        if self.len() != other.len() {
            return Ok(false);
        }
        if let (Entries::Json(fields, Shape::Object(properties)), Some(others)) =
            (&self.0, other.source())
        {
            // What the schema does not name is compared as it stands.
            let hidden = |name: &str| !properties.plain.contains_key(name);
            for (name, value) in fields.iter().filter(|(name, _)| hidden(name)) {
                if others.get(name).is_some_and(|theirs| theirs != value) {
                    return Ok(false);
                }
            }
        }
        for key in self.keys() {
            match (self.find(&key)?, other.find(&key)?) {
                (Some(a), Some(b)) if equal(&a, &b)? => {}
                (None, None) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
