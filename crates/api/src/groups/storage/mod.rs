//! The group storage.k8s.io: classes and capacities.

pub mod attachment;
pub mod driver;

use std::collections::{BTreeMap, BTreeSet};

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::pod::deprecated_label,
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

/// Everything wrong with a StorageClass.
pub fn validate_class(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    provisioner(object, "provisioner", errors);
    parameters(object, errors);
    if !object.text("reclaimPolicy").is_empty() {
        let policies = ["Delete", "Retain"];
        one_of_if_set(object, "reclaimPolicy", &policies, &root, errors);
    }
    let modes = ["Immediate", "WaitForFirstConsumer"];
    one_of_if_set(object, "volumeBindingMode", &modes, &root, errors);
    topologies(object, errors);
}

/// Who makes the volumes of a class.
fn provisioner(object: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    let name = required(object, field, &root, errors);
    if !name.is_empty() {
        let lower = name.to_lowercase();
        let field = root.field(field);
        wrongs(&lower, names::qualified_name(&lower), &field, errors);
    }
}

/// Where the volumes of a class may be: each place once.
fn topologies(object: &Value, errors: &mut Vec<FieldError>) {
    let list = Path::ROOT.field("allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in object.list("allowedTopologies").iter().enumerate() {
        let path = list.index(index);
        let expressions = path.field("matchLabelExpressions");
        let mut place: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            let path = expressions.index(index);
            let key = expression.text("key");
            let mut values = BTreeSet::new();
            let field = path.field("values");
            if expression.list("values").is_empty() {
                errors.push(FieldError::required(field, ""));
            }
            for (index, value) in expression.texts("values").enumerate() {
                if !values.insert(value) {
                    errors.push(FieldError::duplicate(field.index(index), value));
                }
            }
            wrongs(key, names::qualified_name(key), &path.field("key"), errors);
            if place.insert(key, values).is_some() {
                errors.push(FieldError::duplicate(path.field("key"), key));
            }
        }
        // Upstream begins with as many empty places as there are terms.
        if place.is_empty() || seen.contains(&place) {
            errors.push(FieldError::duplicate(expressions, ""));
        }
        seen.push(place);
    }
}

/// What a StorageClass is warned of: labels that are used no more.
pub fn class_warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, term) in object.list("allowedTopologies").iter().enumerate() {
        for (index, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            if let Some(said) = deprecated_label(expression.text("key")) {
                warnings.push(format!(
                    "allowedTopologies[{at}].matchLabelExpressions[{index}].key: {said}"
                ));
            }
        }
    }
    warnings
}

/// Parameters of a class; where they may be missing is for the caller to say.
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
    provisioner(object, "driverName", errors);
    parameters(object, errors);
    if object.map("parameters").is_none_or(|map| map.is_empty()) {
        errors.push(FieldError::required(
            "parameters",
            "must contain at least one key/value pair",
        ));
    }
}

/// What of a VolumeAttributesClass may not change.
pub fn update_attributes(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for field in ["driverName", "parameters"] {
        if object.at(field) != old.at(field) {
            let wrong = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(field, wrong));
        }
    }
}

/// Everything wrong with a CSIStorageCapacity.
pub fn validate_capacity(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    label_selector(
        object.at("nodeTopology"),
        &root.field("nodeTopology"),
        errors,
    );
    let class = object.text("storageClassName");
    let field = root.field("storageClassName");
    wrongs(class, names::dns1123_subdomain(class), &field, errors);
    if object.has("capacity") {
        quantity(object.at("capacity"), &root.field("capacity"), errors);
    }
}

/// What of a CSIStorageCapacity may not change.
pub fn update_capacity(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for field in ["nodeTopology", "storageClassName"] {
        immutable(object, old, field, &Path::ROOT, errors);
    }
}
