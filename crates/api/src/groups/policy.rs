//! The group policy.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{int_or_percent, label_selector, one_of_if_set},
};

/// Everything wrong with a PodDisruptionBudget.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let wrong = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(path, spec.clone(), wrong));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(spec.at(field), true, &path.field(field), errors);
    }
    label_selector(spec.at("selector"), &path.field("selector"), errors);
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    one_of_if_set(spec, "unhealthyPodEvictionPolicy", &known, &path, errors);
}
