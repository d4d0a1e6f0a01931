//! What a custom resource's schema asks of a value beyond its type.

use crate::{Value, pattern::Pattern};

/// Rules on one value. Built-in kinds have none here: theirs are validation code.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// `null` is a value (otherwise nulls are dropped).
    pub nullable: bool,
    /// The schema gives no type: any value is one.
    pub untyped: bool,
    /// An object with `apiVersion`, `kind` and `metadata` of its own.
    pub embedded_resource: bool,
    /// The values allowed; empty where any is.
    pub allowed: Vec<Value>,
    /// What a text must match.
    pub pattern: Option<Pattern>,
    /// `date`, `uuid`, …
    pub format: Option<Box<str>>,
    /// Least number.
    pub minimum: Option<f64>,
    /// Greatest number.
    pub maximum: Option<f64>,
    /// The least number itself is not allowed.
    pub exclusive_minimum: bool,
    /// The greatest number itself is not allowed.
    pub exclusive_maximum: bool,
    /// A number must be a multiple of this.
    pub multiple_of: Option<f64>,
    /// Least characters of a text.
    pub min_length: Option<u64>,
    /// Most characters of a text.
    pub max_length: Option<u64>,
    /// Least items of a list.
    pub min_items: Option<u64>,
    /// Most items of a list.
    pub max_items: Option<u64>,
    /// Least fields of an object.
    pub min_properties: Option<u64>,
    /// Most fields of an object.
    pub max_properties: Option<u64>,
    /// Fields an object must have.
    pub required: Vec<Box<str>>,
    /// What holds in place of `null` for an element of a list or map.
    pub default: Option<Value>,
    /// `allOf` and its like.
    pub logic: Option<Box<Logic>>,
}

/// Rules that no type expresses.
#[derive(Clone, Debug, Default)]
pub struct Logic {
    /// All of these hold.
    pub all_of: Vec<Rules>,
    /// At least one of these holds.
    pub any_of: Vec<Rules>,
    /// Exactly one of these holds.
    pub one_of: Vec<Rules>,
    /// This does not hold.
    pub not: Option<Rules>,
    /// This holds, and is part of the place's own rules: what a schema asks of metadata, whose type
    /// it cannot change.
    pub own: Option<Rules>,
}

/// Rules within [`Logic`], which repeat the shape of what they are about.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The JSON type; only in the alternatives of a number or text.
    pub kind: Option<JsonKind>,
    /// Rules on the value itself.
    pub own: Constraints,
    /// Rules on its fields.
    pub properties: Vec<(Box<str>, Rules)>,
    /// Rules on the items of a list.
    pub items: Option<Box<Rules>>,
}

/// The types of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

impl JsonKind {
    /// From its name in a schema.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// Its name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}
