//! The group storage.k8s.io.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    core::source::csi_driver_name,
    names,
    object::Object,
    validation::checks::{immutable, label_selector, one_of_if_set, quantity, required, wrongs},
};

/// Greatest number and greatest size of a class's parameters.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;

/// Defaults of a StorageClass.
pub fn storage_class(object: &mut Value) {
    object.set_default("reclaimPolicy", "Delete");
    object.set_default("volumeBindingMode", "Immediate");
}

/// Defaults of a CSIDriver.
pub fn csi_driver(object: &mut Value) {
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

/// Everything wrong with a StorageClass.
pub fn validate_class(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    let provisioner = required(object, "provisioner", &root, errors);
    if !provisioner.is_empty() {
        let bad = names::qualified_name(&provisioner.to_lowercase());
        wrongs(provisioner, bad, &root.field("provisioner"), errors);
    }
    parameters(object, errors);
    one_of_if_set(
        object,
        "reclaimPolicy",
        &["Delete", "Retain"],
        &root,
        errors,
    );
    one_of_if_set(
        object,
        "volumeBindingMode",
        &["Immediate", "WaitForFirstConsumer"],
        &root,
        errors,
    );
}

fn parameters(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("parameters");
    let Some(map) = object.map("parameters") else {
        return;
    };
    if map.len() > PARAMETERS_MAX {
        errors.push(FieldError::too_long(path, PARAMETERS_MAX));
        return;
    }
    if map.contains_key("") {
        errors.push(FieldError::invalid(path, "", "field can not be empty."));
    }
    let size: usize = map
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > PARAMETERS_SIZE_MAX {
        errors.push(FieldError::too_long(path, PARAMETERS_SIZE_MAX));
    }
}

/// What of a StorageClass may not change.
pub fn update_class(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for field in [
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ] {
        immutable(object, old, field, &Path::ROOT, errors);
    }
}

/// Everything wrong with a VolumeAttributesClass.
pub fn validate_attributes(object: &Value, errors: &mut Vec<FieldError>) {
    let driver = required(object, "driverName", &Path::ROOT, errors);
    if !driver.is_empty() {
        csi_driver_name(driver, &Path::ROOT.field("driverName"), errors);
    }
    if object.map("parameters").is_none_or(|map| map.is_empty()) {
        errors.push(FieldError::required(
            "parameters",
            "must contain at least one key/value pair",
        ));
    }
    parameters(object, errors);
}

/// What of a VolumeAttributesClass may not change.
pub fn update_attributes(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for field in ["driverName", "parameters"] {
        immutable(object, old, field, &Path::ROOT, errors);
    }
}

/// Everything wrong with a CSIDriver.
pub fn validate_driver(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.has(field) {
            errors.push(FieldError::required(path.field(field), ""));
        }
    }
    let known = ["File", "None", "ReadWriteOnceWithFSType"];
    one_of_if_set(spec, "fsGroupPolicy", &known, &path, errors);
    for mode in spec.texts("volumeLifecycleModes") {
        let known = ["Ephemeral", "Persistent"];
        if !known.contains(&mode) {
            errors.push(FieldError::not_supported(
                path.field("volumeLifecycleModes"),
                mode,
                &known,
            ));
        }
    }
}

/// What of a CSIDriver may not change.
pub fn update_driver(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    for field in ["attachRequired", "volumeLifecycleModes"] {
        immutable(object.at("spec"), old.at("spec"), field, &path, errors);
    }
}

/// Everything wrong with a CSINode.
pub fn validate_node(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let list = spec.field("drivers");
    let drivers = object.list("spec.drivers");
    for (index, driver) in drivers.iter().enumerate() {
        let path = list.index(index);
        let name = required(driver, "name", &path, errors);
        if !name.is_empty() {
            csi_driver_name(name, &path.field("name"), errors);
        }
        if drivers[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        required(driver, "nodeID", &path, errors);
    }
}

/// Everything wrong with a VolumeAttachment.
pub fn validate_attachment(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let attacher = required(spec, "attacher", &path, errors);
    if !attacher.is_empty() {
        csi_driver_name(attacher, &path.field("attacher"), errors);
    }
    let source = spec.at("source");
    let kinds = ["inlineVolumeSpec", "persistentVolumeName"]
        .iter()
        .filter(|field| source.has(field))
        .count();
    let wrong = match kinds {
        0 => "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        1 => "",
        _ => "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
    };
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(
            path.field("source"),
            source.clone(),
            wrong,
        ));
    }
    let node = required(spec, "nodeName", &path, errors);
    if !node.is_empty() {
        wrongs(
            node,
            names::dns1123_subdomain(node),
            &path.field("nodeName"),
            errors,
        );
    }
}

/// What of a VolumeAttachment may not change.
pub fn update_attachment(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "spec", &Path::ROOT, errors);
}

/// Everything wrong with a CSIStorageCapacity.
pub fn validate_capacity(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    let class = required(object, "storageClassName", &root, errors);
    if !class.is_empty() {
        wrongs(
            class,
            names::dns1123_subdomain(class),
            &root.field("storageClassName"),
            errors,
        );
    }
    for field in ["capacity", "maximumVolumeSize"] {
        if object.has(field) {
            quantity(object.at(field), &root.field(field), errors);
        }
    }
    label_selector(
        object.at("nodeTopology"),
        &root.field("nodeTopology"),
        errors,
    );
}

/// What of a CSIStorageCapacity may not change.
pub fn update_capacity(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for field in ["nodeTopology", "storageClassName"] {
        immutable(object, old, field, &Path::ROOT, errors);
    }
}
