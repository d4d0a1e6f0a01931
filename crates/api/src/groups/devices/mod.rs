//! The group resource.k8s.io.

mod capacity;
mod claim;
mod pool_request;
mod slice;
mod status;
mod taint;
mod values;

use std::borrow::Cow;

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

pub use self::{pool_request::PoolRequest, taint::TaintRule};
use crate::{
    clock,
    core::resource_names,
    object::Object,
    strategy::{Part, Strategy},
    validation::{checks::immutable, metadata},
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

/// The object with the shape of version 1, whose fields rules name whichever version is sent.
fn stable(object: &Value) -> Cow<'_, Value> {
    if object.text("apiVersion") != "resource.k8s.io/v1beta1" {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    crate::convert::devices_to_v1(&mut object);
    Cow::Owned(object)
}

/// What ResourceClaims do specially.
pub struct Claim;

impl Strategy for Claim {
    fn default(&self, object: &mut Value) {
        claim_spec(object.at_mut("spec"));
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _: Timestamp) {
        if part == Part::Status {
            status::prepare(object, old);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let object = stable(object);
        claim::spec(object.at("spec"), &Path::ROOT.field("spec"), errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Status => status::update(&stable(object), old, errors),
            _ => immutable(object, old, "spec", &Path::ROOT, errors),
        }
    }
}

/// What ResourceClaimTemplates do specially.
pub struct Template;

impl Strategy for Template {
    fn default(&self, object: &mut Value) {
        claim_spec(object.at_mut("spec.spec"));
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let object = stable(object);
        let path = Path::ROOT.field("spec");
        metadata::template_alone(object.at("spec"), &path.field("metadata"), errors);
        claim::spec(object.at("spec.spec"), &path.field("spec"), errors);
    }

    fn validate_update(
        &self,
        _: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        immutable(object, old, "spec", &Path::ROOT, errors);
    }
}

/// Everything wrong with a DeviceClass, but for its expressions.
pub fn validate_class(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    claim::selectors(spec, &path, errors);
    claim::configs(spec, &path, errors);
    let name = spec.text("extendedResourceName");
    if spec.has("extendedResourceName") && !resource_names::is_extended(name) {
        let wrong = "must be a valid extended resource name";
        errors.push(FieldError::invalid(
            path.field("extendedResourceName"),
            name,
            wrong,
        ));
    }
}

/// What ResourceSlices do specially.
pub struct Slice;

impl Strategy for Slice {
    fn prepare_create(&self, object: &mut Value, now: Timestamp) {
        slice::drop_disabled(object, &Value::Null);
        taint_times(object, now);
    }

    fn prepare_update(&self, _: Part<'_>, object: &mut Value, old: &Value, now: Timestamp) {
        slice::drop_disabled(object, old);
        taint_times(object, now);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let (object, old) = (stable(object), stable(old));
        let path = Path::ROOT.field("spec");
        slice::spec(object.at("spec"), old.at("spec"), &path, errors);
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }
}

/// Taints that are new say since when they are there.
fn taint_times(object: &mut Value, now: Timestamp) {
    let now = clock::rfc3339(now);
    for device in object.list_mut("spec.devices") {
        for place in ["taints", "basic.taints"] {
            for taint in device.list_mut(place) {
                taint.set_default("timeAdded", now.as_str());
            }
        }
    }
}
