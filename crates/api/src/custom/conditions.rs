//! Conditions of definitions.

use jiff::Timestamp;
use schema::Value;
use serde_json::json;

use crate::{clock::rfc3339, meta, object::Object};

/// Is this condition true?
pub fn is_true(definition: &Value, kind: &str) -> bool {
    meta::condition(definition, kind).is_some_and(|found| found.text("status") == "True")
}

/// Sets a condition; the time moves when its status does.
pub fn set(
    definition: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let mut condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": rfc3339(now),
    });
    let conditions = definition.place("status.conditions");
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Value::Array(list) = conditions else {
        return;
    };
    match list.iter_mut().find(|old| old.text("type") == kind) {
        Some(old) => {
            if old.text("status") == status && old.has("lastTransitionTime") {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            // What else the condition says of itself stays.
            if let Some(generation) = old.get("observedGeneration") {
                condition["observedGeneration"] = generation.clone();
            }
            *old = condition;
        }
        None => list.push(condition),
    }
}

/// Takes a condition away.
pub fn remove(definition: &mut Value, kind: &str) {
    if let Some(Value::Array(list)) = definition.at_mut("status.conditions") {
        list.retain(|condition| condition.text("type") != kind);
    }
}

/// Whether the schemas are structural, as a condition.
pub fn judge(definition: &mut Value, now: Timestamp) {
    match structural(definition) {
        Some((reason, message)) => {
            set(
                definition,
                "NonStructuralSchema",
                "True",
                reason,
                &message,
                now,
            );
        }
        None => remove(definition, "NonStructuralSchema"),
    }
}

/// Whether a group that needs approval has it, as a condition.
pub fn approve(definition: &mut Value, now: Timestamp) {
    if super::definition::is_protected(definition.text("spec.group")) {
        let kind = "KubernetesAPIApprovalPolicyConformant";
        let (status, reason, message) = match super::definition::approval(definition) {
            super::definition::Approval::Approved(why) => ("True", "ApprovedAnnotation", why),
            super::definition::Approval::Bypassed(why) => ("False", "UnapprovedAnnotation", why),
            super::definition::Approval::Invalid(why) => ("False", "InvalidAnnotation", why),
            super::definition::Approval::Missing(why) => ("False", "MissingAnnotation", why),
        };
        set(definition, kind, status, reason, &message, now);
    }
}

fn structural(definition: &Value) -> Option<(&'static str, String)> {
    let mut wrong = Vec::new();
    if definition.flag("spec.preserveUnknownFields") {
        wrong.push("spec.preserveUnknownFields: Invalid value: true: must be false".to_owned());
    }
    for (at, version) in definition.list("spec.versions").iter().enumerate() {
        let schema = version.at("schema.openAPIV3Schema");
        if !schema.is_null() && !schema::structural::is_structural(schema) {
            wrong.push(format!(
                "spec.versions[{at}].schema.openAPIV3Schema: the schema is not structural"
            ));
        }
    }
    match &wrong[..] {
        [] => None,
        [one] => Some(("Violations", one.clone())),
        many => Some(("Violations", format!("[{}]", many.join(", ")))),
    }
}
