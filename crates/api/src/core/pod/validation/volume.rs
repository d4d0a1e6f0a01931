//! Volumes.

use schema::{Path, Value, field_error::FieldError};

use super::{
    env::{field_ref, resource_ref},
    projected::projected,
};
use crate::{
    core::source,
    meta, names,
    object::Object,
    quantity::Quantity,
    validation::{
        checks::{required, unreserved_path, wrongs},
        metadata,
    },
};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

const DOWNWARD_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Sources in the order in which the first one counts.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The volumes of a pod, or of a template where `pod` is null. The ones without errors are what
/// containers can mount.
pub fn volumes<'a>(
    volumes: &'a [Value],
    pod: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<&'a Value> {
    let mut good: Vec<&Value> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        source(volume, pod, &path, errors);
        let name = required(volume, "name", &path, errors);
        let field = path.field("name");
        if !name.is_empty() {
            wrongs(name, names::dns1123_label(name), &field, errors);
        }
        if good.iter().any(|other| other.text("name") == name) {
            errors.push(FieldError::duplicate(field, name));
        }
        if errors.len() == before {
            good.push(volume);
        }
        let claim = volume.text("persistentVolumeClaim.claimName");
        let created = |other: &Value| {
            other.has("ephemeral") && claim == format!("{}-{}", meta::name(pod), other.text("name"))
        };
        if !claim.is_empty() && !meta::name(pod).is_empty() && volumes.iter().any(created) {
            let wrong = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(
                path.field("persistentVolumeClaim").field("claimName"),
                claim,
                wrong,
            ));
        }
    }
    good
}

fn source(volume: &Value, pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut kinds = SOURCES.into_iter().filter(|kind| volume.has(kind));
    let Some(kind) = kinds.next() else {
        errors.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    for other in kinds {
        errors.push(FieldError::forbidden(
            path.field(source::shown_second(other)),
            "may not specify more than 1 volume type",
        ));
    }
    let value = volume.at(kind);
    let own = &path.field(source::shown(kind));
    match kind {
        "emptyDir" => {
            if Quantity::of(value.at("sizeLimit")).is_negative() {
                let wrong = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(own.field("sizeLimit"), wrong));
            }
        }
        "secret" | "configMap" => {
            let name = if kind == "secret" {
                "secretName"
            } else {
                "name"
            };
            required(value, name, own, errors);
            mode(value, "defaultMode", own, errors);
            keys(value, own, errors);
        }
        "persistentVolumeClaim" => {
            required(value, "claimName", own, errors);
        }
        "downwardAPI" => {
            mode(value, "defaultMode", own, errors);
            for item in value.list("items") {
                downward_item(item, own, errors);
            }
        }
        "projected" => projected(value, own, errors),
        "ephemeral" => {
            claim_template(value, own, errors);
            let (pod, name) = (meta::name(pod), volume.text("name"));
            if !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{name}");
                for wrong in names::dns1123_subdomain(&claim) {
                    let wrong = format!("PVC name {claim:?}: {wrong}");
                    errors.push(FieldError::invalid(path.field("name"), name, wrong));
                }
            }
        }
        "image" => {
            if !pod.is_null() {
                required(value, "reference", own, errors);
            }
            super::container::pull_policy(value, "pullPolicy", own, errors);
        }
        other => {
            let name = volume.text("name");
            source::source(other, value, name, false, own, errors);
            if other == "iscsi" && source::iscsi_name_too_long(value, name) {
                errors.push(FieldError::invalid(
                    path.field("name"),
                    name,
                    source::ISCSI_TOTAL,
                ));
            }
        }
    }
}

fn claim_template(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("volumeClaimTemplate");
    let template = value.at("volumeClaimTemplate");
    if template.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let own = path.field("metadata");
    metadata::template_alone(template, &own, errors);
    crate::core::storage::claim_spec(template.at("spec"), &path.field("spec"), errors);
}

/// A file's mode.
pub fn mode(value: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(mode) = value.int(field).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(path.field(field), mode, MODE));
    }
}

/// The `items` of what holds keys.
pub fn keys(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("items");
    for (index, item) in value.list("items").iter().enumerate() {
        let path = list.index(index);
        required(item, "key", &path, errors);
        let target = required(item, "path", &path, errors);
        unreserved_path(target, &path.field("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

/// A `DownwardAPIVolumeFile`; upstream's paths to it stop at the volume's source.
pub fn downward_item(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let target = required(item, "path", path, errors);
    unreserved_path(target, &path.field("path"), errors);
    let (field, resource) = (item.at("fieldRef"), item.at("resourceFieldRef"));
    if !field.is_null() {
        field_ref(field, &DOWNWARD_FIELDS, &path.field("fieldRef"), errors);
        if !resource.is_null() {
            let wrong = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", wrong));
        }
    } else if !resource.is_null() {
        resource_ref(resource, true, &path.field("resourceFieldRef"), errors);
    } else {
        let wrong = "one of fieldRef and resourceFieldRef is required";
        errors.push(FieldError::required(path, wrong));
    }
    mode(item, "mode", path, errors);
}
