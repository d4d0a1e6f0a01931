//! The group apiregistration.k8s.io.

use base64::{Engine, prelude::BASE64_STANDARD};
use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy, path_segment_name},
    validation::checks::{required, wrongs},
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

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Status {
            return;
        }
        let status = Path::ROOT.field("status");
        let list = status.field("conditions");
        for (index, condition) in object.list("status.conditions").iter().enumerate() {
            let known = ["True", "False", "Unknown"];
            let (is, field) = (condition.text("status"), list.index(index));
            if !known.contains(&is) {
                errors.push(FieldError::not_supported(field.field("status"), is, &known));
            }
        }
    }
}

/// Everything wrong with an APIService.
fn validate_service(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let (version, group) = (spec.text("version"), spec.text("group"));
    let expected = format!("{version}.{group}");
    let metadata = Path::ROOT.field("metadata");
    for (field, name) in [
        ("generateName", meta::generate_name(object)),
        ("name", meta::name(object)),
    ] {
        if !name.is_empty() && name != expected && names::path_segment(name).is_empty() {
            let wrong = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
            errors.push(FieldError::invalid(metadata.field(field), name, wrong));
        }
    }
    let field = path.field("group");
    if !group.is_empty() {
        wrongs(group, names::dns1123_subdomain(group), &field, errors);
    } else if version != "v1" {
        let wrong = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(field, wrong));
    }
    wrongs(
        version,
        names::dns1035_label(version),
        &path.field("version"),
        errors,
    );
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.int(field).unwrap_or(0);
        if number <= 0 || number > max {
            let wrong = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(path.field(field), number, wrong));
        }
    }
    let (insecure, bundle) = ("insecureSkipTLSVerify", spec.text("caBundle"));
    let service = spec.at("service");
    if service.is_null() {
        if !bundle.is_empty() {
            let wrong = "local APIServices may not have a caBundle";
            let size = BASE64_STANDARD
                .decode(bundle)
                .map_or(0, |bytes| bytes.len());
            let shown = format!("{size} bytes");
            errors.push(FieldError::invalid(path.field("caBundle"), shown, wrong));
        }
        if spec.flag(insecure) {
            let wrong = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(path.field(insecure), true, wrong));
        }
        return;
    }
    let own = path.field("service");
    required(service, "namespace", &own, errors);
    required(service, "name", &own, errors);
    let port = service.int("port").unwrap_or(0);
    for wrong in names::port_number(port) {
        let wrong = format!("port is not valid: {wrong}");
        errors.push(FieldError::invalid(own.field("port"), port, wrong));
    }
    if spec.flag(insecure) && !bundle.is_empty() {
        let wrong = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(path.field(insecure), true, wrong));
    }
}
