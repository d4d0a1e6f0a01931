//! The group flowcontrol.apiserver.k8s.io.

mod level;
mod schema;

use ::schema::{Path, Value, field_error::FieldError};
pub use level::validate as validate_level;
pub use schema::validate as validate_schema;

use crate::{meta, object::Object};

/// Defaults of a FlowSchema.
pub fn flow_schema(object: &mut Value) {
    if object.int("spec.matchingPrecedence").unwrap_or(0) == 0 {
        object.set("spec.matchingPrecedence", 1000);
    }
}

/// Defaults of a PriorityLevelConfiguration.
pub fn priority_level(object: &mut Value) {
    if let Some(exempt) = object.at_mut("spec.exempt") {
        exempt.set_default("nominalConcurrencyShares", 0);
        exempt.set_default("lendablePercent", 0);
    }
    if let Some(limited) = object.at_mut("spec.limited") {
        limited.set_default("nominalConcurrencyShares", 30);
        limited.set_default("lendablePercent", 0);
        if let Some(queuing) = limited.at_mut("limitResponse.queuing") {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                if queuing.int(field).unwrap_or(0) == 0 {
                    queuing.set(field, value);
                }
            }
        }
    }
}

/// The conditions of either kind: each type once.
fn conditions(object: &Value, errors: &mut Vec<FieldError>) {
    let status = Path::ROOT.field("status");
    let list = status.field("conditions");
    let conditions = object.list("status.conditions");
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        let kind = condition.text("type");
        let same = |other: &Value| other.text("type") == kind;
        if conditions[..index].iter().any(same) {
            errors.push(FieldError::duplicate(path.field("type"), kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(path.field("type"), ""));
        }
    }
}

/// What is wrong with the status of either kind.
pub fn status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    conditions(object, errors);
}

/// The specs that are always as they are: those of the first and of the last schema and level.
fn fixed(object: &Value, is_level: bool) -> Option<Value> {
    let everything = |groups: &[&str]| {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|name| serde_json::json!({"kind": "Group", "group": {"name": name}}))
            .collect();
        serde_json::json!([{
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    Some(match (is_level, meta::name(object)) {
        (true, "exempt") => serde_json::json!({"type": "Exempt"}),
        (true, "catch-all") => serde_json::json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
        (false, "exempt") => serde_json::json!({
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
            "rules": everything(&["system:masters"])}),
        (false, "catch-all") => serde_json::json!({
            "priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 10_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"])}),
        _ => return None,
    })
}
