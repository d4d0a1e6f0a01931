//! CSIDrivers and CSINodes.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    core::source::csi_driver_name,
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{IMMUTABLE, immutable, not_negative, one_of_if_set, required, wrongs},
};

/// Longest name that a driver has for a node.
const NODE_ID_MAX: usize = 256;
/// A field that servers do not take unless they are told to.
const PREVENT: &str = "spec.preventPodSchedulingIfMissing";

/// What CSIDrivers do specially.
pub struct Driver;

impl Strategy for Driver {
    fn default(&self, object: &mut Value) {
        let spec = object.place("spec");
        spec.set_default("attachRequired", true);
        spec.set_default("podInfoOnMount", false);
        spec.set_default("storageCapacity", false);
        spec.set_default("fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.list("volumeLifecycleModes").is_empty() {
            spec.set("volumeLifecycleModes", json!(["Persistent"]));
        }
        spec.set_default("requiresRepublish", false);
        spec.set_default("seLinuxMount", false);
    }

    fn prepare_create(&self, object: &mut Value, _: jiff::Timestamp) {
        object.remove(PREVENT);
        // Only changes are counted.
        object.remove("metadata.generation");
    }

    fn prepare_update(&self, _: Part<'_>, object: &mut Value, old: &Value, _: jiff::Timestamp) {
        if !old.has(PREVENT) {
            object.remove(PREVENT);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        one_of_if_set(spec, "fsGroupPolicy", &known, &path, errors);
        token_requests(spec, &path, errors);
        for mode in spec.texts("volumeLifecycleModes") {
            let known = ["Persistent", "Ephemeral"];
            if !known.contains(&mode) {
                let field = path.field("volumeLifecycleModes");
                errors.push(FieldError::not_supported(field, mode, &known));
            }
        }
        if let Some(seconds) = spec
            .int("nodeAllocatableUpdatePeriodSeconds")
            .filter(|seconds| *seconds < 10)
        {
            let field = path.field("nodeAllocatableUpdatePeriodSeconds");
            let wrong = "must be greater than or equal to 10 seconds";
            errors.push(FieldError::invalid(field, seconds, wrong));
        }
        let secrets = spec.at("serviceAccountTokenInSecrets");
        if !secrets.is_null() && spec.list("tokenRequests").is_empty() {
            let wrong = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            let field = path.field("serviceAccountTokenInSecrets");
            errors.push(FieldError::invalid(field, secrets.clone(), wrong));
        }
    }

    fn validate_update(
        &self,
        _: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        if spec.at("attachRequired") != before.at("attachRequired") {
            let field = path.field("attachedRequired");
            let shown = spec.at("attachRequired").clone();
            errors.push(FieldError::invalid(field, shown, IMMUTABLE));
        }
        immutable(spec, before, "volumeLifecycleModes", &path, errors);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let spec = object.at("spec");
        if spec.list("tokenRequests").is_empty() || spec.has("serviceAccountTokenInSecrets") {
            return Vec::new();
        }
        vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned()]
    }

    fn warnings_on_update(&self, _: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        if object.at("spec.tokenRequests") == old.at("spec.tokenRequests") {
            return Vec::new();
        }
        self.warnings(object)
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// Tokens for a driver: one per audience, of ten minutes or more.
fn token_requests(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("tokenRequests");
    let requests = spec.list("tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let path = list.index(index);
        let audience = request.text("audience");
        if requests[..index]
            .iter()
            .any(|other| other.text("audience") == audience)
        {
            errors.push(FieldError::duplicate(path.field("audience"), audience));
            continue;
        }
        let wrong = match request.int("expirationSeconds") {
            Some(seconds) if seconds < 600 => "may not specify a duration less than 10 minutes",
            Some(seconds) if seconds > 1 << 32 => {
                "may not specify a duration larger than 2^32 seconds"
            }
            _ => continue,
        };
        let shown = request.at("expirationSeconds").clone();
        errors.push(FieldError::invalid(
            path.field("expirationSeconds"),
            shown,
            wrong,
        ));
    }
}

/// Everything wrong with a CSINode.
pub fn validate_node(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let list = spec.field("drivers");
    let drivers = object.list("spec.drivers");
    for (index, driver) in drivers.iter().enumerate() {
        let path = list.index(index);
        let name = driver.text("name");
        csi_driver_name(name, &path.field("name"), errors);
        let id = required(driver, "nodeID", &path, errors);
        if id.len() > NODE_ID_MAX {
            let wrong = format!("must be {NODE_ID_MAX} characters or less");
            errors.push(FieldError::invalid(path.field("nodeID"), id, wrong));
        }
        let allocatable = path.field("allocatable");
        not_negative(driver.at("allocatable"), "count", &allocatable, errors);
        if drivers[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        let keys: Vec<&str> = driver.texts("topologyKeys").collect();
        for (index, key) in keys.iter().enumerate() {
            if key.is_empty() {
                errors.push(FieldError::required(path, ""));
            }
            if keys[..index].contains(key) {
                errors.push(FieldError::duplicate(path, *key));
            }
            wrongs(key, names::qualified_name(key), &path, errors);
        }
    }
}

/// What of a driver that stays on a node may not change: all but how many volumes it attaches.
pub fn update_node(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.remove("allocatable");
        driver
    };
    for before in old.list("spec.drivers") {
        for driver in object.list("spec.drivers") {
            let same = driver.text("name") == before.text("name");
            if same && fixed(driver) != fixed(before) {
                let field = spec.field("drivers");
                errors.push(FieldError::invalid(field, fixed(driver), IMMUTABLE));
            }
        }
    }
}
