//! The group autoscaling.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    names,
    object::Object,
    validation::checks::{one_of_if_set, required, wrongs},
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
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let minimum = spec.int("minReplicas");
    if let Some(number) = minimum.filter(|number| *number < 1) {
        errors.push(FieldError::invalid(
            path.field("minReplicas"),
            number,
            "must be greater than or equal to 1",
        ));
    }
    let maximum = spec.int("maxReplicas").unwrap_or(0);
    if maximum < 1 {
        errors.push(FieldError::invalid(
            path.field("maxReplicas"),
            maximum,
            "must be greater than 0",
        ));
    }
    if minimum.is_some_and(|minimum| maximum < minimum) {
        let wrong = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(
            path.field("maxReplicas"),
            maximum,
            wrong,
        ));
    }
    reference(
        spec.at("scaleTargetRef"),
        &path.field("scaleTargetRef"),
        errors,
    );
    let list = path.field("metrics");
    for (index, spec) in spec.list("metrics").iter().enumerate() {
        metric(spec, &list.index(index), errors);
    }
    let behavior = path.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.at("behavior").at(direction);
        if !rules.is_null() {
            scaling_rules(rules, &behavior.field(direction), errors);
        }
    }
}

fn reference(reference: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in ["kind", "name"] {
        let text = required(reference, field, path, errors);
        wrongs(text, names::path_segment(text), &path.field(field), errors);
    }
}

fn metric(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let kind = spec.text("type");
    let field = match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => {
            if kind.is_empty() {
                errors.push(FieldError::required(
                    path.field("type"),
                    "must specify a metric source type",
                ));
            }
            let known = [
                "ContainerResource",
                "External",
                "Object",
                "Pods",
                "Resource",
            ];
            errors.push(FieldError::not_supported(path.field("type"), kind, &known));
            return;
        }
    };
    if !spec.has(field) {
        let wrong = "must populate information for the given metric source";
        errors.push(FieldError::required(path.field(field), wrong));
        return;
    }
    let path = path.field(field);
    let source = spec.at(field);
    if matches!(field, "resource" | "containerResource") {
        required(source, "name", &path, errors);
        if field == "containerResource" {
            required(source, "container", &path, errors);
        }
    } else {
        let metric = path.field("metric");
        required(source.at("metric"), "name", &metric, errors);
    }
    if field == "object" {
        reference(
            source.at("describedObject"),
            &path.field("describedObject"),
            errors,
        );
    }
    let target = source.at("target");
    let path = path.field("target");
    let known = ["AverageValue", "Utilization", "Value"];
    if target.text("type").is_empty() {
        errors.push(FieldError::required(
            path.field("type"),
            "must specify a metric target type",
        ));
    }
    one_of_if_set(target, "type", &known, &path, errors);
    if let Some(number) = target
        .int("averageUtilization")
        .filter(|number| *number < 1)
    {
        errors.push(FieldError::invalid(
            path.field("averageUtilization"),
            number,
            "must be greater than 0",
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
}
