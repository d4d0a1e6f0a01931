//! FlowSchemas.

use ::schema::{Path, Value, field_error::FieldError};

use super::{conditions, fixed};
use crate::{
    meta, names,
    object::Object,
    validation::checks::{required, wrongs},
};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

/// Everything wrong with a FlowSchema.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let precedence = spec.int("matchingPrecedence").unwrap_or(0);
    let mut order = |wrong: String| {
        let field = path.field("matchingPrecedence");
        errors.push(FieldError::invalid(field, precedence, wrong));
    };
    if precedence <= 0 {
        order("must be a positive value".to_owned());
    }
    if precedence > PRECEDENCE_MAX {
        order(format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && meta::name(object) != "exempt" {
        order("only the schema named 'exempt' may have matchingPrecedence 1".to_owned());
    }
    let method = spec.at("distinguisherMethod");
    let known = ["ByNamespace", "ByUser"];
    if !method.is_null() && !known.contains(&method.text("type")) {
        let path = path.field("distinguisherMethod");
        let field = path.field("type");
        errors.push(FieldError::not_supported(field, method.clone(), &known));
    }
    let level = path.field("priorityLevelConfiguration");
    let name = spec.text("priorityLevelConfiguration.name");
    if name.is_empty() {
        let wrong = "must reference a priority level";
        errors.push(FieldError::required(level.field("name"), wrong));
    } else {
        wrongs(
            name,
            names::dns1123_subdomain(name),
            &level.field("name"),
            errors,
        );
    }
    let list = path.field("rules");
    for (index, rule) in spec.list("rules").iter().enumerate() {
        policy(rule, &list.index(index), errors);
    }
    if fixed(object, false).is_some_and(|fixed| fixed != *spec) {
        let wrong = format!(
            "spec of '{}' must equal the fixed value",
            meta::name(object)
        );
        errors.push(FieldError::invalid(path, spec.clone(), wrong));
    }
    conditions(object, errors);
}

fn policy(rule: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let subjects = rule.list("subjects");
    let list = path.field("subjects");
    if subjects.is_empty() {
        let wrong = "subjects must contain at least one value";
        errors.push(FieldError::required(list, wrong));
    }
    for (index, item) in subjects.iter().enumerate() {
        subject(item, &list.index(index), errors);
    }
    let (of_resources, others) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if of_resources.is_empty() && others.is_empty() {
        let wrong = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, wrong));
    }
    let list = path.field("resourceRules");
    for (index, rule) in of_resources.iter().enumerate() {
        resources(rule, &list.index(index), errors);
    }
    let list = path.field("nonResourceRules");
    for (index, rule) in others.iter().enumerate() {
        let path = list.index(index);
        verbs(rule, &path, errors);
        let field = path.field("nonResourceURLs");
        let wrong = "nonResourceURLs must contain at least one value";
        if all_or_some(
            rule,
            "nonResourceURLs",
            wrong,
            "non-resource URLs",
            &path,
            errors,
        ) {
            for (index, url) in rule.texts("nonResourceURLs").enumerate() {
                if let Some(wrong) = bad_path(url) {
                    errors.push(FieldError::invalid(field.index(index), url, wrong));
                }
            }
        }
    }
}

/// Who asks: one of three kinds, with the field of its kind alone.
fn subject(subject: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const KINDS: [(&str, &str); 3] = [
        ("Group", "group"),
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
    ];
    let kind = subject.text("kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let known = KINDS.map(|(known, _)| known);
        errors.push(FieldError::not_supported(path.field("kind"), kind, &known));
        return;
    };
    let value = subject.at(own);
    let field = path.field(own);
    if value.is_null() {
        let wrong = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(field, wrong));
    } else {
        let name = required(value, "name", &field, errors);
        if *own == "serviceAccount" {
            if !matches!(name, "" | "*") {
                let at = field.field("name");
                wrongs(name, names::dns1123_subdomain(name), &at, errors);
            }
            let namespace = value.text("namespace");
            let at = field.field("namespace");
            if namespace.is_empty() {
                let wrong = "must specify namespace for service account";
                errors.push(FieldError::required(at, wrong));
            } else {
                wrongs(namespace, names::dns1123_label(namespace), &at, errors);
            }
        }
    }
    for (other, field) in KINDS.into_iter().filter(|(other, _)| *other != kind) {
        if subject.has(field) {
            let wrong = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(FieldError::forbidden(path.field(field), wrong));
        }
    }
}

/// A list that is not empty and holds `*` alone if at all; says whether its items count.
fn all_or_some(
    rule: &Value,
    field: &str,
    missing: &str,
    what: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> bool {
    let list = rule.list(field);
    let any = rule.texts(field).any(|item| item == "*");
    if list.is_empty() {
        errors.push(FieldError::required(path.field(field), missing));
    } else if any && list.len() > 1 {
        let wrong = format!("if '*' is present, must not specify other {what}");
        let shown = rule.at(field).clone();
        errors.push(FieldError::invalid(path.field(field), shown, wrong));
    }
    !any
}

fn verbs(rule: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let wrong = "verbs must contain at least one value";
    if all_or_some(rule, "verbs", wrong, "verbs", path, errors)
        && rule.texts("verbs").any(|verb| !VERBS.contains(&verb))
    {
        let shown = rule.at("verbs").clone();
        errors.push(FieldError::not_supported(
            path.field("verbs"),
            shown,
            &VERBS,
        ));
    }
}

fn resources(rule: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    verbs(rule, path, errors);
    let missing = "resource rules must supply at least one api group";
    all_or_some(rule, "apiGroups", missing, "api groups", path, errors);
    let missing = "resource rules must supply at least one resource";
    all_or_some(rule, "resources", missing, "resources", path, errors);
    if rule.list("namespaces").is_empty() && rule.flag("clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if all_or_some(rule, "namespaces", missing, "namespaces", path, errors) {
        let list = path.field("namespaces");
        for (index, namespace) in rule.texts("namespaces").enumerate() {
            for wrong in names::dns1123_label(namespace) {
                let wrong =
                    format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.push(FieldError::invalid(list.index(index), namespace, wrong));
            }
        }
    }
}

/// What is wrong with the path of a URL, which may end in `/*`.
fn bad_path(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !path.ends_with("/*") => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}
