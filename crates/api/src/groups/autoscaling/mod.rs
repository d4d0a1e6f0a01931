//! The group autoscaling.

mod metrics;

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use self::metrics::metrics;
use crate::{
    names,
    object::Object,
    validation::checks::{not_negative, one_of_if_set, quantity, required, wrongs},
};

/// Defaults of a HorizontalPodAutoscaler, v2.
pub fn autoscaler(object: &mut Value) {
    object.set_default("spec.minReplicas", 1);
    if object.text("apiVersion") == "autoscaling/v1" {
        return;
    }
    if object.list("spec.metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        object.set(
            "spec.metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
    if let Some(behavior) = object.at_mut("spec.behavior") {
        behavior.set_default("scaleUp.stabilizationWindowSeconds", 0);
        behavior.set_default("scaleUp.selectPolicy", "Max");
        behavior.set_default(
            "scaleUp.policies",
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
        behavior.set_default("scaleDown.selectPolicy", "Max");
        behavior.set_default(
            "scaleDown.policies",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
}

/// Everything wrong with a HorizontalPodAutoscaler, of either version.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    validate_after(object, &Value::Null, errors);
}

/// Everything wrong with a HorizontalPodAutoscaler that was another before.
pub fn validate_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let (spec, before) = (object.at("spec"), old.at("spec"));
    let minimum = spec.int("minReplicas");
    // One that scales to nothing may go on doing so.
    let least = i64::from(before.int("minReplicas") != Some(0));
    if let Some(number) = minimum.filter(|number| *number < least) {
        let wrong = format!("must be greater than or equal to {least}");
        errors.push(FieldError::invalid(
            path.field("minReplicas"),
            number,
            wrong,
        ));
    }
    let maximum = spec.int("maxReplicas").unwrap_or(0);
    let field = path.field("maxReplicas");
    if maximum == 0 {
        errors.push(FieldError::required(
            field,
            "must be set and greater than 0",
        ));
    } else if maximum < 0 {
        let wrong = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(field, maximum, wrong));
    }
    if minimum.is_some_and(|minimum| maximum < minimum) {
        let wrong = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(field, maximum, wrong));
    }
    let (target, target_before) = (spec.at("scaleTargetRef"), before.at("scaleTargetRef"));
    let same = ["apiVersion", "kind"]
        .iter()
        .all(|field| target.text(field) == target_before.text(field));
    let versions = if !old.is_null() && same {
        Versions::Any
    } else if target.text("kind") == "ReplicationController" {
        Versions::Parsed
    } else {
        Versions::OfGroups
    };
    let field = path.field("scaleTargetRef");
    reference(target, versions, &field, errors);
    metrics(spec, before, &path, errors);
    let behavior = path.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.at("behavior").at(direction);
        if !rules.is_null() {
            scaling_rules(rules, &behavior.field(direction), errors);
        }
    }
}

/// What is wrong with the status of a HorizontalPodAutoscaler.
pub fn status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    for field in ["currentReplicas", "desiredReplicas"] {
        not_negative(object.at("status"), field, &path, errors);
    }
}

/// Which versions of an API a reference may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Versions {
    /// Also what is none.
    Any,
    /// All that can be read.
    Parsed,
    /// All that can be read, but those of the core group.
    OfGroups,
}

impl Versions {
    /// What is wrong with a version.
    fn wrong(self, text: &str) -> Option<String> {
        match (self, text.matches('/').count()) {
            (Versions::Any, _) => None,
            (_, 2..) => Some(format!("unexpected GroupVersion string: {text}")),
            (Versions::OfGroups, 0) => Some("apiVersion must specify API group".to_owned()),
            (Versions::OfGroups, _) if text.starts_with('/') => {
                Some("apiVersion must specify API group".to_owned())
            }
            _ => None,
        }
    }
}

fn reference(reference: &Value, versions: Versions, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in ["kind", "name"] {
        let text = required(reference, field, path, errors);
        wrongs(text, names::path_segment(text), &path.field(field), errors);
    }
    let version = reference.text("apiVersion");
    if let Some(wrong) = versions.wrong(version) {
        errors.push(FieldError::invalid(
            path.field("apiVersion"),
            version,
            wrong,
        ));
    }
}

fn scaling_rules(rules: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let field = path.field("stabilizationWindowSeconds");
    match rules.int("stabilizationWindowSeconds") {
        Some(seconds) if seconds < 0 => {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "must be greater than or equal to zero",
            ));
        }
        Some(seconds) if seconds > 3600 => {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "must be less than or equal to 3600",
            ));
        }
        _ => {}
    }
    one_of_if_set(
        rules,
        "selectPolicy",
        &["Disabled", "Max", "Min"],
        path,
        errors,
    );
    let list = path.field("policies");
    let policies = rules.list("policies");
    if policies.is_empty() {
        errors.push(FieldError::required(
            list,
            "must specify at least one Policy",
        ));
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = list.index(index);
        let kind = policy.text("type");
        let known = ["Percent", "Pods"];
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(path.field("type"), kind, &known));
        }
        for field in ["value", "periodSeconds"] {
            let number = policy.int(field).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(
                    path.field(field),
                    number,
                    "must be greater than zero",
                ));
            } else if field == "periodSeconds" && number > 1800 {
                errors.push(FieldError::invalid(
                    path.field(field),
                    number,
                    "must be less than or equal to 1800",
                ));
            }
        }
    }
    if rules.has("tolerance") {
        quantity(rules.at("tolerance"), &path.field("tolerance"), errors);
    }
}
