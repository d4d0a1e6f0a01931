//! Types declared by a structural schema: what a custom resource's fields are to an expression, how
//! large they can get (for cost estimates), and how their JSON is read. Upstream's `SchemaDeclType`
//! and `DeclType`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use crate::{
    escape::escape,
    limits,
    types::{Fields, Object, Type},
};

/// One place of a schema.
#[derive(Debug)]
pub struct Declared {
    ty: Type,
    pub(crate) shape: Shape,
    /// Most characters, items or entries a value can have.
    pub(crate) max_elements: u64,
    /// Bytes of the shortest value in JSON.
    pub(crate) min_size: u64,
    pub(crate) nullable: bool,
}

/// How JSON is read at one place.
#[derive(Debug)]
pub(crate) enum Shape {
    IntOrString,
    Bool,
    Int,
    Double,
    Text(TextForm),
    List(Arc<Declared>, ListKind),
    Map(Arc<Declared>),
    Object(Properties),
}

/// What a text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextForm {
    Plain,
    Bytes,
    Duration,
    Date,
    DateTime,
}

/// How lists of one place compare and add (`x-kubernetes-list-type`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    Map(Box<[Box<str>]>),
}

/// Fields of an object.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    /// By the name expressions use.
    pub escaped: BTreeMap<Box<str>, Arc<Declared>>,
    /// By the name JSON has.
    pub plain: BTreeMap<Box<str>, Arc<Declared>>,
}

impl Declared {
    /// From a structural schema; `root` where the schema is that of a whole resource, which has
    /// `apiVersion`, `kind`, `metadata.name` and `metadata.generateName` whether said or not. None
    /// where the schema gives no type to speak of (`x-kubernetes-preserve-unknown-fields` alone).
    /// The schema's depth bounds the recursion; schemas come from requests whose depth is bounded.
    pub fn from_schema(schema: &Json, root: bool, name: &str) -> Option<Arc<Self>> {
        declare(schema, root, name)
    }

    /// The type in expressions.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The least bytes a value takes in JSON.
    pub fn min_size(&self) -> u64 {
        self.min_size
    }

    /// How often a value of this size can stand in one request.
    pub fn max_cardinality(&self) -> u64 {
        limits::REQUEST_BYTES / (self.min_size + 1)
    }

    /// The declared field of this name (as expressions write it).
    pub fn field(&self, name: &str) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::Object(properties) => properties.escaped.get(name),
            _ => None,
        }
    }

    /// The declared property of this name (as JSON writes it).
    pub fn property(&self, name: &str) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::Object(properties) => properties.plain.get(name),
            _ => None,
        }
    }

    /// What a list's items or a map's values are.
    pub fn element(&self) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::List(element, _) | Shape::Map(element) => Some(element),
            _ => None,
        }
    }

    /// Most elements at the end of a path of fields, `@items`, `@values` and `@keys`.
    pub(crate) fn size_at<'p>(&self, path: impl Iterator<Item = &'p str>) -> Option<u64> {
        let mut here = self;
        let mut path = path.peekable();
        while let Some(step) = path.next() {
            here = match step {
                "@items" | "@values" => here.element()?,
                "@keys" => match here.shape {
                    // Keys are plain texts of no known length.
                    Shape::Map(_) if path.peek().is_none() => return Some(0),
                    _ => return None,
                },
                name => here.field(name)?,
            };
        }
        Some(here.max_elements)
    }
}

fn whole(schema: &Json, key: &str) -> Option<u64> {
    let value = schema.get(key)?;
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|f| f.max(0.0) as u64))
}

fn flag(schema: &Json, key: &str) -> bool {
    schema.get(key).and_then(Json::as_bool).unwrap_or(false)
}

fn embedded(schema: &Json) -> bool {
    flag(schema, "x-kubernetes-embedded-resource")
}

fn simple(ty: Type, shape: Shape, max_elements: u64, min_size: u64) -> Declared {
    Declared {
        ty,
        shape,
        max_elements,
        min_size,
        nullable: false,
    }
}

fn declare(schema: &Json, root: bool, name: &str) -> Option<Arc<Declared>> {
    let mut declared = if flag(schema, "x-kubernetes-int-or-string") {
        let most = whole(schema, "maxLength").map_or(limits::REQUEST_BYTES - 2, |n| n * 4);
        simple(Type::Dyn, Shape::IntOrString, most, 1)
    } else {
        match schema.get("type").and_then(Json::as_str)? {
            "array" => list(schema, name)?,
            "object" => object(schema, root, name)?,
            "string" => text(schema),
            "boolean" => simple(Type::Bool, Shape::Bool, 0, limits::SHORTEST_BOOL),
            "number" => simple(Type::Double, Shape::Double, 0, limits::SHORTEST_NUMBER),
            "integer" => simple(Type::Int, Shape::Int, 0, limits::SHORTEST_NUMBER),
            _ => return None,
        }
    };
    declared.nullable = flag(schema, "nullable");
    let fields = match &declared.ty {
        Type::Object(object) => Some(object.name.clone()),
        _ => None,
    };
    let Some(name) = fields else {
        return Some(Arc::new(declared));
    };
    // The type of an object holds what declares it, without the type's own description.
    let Shape::Object(properties) = declared.shape else {
        return None;
    };
    let inner = Arc::new(Declared {
        ty: Type::Dyn,
        shape: Shape::Object(Properties {
            escaped: properties.escaped.clone(),
            plain: BTreeMap::new(),
        }),
        max_elements: declared.max_elements,
        min_size: declared.min_size,
        nullable: declared.nullable,
    });
    Some(Arc::new(Declared {
        ty: Type::Object(Object {
            name,
            fields: Fields::Declared(inner),
        }),
        shape: Shape::Object(properties),
        max_elements: declared.max_elements,
        min_size: declared.min_size,
        nullable: declared.nullable,
    }))
}

fn list(schema: &Json, name: &str) -> Option<Declared> {
    let items = schema.get("items")?;
    let element = declare(items, embedded(items), &format!("{name}.@idx"))?;
    let most =
        whole(schema, "maxItems").unwrap_or((limits::REQUEST_BYTES - 2) / (element.min_size + 1));
    let kind = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(
            schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .map(Into::into)
                .collect(),
        ),
        _ => ListKind::Atomic,
    };
    Some(simple(
        Type::list(element.ty.clone()),
        Shape::List(element, kind),
        most,
        2,
    ))
}

fn object(schema: &Json, root: bool, name: &str) -> Option<Declared> {
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        let element = declare(values, embedded(values), &format!("{name}.@elem"))?;
        let most = whole(schema, "maxProperties")
            .unwrap_or((limits::REQUEST_BYTES - 2) / (element.min_size + 6));
        return Some(simple(
            Type::map(Type::String, element.ty.clone()),
            Shape::Map(element),
            most,
            2,
        ));
    }
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let mut properties = Properties::default();
    let mut min_size = 2;
    let named = schema.get("properties").and_then(Json::as_object);
    let meta = root.then(resource_fields).flatten();
    let own = named.into_iter().flatten().filter(|(key, property)| {
        !root || !is_resource_field(key) || (*key == "metadata" && has_names(property))
    });
    let added = meta.iter().flatten().filter(|(key, _)| {
        *key != "metadata"
            || !named
                .and_then(|named| named.get("metadata"))
                .is_some_and(has_names)
    });
    for (key, property) in own.chain(added) {
        let Some(field) = declare(property, embedded(property), &format!("{name}.{key}")) else {
            continue;
        };
        if required.contains(&key.as_str()) && property.get("default").is_none() {
            min_size += key.len() as u64 + field.min_size + 4;
        }
        if let Some(escaped) = escape(key) {
            properties
                .escaped
                .insert(escaped.as_ref().into(), field.clone());
        }
        properties.plain.insert(key.as_str().into(), field);
    }
    Some(simple(
        Type::Object(Object {
            name: name.into(),
            fields: Fields::Open,
        }),
        Shape::Object(properties),
        0,
        min_size,
    ))
}

fn is_resource_field(key: &str) -> bool {
    matches!(key, "apiVersion" | "kind" | "metadata")
}

fn has_names(metadata: &Json) -> bool {
    metadata.get("properties").is_some_and(|properties| {
        properties.get("name").is_some() && properties.get("generateName").is_some()
    })
}

fn resource_fields() -> Option<serde_json::Map<String, Json>> {
    let text = serde_json::json!({"type": "string"});
    let fields = serde_json::json!({
        "apiVersion": text,
        "kind": text,
        "metadata": {"type": "object", "properties": {"name": text, "generateName": text}},
    });
    match fields {
        Json::Object(fields) => Some(fields),
        _ => None,
    }
}

fn text(schema: &Json) -> Declared {
    let most = limits::REQUEST_BYTES - 2;
    let max_length = whole(schema, "maxLength");
    let (ty, form, max_elements, min_size) = match schema.get("format").and_then(Json::as_str) {
        Some("byte") => (
            Type::Bytes,
            TextForm::Bytes,
            max_length.unwrap_or(most),
            limits::SHORTEST_TEXT,
        ),
        Some("duration") => (
            Type::Duration,
            TextForm::Duration,
            limits::DURATION_TEXT,
            limits::SHORTEST_DURATION,
        ),
        Some("date") => (
            Type::Timestamp,
            TextForm::Date,
            limits::DATE_TEXT,
            limits::DATE_TEXT,
        ),
        Some("date-time") => (
            Type::Timestamp,
            TextForm::DateTime,
            limits::DATE_TIME_TEXT,
            limits::SHORTEST_DATE_TIME,
        ),
        _ => {
            let longest = schema.get("enum").and_then(Json::as_array).map(|values| {
                values
                    .iter()
                    .filter_map(Json::as_str)
                    .map(|value| value.len() as u64)
                    .max()
                    .unwrap_or(0)
            });
            let max_elements = match (max_length, longest) {
                (Some(length), _) => length.saturating_mul(4),
                (None, Some(longest)) => longest,
                (None, None) => most,
            };
            (
                Type::String,
                TextForm::Plain,
                max_elements,
                limits::SHORTEST_TEXT,
            )
        }
    };
    simple(ty, Shape::Text(form), max_elements, min_size)
}
