//! The group coordination.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{not_negative, required},
};

/// Everything wrong with a Lease.
pub fn lease(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    if let Some(seconds) = spec
        .int("leaseDurationSeconds")
        .filter(|seconds| *seconds <= 0)
    {
        errors.push(FieldError::invalid(
            path.field("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    not_negative(spec, "leaseTransitions", &path, errors);
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        let wrong = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(path.field("preferredHolder"), wrong));
    }
}

/// Everything wrong with a LeaseCandidate.
pub fn candidate(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    for field in ["leaseName", "binaryVersion", "strategy"] {
        required(spec, field, &path, errors);
    }
}
