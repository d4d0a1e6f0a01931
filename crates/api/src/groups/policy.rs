//! The group policy.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{
        conditions, int_or_percent, label_selector_after, not_negative, one_of_if_set,
    },
};

/// Everything wrong with a PodDisruptionBudget.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    validate_after(object, &Value::Null, errors);
}

/// Everything wrong with a PodDisruptionBudget that was another before.
pub fn validate_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let wrong = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(path, spec.clone(), wrong));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(spec.at(field), true, &path.field(field), errors);
    }
    let (selector, before) = (spec.at("selector"), old.at("spec.selector"));
    label_selector_after(selector, before, &path.field("selector"), errors);
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    one_of_if_set(spec, "unhealthyPodEvictionPolicy", &known, &path, errors);
}

/// Everything wrong with the status of a PodDisruptionBudget.
pub fn status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let status = object.at("status");
    conditions(status.list("conditions"), &path.field("conditions"), errors);
    for field in [
        "disruptionsAllowed",
        "currentHealthy",
        "desiredHealthy",
        "expectedPods",
    ] {
        not_negative(status, field, &path, errors);
    }
}
