//! What a value was before the update: fields by name, items of lists with keys by their keys. An
//! error about what has not changed is not held against the update.

use std::collections::HashMap;

use schema::Value as Json;

/// A place whose value before the update is known, or the nearest one above it.
#[derive(Clone, Copy)]
pub(super) struct Correlation<'v> {
    here: Option<Pair<'v>>,
    above: Option<Pair<'v>>,
}

/// A value before and after, with its schema.
#[derive(Clone, Copy)]
struct Pair<'v> {
    schema: &'v Json,
    new: &'v Json,
    old: &'v Json,
}

impl<'v> Correlation<'v> {
    /// Nothing was before.
    pub fn none() -> Self {
        Self {
            here: None,
            above: None,
        }
    }

    /// A whole object.
    pub fn root(schema: &'v Json, new: &'v Json, old: &'v Json) -> Self {
        Self {
            here: Some(Pair { schema, new, old }),
            above: None,
        }
    }

    /// As seen from a part of `allOf`, whose errors only count as old where what is above is.
    pub fn above(self) -> Self {
        Self {
            here: None,
            above: self.above,
        }
    }

    fn below(self, pair: Option<Pair<'v>>) -> Self {
        Self {
            here: pair,
            above: self.here,
        }
    }

    /// The field of this name.
    pub fn field(self, name: &str) -> Self {
        let Some(here) = self.here else {
            return self;
        };
        if self.above.is_none() && matches!(name, "apiVersion" | "kind") {
            // Both sides were brought to one version before, so these look alike whatever they were.
            return Self::none();
        }
        self.below(here.field(name))
    }

    /// An item of the list, with what it was.
    pub fn item(self, new: &'v Json, old: Option<&'v Json>) -> Self {
        let Some(here) = self.here else {
            return self;
        };
        let pair = here
            .schema
            .get("items")
            .zip(old)
            .map(|(schema, old)| Pair { schema, new, old });
        self.below(pair)
    }

    /// Is the value what it was?
    pub fn is_unchanged(self) -> bool {
        self.here.or(self.above).is_some_and(|pair| pair.same())
    }
}

impl<'v> Pair<'v> {
    fn field(self, name: &str) -> Option<Self> {
        let (new, old) = (self.new.as_object()?, self.old.as_object()?);
        let schema = self
            .schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| {
                self.schema
                    .get("additionalProperties")
                    .filter(|values| values.is_object())
            })?;
        Some(Pair {
            schema,
            new: new.get(name)?,
            old: old.get(name)?,
        })
    }

    /// The same, but for the order of items that have keys.
    fn same(self) -> bool {
        match (self.new, self.old) {
            (Json::Null, Json::Null) => true,
            (Json::Null, _) | (_, Json::Null) => false,
            (Json::Array(new), Json::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                let before = keyed(self.schema, Some(old));
                let Some(schema) = self.schema.get("items").filter(|_| before.has_keys()) else {
                    return new == old;
                };
                new.iter().all(|new| {
                    before
                        .get(new)
                        .is_some_and(|old| Pair { schema, new, old }.same())
                })
            }
            (Json::Object(new), Json::Object(old)) => {
                new.len() == old.len()
                    && new
                        .keys()
                        .all(|name| self.field(name).is_some_and(Pair::same))
            }
            (new, old) => new == old,
        }
    }
}

/// Items of a list by their keys (`x-kubernetes-list-type: map`).
pub(super) struct Keyed<'v> {
    keys: Vec<&'v str>,
    items: HashMap<String, &'v Json>,
}

/// The items of a list before the update; nothing is found where the schema names no keys.
pub(super) fn keyed<'v>(schema: &'v Json, items: Option<&'v Vec<Json>>) -> Keyed<'v> {
    let is_map = schema.get("x-kubernetes-list-type").and_then(Json::as_str) == Some("map");
    let keys: Vec<&str> = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .filter(|_| is_map)
        .collect();
    let mut by_key = HashMap::new();
    if !keys.is_empty() {
        for item in items.into_iter().flatten() {
            if let Some(key) = composed(&keys, item) {
                // Of two of one key the first counts.
                by_key.entry(key).or_insert(item);
            }
        }
    }
    Keyed {
        keys,
        items: by_key,
    }
}

impl<'v> Keyed<'v> {
    pub fn get(&self, item: &Json) -> Option<&'v Json> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(&composed(&self.keys, item)?).copied()
    }

    fn has_keys(&self) -> bool {
        !self.items.is_empty()
    }
}

fn composed(keys: &[&str], item: &Json) -> Option<String> {
    let mut composed = String::new();
    for key in keys {
        let value = item.get(key)?;
        if !(value.is_string() || value.is_number() || value.is_boolean()) {
            return None;
        }
        composed.push('\0');
        composed.push_str(&value.to_string());
    }
    Some(composed)
}
