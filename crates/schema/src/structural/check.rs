//! What is wrong with a schema: the rules that custom resources have beyond OpenAPI's, and that it
//! is structural.

use super::{
    EMBEDDED, LIST_TYPE, MAP_KEYS, MAP_TYPE, META_FIELDS, PRESERVE, RULES, defaults, flag,
    has_entries, invariants, list, named, sub, text,
};
use crate::{FieldError, Path, Table, Value};

/// Errors that are told of; a schema with more is as wrong with the rest left out.
pub(super) const MAX_ERRORS: usize = 250;

/// What a check depends on beside the schema.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The status is written apart: its schema must be found under `properties.status`.
    pub status: bool,
    /// It must be structural; not where what is stored already is not.
    pub structural: bool,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What may stand at the root beside `properties` where the status is written apart, as upstream
/// names and orders it.
const AT_ROOT: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", PRESERVE),
    ("XValidations", RULES),
];

/// Everything wrong with the schema of a version, but for its CEL rules. `base` is
/// [`super::base`]; `path` leads to `openAPIV3Schema`.
pub fn check(base: &Table, schema: &Value, path: &Path<'_>, options: Options) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if options.status {
        at_root(schema, path, &mut errors);
    }
    if flag(schema, "nullable") {
        let wrong = "nullable cannot be true at the root";
        errors.push(FieldError::forbidden(path.field("nullable"), wrong));
    }
    let mut unsupported = None;
    if options.structural {
        unsupported = invariants::unsupported(schema);
        if unsupported.is_none() {
            let wrong = invariants::check(schema, path);
            if wrong.is_empty() {
                defaults::check(base, schema, path, &mut errors);
            }
            wrong.into_iter().for_each(|error| errors.push(error));
        }
    }
    let place = At {
        root: true,
        no_defaults: None,
        in_meta: false,
    };
    walk(schema, path, place, &mut errors);
    if errors.found.is_empty()
        && let Some(wrong) = unsupported
    {
        errors.push(FieldError::invalid(path, "", wrong));
    }
    errors.found
}

/// Is the schema structural?
pub fn is_structural(schema: &Value) -> bool {
    invariants::unsupported(schema).is_none() && invariants::check(schema, &Path::ROOT).is_empty()
}

/// Does the schema give anything a value that nobody wrote?
pub fn has_defaults(schema: &Value) -> bool {
    let mut any = schema.get("default").is_some_and(|value| !value.is_null());
    children(schema, &mut |child| any = any || has_defaults(child));
    any
}

/// The formats a schema names that mean nothing, each once.
pub fn unknown_formats(schema: &Value) -> Vec<String> {
    fn find(schema: &Value, found: &mut Vec<String>) {
        let format = text(schema, "format");
        if !format.is_empty()
            && !super::format::is_known(format, text(schema, "type"))
            && !found.iter().any(|known| known == format)
        {
            found.push(format.to_owned());
        }
        children(schema, &mut |child| find(child, found));
    }
    let mut found = Vec::new();
    find(schema, &mut found);
    found
}

/// Shows every schema directly within one.
pub(super) fn children(schema: &Value, see: &mut dyn FnMut(&Value)) {
    for name in ["items", "additionalProperties", "not"] {
        if let Some(child) = sub(schema, name) {
            see(child);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        list(schema, name).iter().for_each(&mut *see);
    }
    named(schema, "properties").for_each(|(_, child)| see(child));
}

#[derive(Default)]
pub(super) struct Errors {
    pub(super) found: Vec<FieldError>,
    /// What patterns take so far.
    pub(super) patterns: u64,
}

impl Errors {
    pub(super) fn push(&mut self, error: FieldError) {
        if self.found.len() < MAX_ERRORS {
            self.found.push(error);
        }
    }
}

fn at_root(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(schema, "type");
    if !kind.is_empty() && kind != "object" {
        let wrong = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(path.field("type"), kind, wrong));
        return;
    }
    let foreign = schema
        .as_object()
        .into_iter()
        .flatten()
        .any(|(name, value)| {
            let empty = match value {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                _ => false,
            };
            !empty && !AT_ROOT.iter().any(|(_, known)| known == name)
        });
    if foreign {
        let names: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
        let wrong = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.push(FieldError::invalid(path, schema.clone(), wrong));
    }
}

/// Where in a resource's schema a schema is.
#[derive(Clone, Copy)]
struct At<'a> {
    root: bool,
    /// Why defaults may not be given here.
    no_defaults: Option<&'a str>,
    /// Within `apiVersion`, `kind` or `metadata` of a resource.
    in_meta: bool,
}

fn walk(schema: &Value, path: &Path<'_>, at: At<'_>, errors: &mut Errors) {
    allowed(schema, path, at, errors);
    if flag(schema, "uniqueItems") {
        let wrong =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(path.field("uniqueItems"), wrong));
    }
    let inside = At { root: false, ..at };
    if let Some(additional) = schema.get("additionalProperties") {
        let path = path.field("additionalProperties");
        if has_entries(schema, "properties") && additional != &Value::Bool(true) {
            let wrong = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(path, wrong));
        }
        if additional.is_object() {
            let no_defaults = if at.in_meta {
                Some("inside additionalProperties applying to object metadata")
            } else {
                at.no_defaults
            };
            walk(
                additional,
                &path,
                At {
                    no_defaults,
                    ..inside
                },
                errors,
            );
        }
    }
    let properties = path.field("properties");
    for (name, property) in named(schema, "properties") {
        let mut here = inside;
        let reason = format!("in top-level {name}");
        if (at.root || flag(schema, EMBEDDED)) && META_FIELDS.contains(&name) {
            here.in_meta = true;
            if at.root {
                here.no_defaults = Some(&reason);
            }
        }
        walk(property, &properties.key(name), here, errors);
    }
    if let Some(not) = sub(schema, "not") {
        walk(not, &path.field("not"), inside, errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        let path = path.field(name);
        for (index, schema) in list(schema, name).iter().enumerate() {
            walk(schema, &path.index(index), inside, errors);
        }
    }
    if let Some(items) = sub(schema, "items") {
        walk(items, &path.field("items"), inside, errors);
    }
    if schema.get(PRESERVE) == Some(&Value::Bool(false)) {
        let wrong = "must be true or undefined";
        errors.push(FieldError::invalid(path.field(PRESERVE), false, wrong));
    }
    lists_and_maps(schema, path, errors);
    rules(schema, path, errors);
}

/// What OpenAPI knows and custom resources do not have.
fn allowed(schema: &Value, path: &Path<'_>, at: At<'_>, errors: &mut Errors) {
    let kind = text(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(path.field("type"), kind, &TYPES));
    }
    if let (true, Some(reason)) = (schema.get("default").is_some(), at.no_defaults) {
        let wrong = format!("must not be set {reason}");
        errors.push(FieldError::forbidden(path.field("default"), wrong));
    }
    let mut forbid = |field: &str, set: bool, wrong: &str| {
        if set {
            errors.push(FieldError::forbidden(path.field(field), wrong));
        }
    };
    forbid("id", !text(schema, "id").is_empty(), "id is not supported");
    for (field, wrong) in [
        ("additionalItems", "additionalItems is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("$ref", "$ref is not supported"),
    ] {
        let set = schema.get(field).is_some_and(|value| match value {
            Value::Object(map) => !map.is_empty() || field == "additionalItems",
            value => !value.is_null(),
        });
        forbid(field, set, wrong);
    }
    forbid(
        "type",
        kind == "null",
        "type cannot be set to null, use nullable as an alternative",
    );
    forbid(
        "items",
        schema.get("items").is_some_and(Value::is_array),
        "items must be a schema object and not an array",
    );
    forbid(
        EMBEDDED,
        at.in_meta && flag(schema, EMBEDDED),
        "must not be used inside of resource meta",
    );
}

fn lists_and_maps(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(schema, "type");
    let mut wants = |wanted: &str, extension: &str| {
        let wrong = format!("must be {wanted} if {extension} is specified");
        let path = path.field("type");
        errors.push(if kind.is_empty() {
            FieldError::required(path, wrong)
        } else {
            FieldError::invalid(path, kind, wrong)
        });
    };
    let map_type = schema.get(MAP_TYPE).and_then(Value::as_str);
    let list_type = schema.get(LIST_TYPE).and_then(Value::as_str);
    if map_type.is_some() && kind != "object" {
        wants("object", MAP_TYPE);
    }
    if list_type.is_some() && kind != "array" {
        wants("array", LIST_TYPE);
    }
    if let Some(map_type) = map_type.filter(|kind| !matches!(*kind, "atomic" | "granular")) {
        let known = ["atomic", "granular"];
        errors.push(FieldError::not_supported(
            path.field(MAP_TYPE),
            map_type,
            &known,
        ));
    }
    let items = sub(schema, "items");
    if let (Some("set"), "array", Some(items)) = (list_type, kind, items) {
        let (extension, wrong) = match text(items, "type") {
            "array" => (LIST_TYPE, !matches!(text(items, LIST_TYPE), "" | "atomic")),
            "object" => (MAP_TYPE, text(items, MAP_TYPE) != "atomic"),
            _ => (MAP_TYPE, false),
        };
        if wrong {
            let place = path.field("items");
            let found = items.get(LIST_TYPE).cloned().unwrap_or_default();
            let wrong = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(FieldError::invalid(place.field(extension), found, wrong));
        }
    }
    if let Some(list_type) = list_type.filter(|kind| !matches!(*kind, "atomic" | "set" | "map")) {
        let known = ["atomic", "set", "map"];
        errors.push(FieldError::not_supported(
            path.field(LIST_TYPE),
            list_type,
            &known,
        ));
    }
    let keys = list(schema, MAP_KEYS);
    if !keys.is_empty() && list_type != Some("map") {
        let wrong = "must be map if x-kubernetes-list-map-keys is non-empty";
        let path = path.field(LIST_TYPE);
        errors.push(match list_type {
            None => FieldError::required(path, wrong),
            Some(found) => FieldError::invalid(path, found, wrong),
        });
    }
    if list_type == Some("map") {
        map_list(schema, path, keys, errors);
    }
    if let (Some(kind @ ("set" | "map")), Some(items)) = (list_type, items) {
        identities(kind, keys, items, &path.field("items"), errors);
    }
}

fn map_list(schema: &Value, path: &Path<'_>, keys: &[Value], errors: &mut Errors) {
    let items_path = path.field("items");
    let keys_path = path.field(MAP_KEYS);
    if keys.is_empty() {
        let wrong = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(keys_path, wrong));
    }
    let Some(items) = sub(schema, "items") else {
        let wrong = "must have a schema if x-kubernetes-list-type is map";
        if schema.get("items").is_none() {
            errors.push(FieldError::required(items_path, wrong));
        }
        return;
    };
    if text(items, "type") != "object" {
        let wrong = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(
            items_path.field("type"),
            text(items, "type"),
            wrong,
        ));
        return;
    }
    let shown = || Value::Array(keys.to_vec());
    for (at, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match items.get("properties").and_then(|map| map.get(name)) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let wrong = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let properties = items_path.field("properties");
                let property = properties.key(name);
                errors.push(FieldError::invalid(property.field("type"), "object", wrong));
            }
            Some(_) => {}
            None => {
                let wrong = "entries must all be names of item properties";
                errors.push(FieldError::invalid(keys_path, shown(), wrong));
            }
        }
        if keys[..at].contains(key) {
            let wrong = "must not contain duplicate entries";
            errors.push(FieldError::invalid(keys_path, shown(), wrong));
        }
    }
}

/// What tells elements apart must be there in each of them.
fn identities(kind: &str, keys: &[Value], items: &Value, path: &Path<'_>, errors: &mut Errors) {
    if flag(items, "nullable") {
        let wrong = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(path.field("nullable"), wrong));
    }
    if kind != "map" {
        return;
    }
    let properties = path.field("properties");
    for key in keys {
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items.get("properties").and_then(|map| map.get(name)) else {
            continue;
        };
        let path = properties.key(name);
        if !list(items, "required").contains(key) && property.get("default").is_none() {
            let wrong = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(path.field("default"), wrong));
        }
        if flag(property, "nullable") {
            let wrong = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(path.field("nullable"), wrong));
        }
    }
}

const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// CEL rules as far as they can be judged without understanding them.
fn rules(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = path.field(RULES);
    let has_breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in list(schema, RULES).iter().enumerate() {
        let path = rules.index(index);
        let (expression, message) = (text(rule, "rule"), text(rule, "message"));
        let own = path.field("message");
        if expression.trim().is_empty() {
            let wrong = "rule is not specified";
            errors.push(FieldError::required(path.field("rule"), wrong));
        } else if !message.is_empty() && message.trim().is_empty() {
            let wrong = "must be non-empty if specified";
            errors.push(FieldError::invalid(own, message, wrong));
        } else if has_breaks(message.trim()) {
            let wrong = "must not contain line breaks";
            errors.push(FieldError::invalid(own, message, wrong));
        } else if has_breaks(expression.trim()) && message.trim().is_empty() {
            let wrong = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(own, wrong));
        }
        let computed = text(rule, "messageExpression");
        if !computed.is_empty() && computed.trim().is_empty() {
            let wrong = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(path.field("messageExpression"), wrong));
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str)
            && !REASONS.contains(&reason)
        {
            let own = path.field("reason");
            errors.push(FieldError::not_supported(own, reason, &REASONS));
        }
        let place = text(rule, "fieldPath");
        if !place.is_empty() && place.trim().is_empty() {
            let wrong = "must be non-empty if specified";
            errors.push(FieldError::invalid(path.field("fieldPath"), place, wrong));
        }
        if has_breaks(place) {
            let wrong = "must not contain line breaks";
            errors.push(FieldError::invalid(path.field("fieldPath"), place, wrong));
        }
        if super::field_path(schema, place, true).is_err() {
            let wrong = "must be a valid path";
            errors.push(FieldError::invalid(path.field("fieldPath"), place, wrong));
        }
    }
}
