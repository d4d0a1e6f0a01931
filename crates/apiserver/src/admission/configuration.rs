//! Validation of webhook configurations and policies as far as it takes a compiler: every expression must
//! compile and give what its place wants. The rest is in the kinds' strategies. An expression that an
//! update leaves as it was is not looked at again.

use api::names;
use api::object::Object;
use schema::Path;
use schema::field_error::FieldError;
use serde_json::Value;

use super::device_selectors;
use super::expression::{Expression, Gives, Scope};
use crate::endpoint::Endpoint;

/// Match conditions of one webhook or policy.
const MAX_CONDITIONS: usize = 64;
/// Audit annotations of one policy.
const MAX_ANNOTATIONS: usize = 20;
/// The longest expression of an audit annotation.
const MAX_ANNOTATION: usize = 5 * 1024;

/// Everything wrong with the expressions of an object; nothing for objects of other kinds.
pub fn validate(endpoint: &Endpoint, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let gvk = &endpoint.resource.gvk;
    let mut errors = Vec::new();
    match &*gvk.group {
        "admissionregistration.k8s.io" => {}
        "resource.k8s.io" => {
            device_selectors::validate(&gvk.kind, object, old, &mut errors);
            return errors;
        }
        _ => return errors,
    }
    match &*gvk.kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            webhooks(object, old, &mut errors);
        }
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy"
            if old.is_none_or(|old| old.at("spec") != object.at("spec")) =>
        {
            policy(object, old, &mut errors);
        }
        _ => {}
    }
    errors
}

fn webhooks(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let conditions = |object: &Value| -> Vec<Value> {
        let hooks = object.list("webhooks").iter();
        hooks
            .map(|hook| hook.at("matchConditions").clone())
            .collect()
    };
    if old.is_some_and(|old| conditions(old) == conditions(object)) {
        return;
    }
    let scope = Scope::new(false, true);
    let list = Path::ROOT.field("webhooks");
    for (index, hook) in object.list("webhooks").iter().enumerate() {
        let path = list.index(index);
        let path = path.field("matchConditions");
        match_conditions(hook.list("matchConditions"), &scope, &path, errors);
    }
}

fn match_conditions(
    conditions: &[Value],
    scope: &Scope,
    list: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(list, conditions.len(), MAX_CONDITIONS));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        let text = condition.text("expression").trim();
        if text.is_empty() {
            errors.push(FieldError::required(path.field("expression"), ""));
        } else {
            compiles(text, scope, Gives::Bool, &path.field("expression"), errors);
        }
        let name = condition.text("name");
        if name.is_empty() {
            errors.push(FieldError::required(path.field("name"), ""));
            continue;
        }
        for wrong in names::qualified_name(name) {
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
        if conditions[..index].iter().any(|c| c.text("name") == name) {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
}

fn compiles(
    text: &str,
    scope: &Scope,
    gives: Gives,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<cel::Type> {
    let expression = Expression::compile(text, scope, gives);
    if let Some(why) = expression.error() {
        errors.push(FieldError::invalid(path, text, why));
    }
    expression.program().map(|program| program.output().clone())
}

fn policy(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = object.at("spec");
    let path = Path::ROOT.field("spec");
    let has_params = spec.has("paramKind");
    let mut scope = Scope::new(has_params, true);
    let same_conditions = old.is_some_and(|old| {
        let old = old.at("spec");
        ["paramKind", "matchConditions"]
            .iter()
            .all(|field| old.at(field) == spec.at(field))
    });
    if !same_conditions {
        let conditions = path.field("matchConditions");
        match_conditions(spec.list("matchConditions"), &scope, &conditions, errors);
    }
    let list = path.field("variables");
    for (index, variable) in spec.list("variables").iter().enumerate() {
        let path = list.index(index);
        let (name, text) = (variable.text("name"), variable.text("expression"));
        if name.trim().is_empty() {
            errors.push(FieldError::required(
                path.field("name"),
                "name is not specified",
            ));
        } else if !is_identifier(name) {
            let wrong = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(path.field("name"), name, wrong));
        }
        if text.trim().is_empty() {
            let wrong = "expression is not specified";
            errors.push(FieldError::required(path.field("expression"), wrong));
            continue;
        }
        let output = compiles(text, &scope, Gives::Any, &path.field("expression"), errors);
        scope.add_variable(name, output.unwrap_or(cel::Type::Dyn));
    }
    validations(spec, &scope, &path, errors);
    annotations(object, &scope, &path, errors);
    mutations(spec, &scope, &path, errors);
}

fn validations(spec: &Value, scope: &Scope, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let messages = scope.for_messages(spec.has("paramKind"));
    let list = path.field("validations");
    for (index, validation) in spec.list("validations").iter().enumerate() {
        let path = list.index(index);
        let text = validation.text("expression");
        // The strategy tells of missing ones.
        if !text.trim().is_empty() {
            compiles(text, scope, Gives::Bool, &path.field("expression"), errors);
        }
        for (field, empty) in [("messageExpression", true), ("message", false)] {
            let text = validation.text(field);
            let path = path.field(field);
            if text.is_empty() {
                continue;
            }
            if text.trim().is_empty() {
                errors.push(FieldError::invalid(
                    path,
                    text,
                    "must be non-empty if specified",
                ));
            } else if empty {
                compiles(text, &messages, Gives::Text, &path, errors);
            } else if text.trim().contains(['\n', '\r']) {
                errors.push(FieldError::invalid(
                    path,
                    text,
                    "must not contain line breaks",
                ));
            }
        }
        let reason = validation.text("reason");
        let known = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        if !reason.is_empty() && !known.contains(&reason) && reason != "Unauthorized" {
            errors.push(FieldError::not_supported(
                path.field("reason"),
                reason,
                &known,
            ));
        }
    }
}

fn annotations(object: &Value, scope: &Scope, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let annotations = object.list("spec.auditAnnotations");
    let list = path.field("auditAnnotations");
    if annotations.len() > MAX_ANNOTATIONS {
        let wrong = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.push(FieldError::invalid(list, annotations.to_vec(), wrong));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let path = list.index(index);
        let key = annotation.text("key");
        let qualified = format!("{}/{key}", api::meta::name(object));
        for wrong in names::qualified_name(&qualified) {
            errors.push(FieldError::invalid(
                path.field("key"),
                qualified.as_str(),
                wrong,
            ));
        }
        if annotations[..index].iter().any(|a| a.text("key") == key) {
            errors.push(FieldError::duplicate(path.field("key"), key));
        }
        let text = annotation.text("valueExpression");
        let path = path.field("valueExpression");
        match text.trim().len() {
            0 => errors.push(FieldError::required(
                path,
                "valueExpression is not specified",
            )),
            length if length > MAX_ANNOTATION => {
                let wrong = format!("must not exceed {MAX_ANNOTATION} bytes in length");
                errors.push(FieldError::required(path, wrong));
            }
            _ => {
                compiles(text, scope, Gives::TextOrNull, &path, errors);
            }
        }
    }
}

fn mutations(spec: &Value, scope: &Scope, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let scope = scope.with_mutations();
    let list = path.field("mutations");
    for (index, mutation) in spec.list("mutations").iter().enumerate() {
        let path = list.index(index);
        let kinds = [
            ("JSONPatch", "jsonPatch", Gives::Patch),
            ("ApplyConfiguration", "applyConfiguration", Gives::Object),
        ];
        let kind = mutation.text("patchType");
        if kind.is_empty() {
            errors.push(FieldError::required(path.field("patchType"), ""));
            continue;
        }
        if !kinds.iter().any(|(name, _, _)| *name == kind) {
            let known = ["ApplyConfiguration", "JSONPatch"];
            errors.push(FieldError::not_supported(
                path.field("patchType"),
                kind,
                &known,
            ));
            continue;
        }
        for (name, field, gives) in kinds {
            let path = path.field(field);
            if name != kind {
                if mutation.has(field) {
                    let wrong = format!("must not be specified when patchType is {kind}");
                    errors.push(FieldError::invalid(path, format!("{{{field}}}"), wrong));
                }
                continue;
            }
            if !mutation.has(field) {
                let wrong = format!("must be specified when patchType is {kind}");
                errors.push(FieldError::required(path, wrong));
                continue;
            }
            let text = mutation.at(field).text("expression").trim();
            if text.is_empty() {
                errors.push(FieldError::required(path.field("expression"), ""));
            } else {
                compiles(text, &scope, gives, &path.field("expression"), errors);
            }
        }
    }
}

/// Words that are no names in expressions.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars
        .next()
        .is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    first && chars.all(|c| c == '_' || c.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}
