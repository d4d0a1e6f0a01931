//! `metadata.managedFields`: entries to sets and back.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{Manager, Operation, element::Element, set::Set};
use crate::{Map, Value};

/// What tells one entry from another. An applier stays the same across versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// Empty for appliers.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Id {
    pub(super) fn of(manager: &Manager, operation: Operation) -> Self {
        Self::new(
            if manager.name.is_empty() {
                "unknown"
            } else {
                &manager.name
            },
            operation,
            &manager.api_version,
            &manager.subresource,
        )
    }

    pub(super) fn new(
        name: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: subresource.to_owned(),
        }
    }
}

/// One manager's fields.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) api_version: String,
    pub(super) fields: Fields,
    pub(super) time: Option<String>,
}

/// A set of fields that is read only when something meets it: most writes leave most managers'
/// fields alone.
#[derive(Clone, Debug)]
pub(super) enum Fields {
    /// As the object has it.
    Raw(Value),
    /// Read.
    Set(Set),
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Raw(fields) => fields.as_object().is_none_or(Map::is_empty),
            Self::Set(set) => set.is_empty(),
        }
    }

    /// Whether the two have a member in common.
    pub(super) fn meets(&self, set: &Set) -> bool {
        match self {
            Self::Raw(fields) => set.meets(fields),
            Self::Set(own) => !own.intersection(set).is_empty(),
        }
    }

    /// The set. Raw fields were found readable, or are the server's own.
    pub(super) fn set(&self) -> Set {
        match self {
            Self::Raw(fields) => Set::from_fields(fields).unwrap_or_default(),
            Self::Set(set) => set.clone(),
        }
    }

    /// Takes fields out; nothing is read where there is nothing to take.
    pub(super) fn remove(&mut self, set: &Set) {
        if self.meets(set) {
            *self = Self::Set(self.set().difference(set));
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Raw(fields) => fields,
            Self::Set(set) => set.to_fields(),
        }
    }
}

pub(super) type Managers = BTreeMap<Id, Owned>;

/// The entries of an object; those that cannot be read count as none, as upstream has it.
pub(super) fn read(object: &Value) -> Managers {
    match object.pointer("/metadata/managedFields") {
        Some(Value::Array(entries)) => all(entries.iter().cloned()),
        _ => Managers::new(),
    }
}

/// [`read`], which takes them off the object.
pub(super) fn take(object: &mut Value) -> Managers {
    match strip(object) {
        Some(Value::Array(entries)) => all(entries.into_iter()),
        _ => Managers::new(),
    }
}

fn all(entries: impl Iterator<Item = Value>) -> Managers {
    let managers: Option<Managers> = entries.map(entry).collect();
    managers.unwrap_or_default()
}

/// [`read`] of entries that a client sent: each set must be readable.
pub(super) fn read_checked(object: &Value) -> Managers {
    let managers = read(object);
    let is_readable = |owned: &Owned| match &owned.fields {
        Fields::Raw(fields) => Set::from_fields(fields).is_ok(),
        Fields::Set(_) => true,
    };
    if managers.values().all(is_readable) {
        managers
    } else {
        Managers::new()
    }
}

fn entry(mut entry: Value) -> Option<(Id, Owned)> {
    let fields = entry
        .get_mut("fieldsV1")
        .map_or_else(|| Value::Object(Map::new()), Value::take);
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
        return None;
    }
    let id = Id::new(
        text("manager"),
        operation,
        text("apiVersion"),
        text("subresource"),
    );
    let owned = Owned {
        api_version: text("apiVersion").to_owned(),
        fields: Fields::Raw(fields),
        time: Some(text("time"))
            .filter(|time| !time.is_empty())
            .map(str::to_owned),
    };
    Some((id, owned))
}

/// Whether the object asks to forget all managers: one empty entry, or an empty list.
pub(super) fn asks_reset(object: &Value) -> bool {
    match object.pointer("/metadata/managedFields") {
        Some(Value::Array(entries)) => match &entries[..] {
            [] => true,
            [only] => only.as_object().is_some_and(Map::is_empty),
            _ => false,
        },
        _ => false,
    }
}

/// Takes the entries off an object.
pub(super) fn strip(object: &mut Value) -> Option<Value> {
    match object.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata.remove("managedFields"),
        _ => None,
    }
}

/// Puts entries on an object, in upstream's order.
pub(super) fn write(object: &mut Value, managers: Managers) {
    strip(object);
    let mut entries: Vec<(Id, Owned)> = managers.into_iter().collect();
    if entries.is_empty() {
        return;
    }
    // Times of one form sort as text.
    entries.sort_by(|(a, a_owned), (b, b_owned)| {
        (
            a.operation,
            &a_owned.time,
            &a.name,
            &a_owned.api_version,
            &a.subresource,
        )
            .cmp(&(
                b.operation,
                &b_owned.time,
                &b.name,
                &b_owned.api_version,
                &b.subresource,
            ))
    });
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|(id, owned)| {
            let mut entry = Map::new();
            let mut put = |key: &str, text: String| {
                if !text.is_empty() {
                    entry.insert(key.to_owned(), Value::String(text));
                }
            };
            put("manager", id.name);
            put("operation", id.operation.as_str().to_owned());
            put("apiVersion", owned.api_version);
            put("subresource", id.subresource);
            put("time", owned.time.unwrap_or_default());
            put("fieldsType", "FieldsV1".to_owned());
            entry.insert("fieldsV1".to_owned(), owned.fields.into_value());
            Value::Object(entry)
        })
        .collect();
    if let Value::Object(object) = object
        && let Value::Object(metadata) = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()))
    {
        metadata.insert("managedFields".to_owned(), Value::Array(entries));
    }
}

/// Fields that the server keeps: nobody manages them.
static SERVER_FIELDS: LazyLock<Set> = LazyLock::new(|| {
    let mut out = Set::default();
    for name in ["apiVersion", "kind", "metadata"] {
        out.insert(&[Element::field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        out.insert(&[Element::field("metadata"), Element::field(name)]);
    }
    out
});

/// The set without the fields that the server keeps.
pub(super) fn without_server_fields(set: Set) -> Set {
    set.difference(&SERVER_FIELDS)
}
