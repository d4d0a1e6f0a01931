//! Volumes.

use schema::{Path, Value, field_error::FieldError};

use super::env::{field_ref, resource_ref};
use crate::{
    meta, names,
    object::Object,
    quantity::Quantity,
    validation::checks::{
        descending_path, no_backsteps, one_of, required, unreserved_path, wrongs,
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

/// The volumes of a pod, or of a template where `pod` is null.
pub fn volumes(volumes: &[Value], pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        source(volume, pod, &path, errors);
        let name = required(volume, "name", &path, errors);
        if !name.is_empty() {
            wrongs(
                name,
                names::dns1123_label(name),
                &path.field("name"),
                errors,
            );
        }
        if volumes[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        let claim = volume.text("persistentVolumeClaim.claimName");
        let created = |other: &Value| {
            other.has("ephemeral") && claim == format!("{}-{}", meta::name(pod), other.text("name"))
        };
        if !claim.is_empty() && volumes.iter().any(created) {
            let wrong = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(
                path.field("persistentVolumeClaim").field("claimName"),
                claim,
                wrong,
            ));
        }
    }
}

fn source(volume: &Value, pod: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut kinds = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "name" && !value.is_null());
    let Some((kind, value)) = kinds.next() else {
        errors.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    for (other, _) in kinds {
        errors.push(FieldError::forbidden(
            path.field(other),
            "may not specify more than 1 volume type",
        ));
    }
    let path = &path.field(kind);
    // What of each source must be given.
    let needed: &[&str] = match kind.as_str() {
        "hostPath" => &["path"],
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" => &["volumeID"],
        "secret" => &["secretName"],
        "nfs" => &["server", "path"],
        "iscsi" => &["targetPortal", "iqn"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "rbd" => &["image"],
        "cinder" => &["volumeID"],
        "configMap" => &["name"],
        "flexVolume" | "csi" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "azureDisk" => &["diskName", "diskURI"],
        "portworxVolume" => &["volumeID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "quobyte" => &["registry", "volume"],
        _ => &[],
    };
    for field in needed {
        required(value, field, path, errors);
    }
    match kind.as_str() {
        "emptyDir"
            if value.has("sizeLimit") && Quantity::of(value.at("sizeLimit")).is_negative() =>
        {
            let wrong = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(path.field("sizeLimit"), wrong));
        }
        "hostPath" => {
            no_backsteps(value.text("path"), &path.field("path"), errors);
            const KNOWN: [&str; 8] = [
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ];
            if !KNOWN.contains(&value.text("type")) {
                errors.push(FieldError::not_supported(
                    path.field("type"),
                    value.text("type"),
                    &KNOWN,
                ));
            }
        }
        "secret" | "configMap" => {
            mode(value, "defaultMode", path, errors);
            keys(value, path, errors);
        }
        "nfs" => {
            let text = value.text("path");
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(FieldError::invalid(
                    path.field("path"),
                    text,
                    "must be an absolute path",
                ));
            }
        }
        "downwardAPI" => {
            mode(value, "defaultMode", path, errors);
            downward(value, path, errors);
        }
        "projected" => projected(value, path, errors),
        "csi" => {
            let driver = value.text("driver");
            if !driver.is_empty() {
                csi_driver_name(driver, &path.field("driver"), errors);
            }
        }
        "ephemeral" => {
            if !value.has("volumeClaimTemplate") {
                errors.push(FieldError::required(path.field("volumeClaimTemplate"), ""));
            } else {
                let template = path.field("volumeClaimTemplate");
                let spec = value.at("volumeClaimTemplate.spec");
                crate::core::storage::claim_spec(spec, &template.field("spec"), errors);
            }
            let (pod, name) = (meta::name(pod), volume.text("name"));
            if !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{name}");
                for wrong in names::dns1123_subdomain(&claim) {
                    let wrong = format!("PVC name {claim:?}: {wrong}");
                    errors.push(FieldError::invalid(path.field("name"), name, wrong));
                }
            }
        }
        "image" if value.has("pullPolicy") => {
            one_of(
                value,
                "pullPolicy",
                &["Always", "IfNotPresent", "Never"],
                path,
                errors,
            );
        }
        _ => {}
    }
}

/// The name of a CSI driver.
pub fn csi_driver_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    wrongs(
        name,
        names::dns1123_subdomain(&name.to_lowercase()),
        path,
        errors,
    );
}

fn mode(value: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(mode) = value.int(field).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(path.field(field), mode, MODE));
    }
}

fn keys(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("items");
    for (index, item) in value.list("items").iter().enumerate() {
        let path = list.index(index);
        required(item, "key", &path, errors);
        let target = required(item, "path", &path, errors);
        unreserved_path(target, &path.field("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

fn downward(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("items");
    for (index, item) in value.list("items").iter().enumerate() {
        let path = list.index(index);
        let target = required(item, "path", &path, errors);
        unreserved_path(target, &path.field("path"), errors);
        mode(item, "mode", &path, errors);
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
            errors.push(FieldError::required(path.field("fieldRef"), wrong));
        }
    }
}

fn projected(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    mode(value, "defaultMode", path, errors);
    let list = path.field("sources");
    for (index, part) in value.list("sources").iter().enumerate() {
        let path = list.index(index);
        for (count, (kind, source)) in part.as_object().into_iter().flatten().enumerate() {
            let path = path.field(kind);
            if count > 0 {
                errors.push(FieldError::forbidden(
                    path,
                    "may not specify more than 1 volume type per source",
                ));
                continue;
            }
            match kind.as_str() {
                "secret" | "configMap" => {
                    required(source, "name", &path, errors);
                    keys(source, &path, errors);
                }
                "downwardAPI" => downward(source, &path, errors),
                "serviceAccountToken" => {
                    if let Some(seconds) = source.int("expirationSeconds") {
                        if seconds < 600 {
                            let wrong = "may not specify a duration less than 10 minutes";
                            errors.push(FieldError::invalid(
                                path.field("expirationSeconds"),
                                seconds,
                                wrong,
                            ));
                        } else if seconds > 1 << 32 {
                            let wrong = "may not specify a duration larger than 2^32 seconds";
                            errors.push(FieldError::invalid(
                                path.field("expirationSeconds"),
                                seconds,
                                wrong,
                            ));
                        }
                    }
                    let target = source.text("path");
                    if target.is_empty() {
                        errors.push(FieldError::required(path.field("path"), ""));
                    } else {
                        unreserved_path(target, &path.field("path"), errors);
                    }
                }
                "clusterTrustBundle" => {
                    let target = required(source, "path", &path, errors);
                    descending_path(target, &path.field("path"), errors);
                }
                _ => {}
            }
        }
    }
}
