//! Defaults of the core kinds whose defaults are a line or two.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use super::pod;
use crate::{meta, object::Object};

/// The label every namespace has with its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Defaults of a Secret.
pub fn secret(object: &mut Value) {
    object.set_default_text("type", "Opaque");
}

/// Defaults of a Namespace.
pub fn namespace(object: &mut Value) {
    let name = meta::name(object).to_owned();
    if !name.is_empty() && meta::label(object, NAMESPACE_NAME_LABEL) != Some(&name) {
        meta::set_label(object, NAMESPACE_NAME_LABEL, &name);
    }
    object.set_default_text("status.phase", "Active");
}

/// Defaults of a Node. The one range is the first of the list.
pub fn node(object: &mut Value) {
    let range = object.text("spec.podCIDR").to_owned();
    let first = object.texts("spec.podCIDRs").next().map(str::to_owned);
    match first {
        _ if range.is_empty() => {
            if let Some(first) = first {
                object.set("spec.podCIDR", first);
            }
        }
        Some(first) if first == range => {}
        _ => object.set("spec.podCIDRs", vec![Value::from(range)]),
    }
    if !object.has("status.allocatable") && object.has("status.capacity") {
        let capacity = object.at("status.capacity").clone();
        object.set("status.allocatable", capacity);
    }
}

/// Defaults of a PersistentVolume.
pub fn persistent_volume(object: &mut Value) {
    object.set_default_text("status.phase", "Pending");
    object.set_default_text("spec.persistentVolumeReclaimPolicy", "Retain");
    object.set_default("spec.volumeMode", "Filesystem");
    if let Some(source) = object.at_mut("spec.hostPath") {
        source.set_default("type", "");
    }
    if let Some(source) = object.at_mut("spec.iscsi") {
        source.set_default_text("iscsiInterface", "default");
    }
    if let Some(source) = object.at_mut("spec.rbd") {
        source.set_default_text("pool", "rbd");
        source.set_default_text("user", "admin");
        source.set_default_text("keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = object.at_mut("spec.azureDisk") {
        source.set_default("cachingMode", "ReadWrite");
        source.set_default("kind", "Shared");
        source.set_default("fsType", "ext4");
        source.set_default("readOnly", false);
    }
    if let Some(source) = object.at_mut("spec.scaleIO") {
        source.set_default_text("storageMode", "ThinProvisioned");
        source.set_default_text("fsType", "xfs");
    }
}

/// Defaults of a PersistentVolumeClaim.
pub fn persistent_volume_claim(object: &mut Value) {
    object.set_default_text("status.phase", "Pending");
    object.set_default("spec.volumeMode", "Filesystem");
}

/// Defaults of Endpoints.
pub fn endpoints(object: &mut Value) {
    for subset in object.list_mut("subsets") {
        for port in subset.list_mut("ports") {
            port.set_default_text("protocol", "TCP");
        }
    }
}

/// Defaults of a LimitRange: limits follow the maximum, requests follow the limits or the minimum.
pub fn limit_range(object: &mut Value) {
    for item in object.list_mut("spec.limits") {
        if item.text("type") != "Container" {
            continue;
        }
        fill_missing(item, "default", "max");
        fill_missing(item, "defaultRequest", "default");
        fill_missing(item, "defaultRequest", "min");
    }
}

fn fill_missing(item: &mut Value, to: &str, from: &str) {
    let Some(from) = item.map(from).filter(|map| !map.is_empty()).cloned() else {
        return;
    };
    let to = meta::map_mut(item.place(to));
    for (key, value) in from {
        to.entry(key).or_insert(value);
    }
}

/// Defaults of a ReplicationController.
pub fn replication_controller(object: &mut Value) {
    let labels = object.at("spec.template.metadata.labels").clone();
    if labels.is_object() {
        if object
            .map("spec.selector")
            .is_none_or(|selector| selector.is_empty())
        {
            object.set("spec.selector", labels.clone());
        }
        if object
            .map("metadata.labels")
            .is_none_or(|own| own.is_empty())
        {
            object.set("metadata.labels", labels);
        }
    }
    object.set_default("spec.replicas", 1);
    if object.has("spec.template") {
        pod::defaults::template(object.place("spec.template"));
    }
}

/// Defaults of a PodTemplate.
pub fn pod_template(object: &mut Value) {
    pod::defaults::template(object.place("template"));
}

/// Defaults of a ResourceQuota.
pub fn resource_quota(object: &mut Value) {
    if !object.has("spec") {
        object.set("spec", json!({}));
    }
}

/// Everything wrong with a PodTemplate.
pub fn validate_pod_template(object: &Value, errors: &mut Vec<FieldError>) {
    pod::validation::template(object.at("template"), &Path::ROOT.field("template"), errors);
}
