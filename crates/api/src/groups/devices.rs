//! The group resource.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    validation::checks::{immutable, required},
};

fn device_request(request: &mut Value) {
    request.set_default_text("allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" && request.int("count").unwrap_or(0) == 0 {
        request.set("count", 1);
    }
}

fn claim_spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    for request in spec.list_mut("devices.requests") {
        if let Some(exactly) = request.at_mut("exactly") {
            device_request(exactly);
        } else if request.has("deviceClassName") {
            // v1beta1 has the exact request in the request itself.
            device_request(request);
        }
        for alternative in request.list_mut("firstAvailable") {
            device_request(alternative);
        }
    }
}

/// Defaults of a ResourceClaim.
pub fn resource_claim(object: &mut Value) {
    claim_spec(object.at_mut("spec"));
}

/// Defaults of a ResourceClaimTemplate.
pub fn resource_claim_template(object: &mut Value) {
    claim_spec(object.at_mut("spec.spec"));
}

/// What of a ResourceClaim or ResourceClaimTemplate may not change.
pub fn update_claim(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "spec", &Path::ROOT, errors);
}

/// Everything wrong with a ResourceClaim.
pub fn validate_claim(object: &Value, errors: &mut Vec<FieldError>) {
    requests(object.at("spec"), &Path::ROOT.field("spec"), errors);
}

/// Everything wrong with a ResourceClaimTemplate.
pub fn validate_claim_template(object: &Value, errors: &mut Vec<FieldError>) {
    let outer = Path::ROOT.field("spec");
    requests(object.at("spec.spec"), &outer.field("spec"), errors);
}

fn requests(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let devices = path.field("devices");
    let list = devices.field("requests");
    let requests = spec.list("devices.requests");
    for (index, request) in requests.iter().enumerate() {
        let path = list.index(index);
        let name = required(request, "name", &path, errors);
        if !name.is_empty() {
            let bad = crate::names::dns1123_label(name);
            crate::validation::checks::wrongs(name, bad, &path.field("name"), errors);
        }
        if requests[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
}

/// What of a ResourceSlice may not change.
pub fn update_slice(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    for field in ["driver", "nodeName"] {
        immutable(object.at("spec"), old.at("spec"), field, &path, errors);
    }
}

/// Everything wrong with a ResourceSlice.
pub fn validate_slice(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let driver = required(spec, "driver", &path, errors);
    if !driver.is_empty() {
        crate::core::source::csi_driver_name(driver, &path.field("driver"), errors);
    }
    required(spec.at("pool"), "name", &path.field("pool"), errors);
    let list = path.field("devices");
    let devices = spec.list("devices");
    for (index, device) in devices.iter().enumerate() {
        let path = list.index(index);
        let name = required(device, "name", &path, errors);
        if devices[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
}
