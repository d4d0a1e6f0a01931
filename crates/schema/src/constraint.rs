//! What a custom resource's schema asks of a value beyond its type.

use regex::Regex;

use crate::Value;

/// Rules on one value. Built-in kinds have none here: theirs are validation code.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// `null` is a value (otherwise nulls are dropped).
    pub nullable: bool,
    /// Fields the schema does not name are kept.
    pub preserve_unknown: bool,
    /// A number or a text.
    pub int_or_string: bool,
    /// An object with `apiVersion`, `kind` and `metadata` of its own.
    pub embedded_resource: bool,
    /// The values allowed; empty where any is.
    pub allowed: Vec<Value>,
    /// What a text must match.
    pub pattern: Option<Regex>,
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
    /// Items of a list must differ.
    pub unique_items: bool,
    /// Least fields of an object.
    pub min_properties: Option<u64>,
    /// Most fields of an object.
    pub max_properties: Option<u64>,
    /// Rules that no table holds (`allOf`, `anyOf`, `oneOf`, `not`, CEL), as the schema gave them.
    pub logic: Option<Value>,
}
