//! The group apiregistration.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use serde_json::json;

use crate::{
    meta,
    object::Object,
    strategy::{Strategy, path_segment_name},
    validation::checks::required,
};

/// What APIServices do specially.
pub struct ApiService;

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = object.at_mut("spec.service") {
            service.set_default("port", 443);
        }
    }

    // What this server serves itself is there from the beginning.
    fn prepare_create(&self, object: &mut Value, now: jiff::Timestamp) {
        if !object.has("spec.service") {
            let condition = json!({
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": crate::clock::rfc3339(now),
            });
            object.set("status.conditions", json!([condition]));
        }
    }

    // The core group's are called `v1.`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment_name(name, prefix)
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        validate_service(object, errors);
    }
}

/// Everything wrong with an APIService.
fn validate_service(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let expected = format!("{}.{}", spec.text("version"), spec.text("group"));
    if meta::name(object) != expected {
        let wrong = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
        errors.push(FieldError::invalid(
            "metadata.name",
            meta::name(object),
            wrong,
        ));
    }
    required(spec, "version", &path, errors);
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.int(field).unwrap_or(0);
        if number <= 0 || number > max {
            let wrong = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(path.field(field), number, wrong));
        }
    }
    let service = spec.at("service");
    if service.is_null() {
        if spec.flag("insecureSkipTLSVerify") {
            let wrong = "local APIServices may not specify insecureSkipTLSVerify";
            errors.push(FieldError::invalid(
                path.field("insecureSkipTLSVerify"),
                true,
                wrong,
            ));
        }
        return;
    }
    let own = path.field("service");
    required(service, "name", &own, errors);
    required(service, "namespace", &own, errors);
    if spec.flag("insecureSkipTLSVerify") && !spec.text("caBundle").is_empty() {
        let wrong = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(
            path.field("insecureSkipTLSVerify"),
            true,
            wrong,
        ));
    }
}
