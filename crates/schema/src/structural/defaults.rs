//! Defaults must be values of their schema, and have no unknown fields.

use super::{EMBEDDED, check::Errors, compile::compile, flag, named, sub, text, validate};
use crate::{FieldError, Path, Table, Value};

/// Adds what is wrong with the defaults in a structural schema.
pub(super) fn check(base: &Table, schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(default) = schema.get("default").filter(|value| !value.is_null()) {
        one(base, schema, default, path, errors);
    }
    if let Some(items) = sub(schema, "items") {
        check(base, items, &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, property) in named(schema, "properties") {
        check(base, property, &properties.key(name), errors);
    }
}

fn one(base: &Table, schema: &Value, default: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field("default");
    // The default as a field of an object of its own, which compiles and decodes as any.
    const FIELD: &str = "value";
    let holder = serde_json::json!({"type": "object", "properties": {FIELD: schema}});
    let (table, ty) = compile(base, "default", Some(&holder));
    let object = serde_json::json!({FIELD: default});
    let decoded = match crate::decode::value(&table, ty, object.clone()) {
        Ok(decoded) => decoded,
        Err(error) => {
            let wrong = format!("must result in valid metadata: {error}");
            errors.push(FieldError::invalid(path, default.clone(), wrong));
            return;
        }
    };
    if !decoded.strict.is_empty() {
        let wrong = "must not have unknown fields";
        errors.push(FieldError::invalid(path, default.clone(), wrong));
        return;
    }
    if flag(schema, EMBEDDED) {
        for name in ["apiVersion", "kind"] {
            if text(default, name).is_empty() {
                errors.push(FieldError::required(path.field(name), ""));
            }
        }
    }
    for mut error in validate::validate(&table, ty, &object, None) {
        // `value.spec.x` is `default.spec.x` to whoever wrote it.
        error.path = match error.path.strip_prefix(FIELD) {
            Some(below) => format!("{path}{below}"),
            None => path.to_string(),
        };
        error.detail = error.detail.replacen(FIELD, "", 1);
        errors.push(error);
    }
}
