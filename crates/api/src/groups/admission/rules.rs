//! Which requests are asked about.

use schema::{Path, Value, field_error::FieldError};

use crate::{object::Object, validation::checks::one_of_if_set};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Rules with operations.
pub fn rules(rules: &[Value], list: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        all_or_some(rule, "operations", "operations", &path, errors);
        let operations = path.field("operations");
        for (at, operation) in rule.texts("operations").enumerate() {
            if !OPERATIONS.contains(&operation) {
                errors.push(FieldError::not_supported(
                    operations.index(at),
                    operation,
                    &OPERATIONS,
                ));
            }
        }
        all_or_some(rule, "apiGroups", "API groups", &path, errors);
        all_or_some(rule, "apiVersions", "API versions", &path, errors);
        let versions = path.field("apiVersions");
        for (at, version) in rule.texts("apiVersions").enumerate() {
            if version.is_empty() {
                errors.push(FieldError::required(versions.index(at), ""));
            }
        }
        resources(rule, &path.field("resources"), errors);
        let scopes = ["*", "Cluster", "Namespaced"];
        one_of_if_set(rule, "scope", &scopes, &path, errors);
    }
}

/// A list that is not empty, in which `*` stands alone.
fn all_or_some(
    rule: &Value,
    field: &str,
    what: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let list = rule.list(field);
    if list.is_empty() {
        errors.push(FieldError::required(path.field(field), ""));
    }
    if list.len() > 1 && rule.texts(field).any(|item| item == "*") {
        let wrong = format!("if '*' is present, must not specify other {what}");
        let shown = rule.at(field).clone();
        errors.push(FieldError::invalid(path.field(field), shown, wrong));
    }
}

/// Resources with their subresources, none of which another names already.
fn resources(rule: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list: Vec<&str> = rule.texts("resources").collect();
    if list.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_of, mut in_all) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (at, item) in list.iter().enumerate() {
        let Some((resource, part)) = item.split_once('/') else {
            if item.is_empty() {
                errors.push(FieldError::required(path.index(at), ""));
            } else {
                plain = *item != "*";
            }
            continue;
        };
        let mut wrong = |known: String| {
            let wrong = format!("if '{known}' is present, must not specify {item}");
            errors.push(FieldError::invalid(path.index(at), *item, wrong));
        };
        if all_of.contains(&resource) {
            wrong(format!("{resource}/*"));
        }
        if in_all.contains(&part) {
            wrong(format!("*/{part}"));
        }
        if part == "*" {
            all_of.push(resource);
        }
        if resource == "*" {
            in_all.push(part);
        }
    }
    let mut wrong = |wrong: &str| {
        errors.push(FieldError::invalid(
            path,
            rule.at("resources").clone(),
            wrong,
        ));
    };
    if list.len() > 1 && list.contains(&"*/*") {
        wrong("if '*/*' is present, must not specify other resources");
    }
    if list.contains(&"*") && plain {
        wrong("if '*' is present, must not specify other resources without subresources");
    }
}
