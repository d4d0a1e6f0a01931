//! Structurality: every field is given its type outside of `allOf` and its like, which only add
//! rules on values.

use super::{
    EMBEDDED, INT_OR_STRING, LIST_TYPE, MAP_KEYS, MAP_TYPE, META_FIELDS, PRESERVE, RULES,
    check::{Errors, children},
    flag, has_entries, list, named, sub, text,
};
use crate::{FieldError, Path, Value, pattern::Pattern};

/// What the patterns of a schema may take when compiled, in ranges of characters: each is some dozen
/// bytes, which an object that uses every pattern keeps in memory.
const MAX_PATTERNS: u64 = 1_000_000;

/// What no structural schema can express, if there is any of it.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    for field in ["$ref", "id", "$schema"] {
        if !text(schema, field).is_empty() {
            return Some(format!(
                "OpenAPIV3Schema '{}' is not supported",
                field.trim_start_matches('$')
            ));
        }
    }
    for field in ["patternProperties", "definitions", "dependencies"] {
        if has_entries(schema, field) {
            return Some(format!("OpenAPIV3Schema '{field}' is not supported"));
        }
    }
    if schema.get("additionalItems").is_some() {
        return Some("OpenAPIV3Schema 'additionalItems' is not supported".to_owned());
    }
    if schema.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if schema.get(PRESERVE) == Some(&Value::Bool(false)) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
                .to_owned(),
        );
    }
    let mut found = None;
    children(schema, &mut |child| {
        if found.is_none() {
            found = unsupported(child);
        }
    });
    found
}

/// Everything that makes the schema not structural, sorted.
pub(super) fn check(schema: &Value, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    structure(schema, Level::Root, path, &mut errors);
    complete(schema, Some(schema), path, path, true, &mut errors);
    let mut errors = errors.found;
    errors.sort_by_key(ToString::to_string);
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn structure(schema: &Value, level: Level, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(schema, "type");
    if kind == "array" && schema.get("items").is_none() {
        errors.push(FieldError::required(
            path.field("items"),
            "must be specified",
        ));
    }
    if let Some(items) = sub(schema, "items") {
        structure(items, Level::Item, &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, property) in named(schema, "properties") {
        structure(property, Level::Field, &properties.key(name), errors);
    }
    let embedded = flag(schema, EMBEDDED);
    if let Some(additional) = schema.get("additionalProperties") {
        let path = path.field("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(path, "must not be used at the root"));
        }
        if additional.is_object() {
            structure(additional, Level::Field, &path, errors);
        }
        if embedded {
            let wrong = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(FieldError::forbidden(path, wrong));
        }
    }
    let int_or_string = flag(schema, INT_OR_STRING);
    if int_or_string {
        let wrong = "must be false if x-kubernetes-int-or-string is true";
        for extension in [PRESERVE, EMBEDDED] {
            if flag(schema, extension) {
                errors.push(FieldError::invalid(path.field(extension), true, wrong));
            }
        }
    }
    let skip_any = is_int_or_string(schema);
    let skip_all = list(schema, "allOf").first().is_some_and(is_int_or_string);
    values(schema, skip_any, skip_all, path, errors);
    let own = path.field("type");
    if embedded && kind != "object" {
        let wrong = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(own, wrong)
        } else {
            FieldError::invalid(own, kind, wrong)
        });
    } else if kind.is_empty() && !int_or_string && !flag(schema, PRESERVE) {
        let wrong = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(own, wrong));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(own, kind, "must be object at the root"));
    }
    meta(schema, level, embedded, path, errors);
}

/// Metadata has its type; a schema may only restrict names.
fn meta(schema: &Value, level: Level, embedded: bool, path: &Path<'_>, errors: &mut Errors) {
    let is_resource = level == Level::Root || embedded;
    let all = path.field("properties");
    let property = |name: &str| schema.get("properties").and_then(|map| map.get(name));
    for name in ["kind", "apiVersion"] {
        if let Some(property) = property(name).filter(|_| is_resource)
            && text(property, "type") != "string"
        {
            let place = all.key(name);
            let found = text(property, "type");
            errors.push(FieldError::invalid(
                place.field("type"),
                found,
                "must be string",
            ));
        }
    }
    if let Some(metadata) = property("metadata") {
        let place = all.key("metadata");
        if is_resource && text(metadata, "type") != "object" {
            let found = text(metadata, "type");
            errors.push(FieldError::invalid(
                place.field("type"),
                found,
                "must be object",
            ));
        }
        if level == Level::Root && !only_names(metadata) {
            let wrong = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(place, wrong));
        }
    }
    if embedded && !flag(schema, PRESERVE) && !has_entries(schema, "properties") {
        let wrong = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(all, wrong));
    }
}

fn only_names(metadata: &Value) -> bool {
    metadata
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, value)| match name.as_str() {
            "type" | "default" => true,
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .all(|(name, _)| matches!(name.as_str(), "name" | "generateName")),
            _ => matches!(value, Value::Null | Value::Bool(false)),
        })
}

/// `anyOf: [{type: integer}, {type: string}]`
fn is_int_or_string(schema: &Value) -> bool {
    let is = |schema: &Value, kind: &str| {
        schema.as_object().is_some_and(|map| map.len() == 1) && text(schema, "type") == kind
    };
    matches!(list(schema, "anyOf"), [a, b] if is(a, "integer") && is(b, "string"))
}

fn values(schema: &Value, skip_any: bool, skip_all: bool, path: &Path<'_>, errors: &mut Errors) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        let place = path.field(name);
        for (at, rules) in list(schema, name).iter().enumerate() {
            let skip = name == "allOf" && skip_all && at == 0;
            nested(rules, skip, &place.index(at), errors);
        }
    }
    if let Some(not) = sub(schema, "not") {
        nested(not, false, &path.field("not"), errors);
    }
    let pattern = text(schema, "pattern");
    if pattern.is_empty() {
        return;
    }
    let path = path.field("pattern");
    match Pattern::check(pattern) {
        Err(why) => {
            let wrong = format!("must be a valid regular expression, but isn't: {why}");
            errors.push(FieldError::invalid(path, pattern, wrong));
        }
        Ok(weight) => {
            let before = errors.patterns;
            errors.patterns = before.saturating_add(weight);
            // Told of once, where it is too much.
            if before <= MAX_PATTERNS && errors.patterns > MAX_PATTERNS {
                let wrong = "the patterns of the schema are too large together";
                errors.push(FieldError::forbidden(path, wrong));
            }
        }
    }
}

fn nested(schema: &Value, skip_any: bool, path: &Path<'_>, errors: &mut Errors) {
    values(schema, skip_any, false, path, errors);
    if let Some(items) = sub(schema, "items") {
        nested(items, false, &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, rules) in named(schema, "properties") {
        nested(rules, false, &properties.key(name), errors);
    }
    let mut forbid = |field: &str, set: bool, wrong: &str| {
        if set {
            let wrong = format!("{wrong} to be structural");
            errors.push(FieldError::forbidden(path.field(field), wrong));
        }
    };
    forbid("type", !text(schema, "type").is_empty(), "must be empty");
    let additional = schema.get("additionalProperties");
    let additional = additional.is_some_and(|value| value != &Value::Bool(false));
    forbid("additionalProperties", additional, "must be undefined");
    let default = schema.get("default").is_some_and(|value| !value.is_null());
    forbid("default", default, "must be undefined");
    for field in ["title", "description"] {
        forbid(field, !text(schema, field).is_empty(), "must be empty");
    }
    for field in ["nullable", PRESERVE, EMBEDDED, INT_OR_STRING] {
        forbid(field, flag(schema, field), "must be false");
    }
    forbid(MAP_KEYS, has_entries(schema, MAP_KEYS), "must be empty");
    for field in [LIST_TYPE, MAP_TYPE] {
        forbid(field, schema.get(field).is_some(), "must be undefined");
    }
    forbid(RULES, has_entries(schema, RULES), "must be empty");
    if schema
        .get("properties")
        .is_some_and(|map| map.get(META_FIELDS[2]).is_some())
    {
        let wrong = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(properties.key("metadata"), wrong));
    }
}

/// Every field that rules speak of has a type.
fn complete(
    rules: &Value,
    schema: Option<&Value>,
    at: &Path<'_>,
    rules_at: &Path<'_>,
    structural: bool,
    errors: &mut Errors,
) {
    let Some(schema) = schema else {
        let wrong = format!("because it is defined in {rules_at}");
        errors.push(FieldError::required(at, wrong));
        return;
    };
    if let Some(not) = sub(rules, "not") {
        complete(not, Some(schema), at, &rules_at.field("not"), false, errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let place = rules_at.field(name);
        for (index, rules) in list(rules, name).iter().enumerate() {
            complete(rules, Some(schema), at, &place.index(index), false, errors);
        }
    }
    let (properties, rules_properties) = (at.field("properties"), rules_at.field("properties"));
    // The structural part has its fields by itself; what is asked is whether rules within have.
    if structural {
        return;
    }
    if let Some(items) = sub(rules, "items") {
        let (at, rules_at) = (at.field("items"), rules_at.field("items"));
        complete(items, sub(schema, "items"), &at, &rules_at, false, errors);
    }
    for (name, rules) in named(rules, "properties") {
        let property = schema.get("properties").and_then(|map| map.get(name));
        let (at, rules_at) = (properties.key(name), rules_properties.key(name));
        complete(rules, property, &at, &rules_at, false, errors);
    }
}
