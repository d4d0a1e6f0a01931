//! Checks that the validation of several kinds is made of.

use schema::{Path, Value, field_error::FieldError};

use crate::{names, object::Object, quantity::Quantity};

/// What a changed field that may not change is told.
pub const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Labels, or any other map of that form.
pub fn labels(labels: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key.as_str(), wrong));
        }
        let value = value.as_str().unwrap_or("");
        for wrong in names::label_value(value) {
            errors.push(FieldError::invalid(path, value, wrong));
        }
    }
}

/// A `LabelSelector`.
pub fn label_selector(selector: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    label_selector_after(selector, &Value::Null, path, errors);
}

/// A `LabelSelector` that took the place of another: one that had a value no label can have may have such
/// values.
pub fn label_selector_after(
    selector: &Value,
    old: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let odd = |value: &str| !names::label_value(value).is_empty();
    let any_value = old
        .list("matchExpressions")
        .iter()
        .any(|expression| expression.texts("values").any(odd));
    labels(
        selector.at("matchLabels"),
        &path.field("matchLabels"),
        errors,
    );
    let expressions = path.field("matchExpressions");
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = expressions.index(index);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let wrong = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(path.field("values"), wrong));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let wrong =
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(path.field("values"), wrong));
                }
            }
            other => errors.push(FieldError::invalid(
                path.field("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = expression.text("key");
        for wrong in names::qualified_name(key) {
            errors.push(FieldError::invalid(path.field("key"), key, wrong));
        }
        for (index, value) in expression.texts("values").enumerate() {
            if any_value {
                break;
            }
            for wrong in names::label_value(value) {
                errors.push(FieldError::invalid(
                    path.field("values").index(index),
                    value,
                    wrong,
                ));
            }
        }
    }
}

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

/// Conditions of the common form.
pub fn conditions(conditions: &[Value], list: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        let kind = condition.text("type");
        if conditions[..index]
            .iter()
            .any(|other| other.text("type") == kind)
        {
            errors.push(FieldError::duplicate(path.field("type"), kind));
        }
        let name = path.field("type");
        wrongs(kind, names::qualified_name(kind), &name, errors);
        let known = ["False", "True", "Unknown"];
        supported(condition, "status", &known, &path, errors);
        if let Some(seen) = condition.int("observedGeneration").filter(|seen| *seen < 0) {
            let wrong = "must be greater than or equal to zero";
            let field = path.field("observedGeneration");
            errors.push(FieldError::invalid(field, seen, wrong));
        }
        if !condition.has("lastTransitionTime") {
            errors.push(FieldError::required(path.field("lastTransitionTime"), ""));
        }
        let reason = required(condition, "reason", &path, errors);
        let field = path.field("reason");
        if !reason.is_empty() && !is_reason(reason) {
            let wrong = names::regex_message(
                "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                &[
                    "my_name",
                    "MY_NAME",
                    "MyName",
                    "ReasonA,ReasonB",
                    "ReasonA:ReasonB",
                ],
            );
            errors.push(FieldError::invalid(field, reason, wrong));
        }
        if reason.len() > REASON_MAX {
            errors.push(FieldError::too_long(field, REASON_MAX));
        }
        if condition.text("message").len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(path.field("message"), MESSAGE_MAX));
        }
    }
}

/// Letters first, `,` and `:` not last.
fn is_reason(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(word)
        && text.chars().all(|c| word(c) || matches!(c, ',' | ':'))
}

/// A number that may not be negative.
pub fn not_negative(object: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number) = object.int(field).filter(|number| *number < 0) {
        errors.push(FieldError::invalid(path.field(field), number, NOT_NEGATIVE));
    }
}

/// A field that may not change.
pub fn immutable(
    object: &Value,
    old: &Value,
    field: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let (new, old) = (object.at(field), old.at(field));
    if new != old {
        // A text that is gone is an empty one.
        let shown = match (new, old) {
            (Value::Null, Value::String(_)) => Value::from(""),
            _ => new.clone(),
        };
        errors.push(FieldError::invalid(path.field(field), shown, IMMUTABLE));
    }
}

/// Says when a list is too long; its items are not looked at then.
pub fn too_many(
    list: &[impl Sized],
    max: usize,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> bool {
    let too_many = list.len() > max;
    if too_many {
        errors.push(FieldError::too_many(path, list.len(), max));
    }
    too_many
}

/// Each item of a list whose key came before.
pub fn duplicates<'a>(
    keys: impl Iterator<Item = &'a str>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let mut seen = Vec::new();
    for (index, key) in keys.enumerate() {
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(path.index(index), key));
        }
        seen.push(key);
    }
}

/// A text that must be given.
pub fn required<'a>(
    object: &'a Value,
    field: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> &'a str {
    let text = object.text(field);
    if text.is_empty() {
        errors.push(FieldError::required(path.field(field), ""));
    }
    text
}

/// A text that must be one of these.
pub fn one_of(
    object: &Value,
    field: &str,
    known: &[&str],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let text = object.text(field);
    if text.is_empty() {
        errors.push(FieldError::required(path.field(field), ""));
    } else if !known.contains(&text) {
        errors.push(FieldError::not_supported(path.field(field), text, known));
    }
}

/// A text that must be one of these, of which not being given is none.
pub fn supported(
    object: &Value,
    field: &str,
    known: &[&str],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let text = object.text(field);
    if !known.contains(&text) {
        errors.push(FieldError::not_supported(path.field(field), text, known));
    }
}

/// A text that, when given, must be one of these.
pub fn one_of_if_set(
    object: &Value,
    field: &str,
    known: &[&str],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if object.has(field) {
        let text = object.text(field);
        if !known.contains(&text) {
            errors.push(FieldError::not_supported(path.field(field), text, known));
        }
    }
}

/// A path with a domain before it: `acme.io/foo`.
pub fn prefixed_path(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let parts = text
        .split_once('/')
        .filter(|(host, rest)| !host.is_empty() && !rest.is_empty());
    let Some((host, rest)) = parts else {
        let wrong = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(path, text, wrong));
        return;
    };
    wrongs(host, names::dns1123_subdomain(host), path, errors);
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !rest.chars().all(fits) {
        let wrong = names::regex_message("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(FieldError::invalid(path, rest, wrong));
    }
}

/// Each thing that is wrong with a value.
pub fn wrongs(value: &str, wrongs: Vec<String>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for wrong in wrongs {
        errors.push(FieldError::invalid(path, value, wrong));
    }
}

/// A port, as a number or a name.
pub fn port_or_name(port: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match port {
        Value::String(name) => wrongs(name, names::port_name(name), path, errors),
        other => {
            let number = other.as_i64().unwrap_or(0);
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(path, number, wrong));
            }
        }
    }
}

/// A quantity that may not be negative.
pub fn quantity(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) -> Option<Quantity> {
    match Quantity::from_value(value) {
        Ok(quantity) => {
            if quantity.is_negative() {
                errors.push(FieldError::invalid(path, quantity, NOT_NEGATIVE));
            }
            Some(quantity)
        }
        Err(error) => {
            errors.push(FieldError::invalid(path, value.clone(), error.to_string()));
            None
        }
    }
}

/// A quantity that must be more than nothing.
pub fn positive_quantity(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let amount = Quantity::of(value);
    if amount.is_zero() || amount.is_negative() {
        errors.push(FieldError::invalid(
            path,
            amount,
            "must be greater than zero",
        ));
    }
}

/// A whole number or a percentage, not negative; a percentage at most `100%` where `capped`.
pub fn int_or_percent(value: &Value, capped: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => {
            let number = text
                .strip_suffix('%')
                .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            match number {
                None => errors.push(FieldError::invalid(
                    path,
                    text.as_str(),
                    names::regex_message(
                        "a valid percent string must be a numeric string followed by an ending '%'",
                        "[0-9]+%",
                        &["1%", "93%"],
                    ),
                )),
                Some(number)
                    if capped && number.parse::<u32>().map_or(true, |number| number > 100) =>
                {
                    errors.push(FieldError::invalid(
                        path,
                        text.as_str(),
                        "must not be greater than 100%",
                    ));
                }
                Some(_) => {}
            }
        }
        Value::Null => {}
        other => {
            let number = other.as_i64().unwrap_or(0);
            if number < 0 {
                errors.push(FieldError::invalid(path, number, NOT_NEGATIVE));
            }
        }
    }
}

/// Is this whole number or percentage zero?
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()) == Some(0)
        }
        Value::Null => true,
        other => other.as_i64() == Some(0),
    }
}

/// A path that stays below where it starts.
pub fn descending_path(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    no_backsteps(text, path, errors);
}

/// A path without `..`.
pub fn no_backsteps(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
}

/// As [`descending_path`], and not one of the names that atomic volumes keep for themselves.
pub fn unreserved_path(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    descending_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.push(FieldError::invalid(path, text, "must not start with '..'"));
    }
}
