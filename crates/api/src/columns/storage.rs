//! Volumes, their claims and their classes.

use jiff::Timestamp;
use schema::Value;

use super::{AGE, Column, NAME, Printer, age, name, number, or, text, truth, wide};
use crate::{meta, object::Object};

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("", "PersistentVolume") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Capacity"),
                    text("Access Modes"),
                    text("Reclaim Policy"),
                    text("Status"),
                    text("Claim"),
                    text("StorageClass"),
                    text("VolumeAttributesClass"),
                    text("Reason"),
                    AGE,
                    wide("VolumeMode"),
                ]
            },
            row: volume,
        },
        ("", "PersistentVolumeClaim") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Status"),
                    text("Volume"),
                    text("Capacity"),
                    text("Access Modes"),
                    text("StorageClass"),
                    text("VolumeAttributesClass"),
                    AGE,
                    wide("VolumeMode"),
                ]
            },
            row: claim,
        },
        ("storage.k8s.io", "StorageClass") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Provisioner"),
                    text("ReclaimPolicy"),
                    text("VolumeBindingMode"),
                    text("AllowVolumeExpansion"),
                    AGE,
                ]
            },
            row: |object, now| {
                vec![
                    marked_default(object, "storageclass"),
                    object.text("provisioner").into(),
                    or(object.text("reclaimPolicy"), "Delete").into(),
                    or(object.text("volumeBindingMode"), "Immediate").into(),
                    object.flag("allowVolumeExpansion").into(),
                    age(object, now),
                ]
            },
        },
        ("storage.k8s.io", "VolumeAttributesClass") => Printer {
            columns: const { &[NAME, text("DriverName"), AGE] },
            row: |object, now| {
                vec![
                    marked_default(object, "volumeattributesclass"),
                    object.text("driverName").into(),
                    age(object, now),
                ]
            },
        },
        ("storage.k8s.io", "VolumeAttachment") => Printer {
            columns: const {
                &[
                    NAME,
                    Column {
                        format: "name",
                        ..text("Attacher")
                    },
                    text("PV"),
                    text("Node"),
                    truth("Attached"),
                    AGE,
                ]
            },
            row: |object, now| {
                vec![
                    name(object),
                    object.text("spec.attacher").into(),
                    object.text("spec.source.persistentVolumeName").into(),
                    object.text("spec.nodeName").into(),
                    object.flag("status.attached").into(),
                    age(object, now),
                ]
            },
        },
        ("storage.k8s.io", "CSINode") => Printer {
            columns: const { &[NAME, number("Drivers"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.list("spec.drivers").len().into(),
                    age(object, now),
                ]
            },
        },
        ("storage.k8s.io", "CSIDriver") => Printer {
            columns: const {
                &[
                    NAME,
                    truth("AttachRequired"),
                    truth("PodInfoOnMount"),
                    truth("StorageCapacity"),
                    text("TokenRequests"),
                    truth("RequiresRepublish"),
                    text("Modes"),
                    AGE,
                ]
            },
            row: driver,
        },
        ("storage.k8s.io", "CSIStorageCapacity") => Printer {
            columns: const { &[NAME, text("StorageClassName"), text("Capacity")] },
            row: |object, _| {
                let capacity = or(object.text("capacity"), "<unset>").into();
                vec![
                    name(object),
                    object.text("storageClassName").into(),
                    capacity,
                ]
            },
        },
        _ => return None,
    })
}

fn marked_default(object: &Value, kind: &str) -> Value {
    let is_default = meta::annotations(object).any(|(key, value)| {
        value == "true" && key.starts_with(kind) && key.ends_with("is-default-class")
    });
    if is_default {
        format!("{} (default)", meta::name(object)).into()
    } else {
        name(object)
    }
}

/// `RWO,ROX`, in upstream's order.
fn access_modes(list: &Value) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let short: Vec<&str> = known
        .iter()
        .filter(|(mode, _)| modes.contains(mode))
        .map(|(_, short)| *short)
        .collect();
    short.join(",")
}

/// The class, in the old annotation or in its field.
fn class(object: &Value) -> Value {
    meta::annotation(object, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| object.text("spec.storageClassName"))
        .into()
}

fn phase(object: &Value) -> Value {
    if meta::is_terminating(object) {
        "Terminating"
    } else {
        object.text("status.phase")
    }
    .into()
}

fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = object.at("spec.claimRef");
    let claim = if claim.is_null() {
        String::new()
    } else {
        format!("{}/{}", claim.text("namespace"), claim.text("name"))
    };
    vec![
        name(object),
        or(object.text("spec.capacity.storage"), "0").into(),
        access_modes(object.at("spec.accessModes")).into(),
        object.text("spec.persistentVolumeReclaimPolicy").into(),
        phase(object),
        claim.into(),
        class(object),
        or(object.text("spec.volumeAttributesClassName"), "<unset>").into(),
        object.text("status.reason").into(),
        age(object, now),
        or(object.text("spec.volumeMode"), "<unset>").into(),
    ]
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = !object.text("spec.volumeName").is_empty();
    let capacity = if bound {
        or(object.text("status.capacity.storage"), "0")
    } else {
        ""
    };
    let modes = if bound {
        access_modes(object.at("status.accessModes"))
    } else {
        String::new()
    };
    vec![
        name(object),
        phase(object),
        object.text("spec.volumeName").into(),
        capacity.into(),
        modes.into(),
        class(object),
        or(object.text("spec.volumeAttributesClassName"), "<unset>").into(),
        age(object, now),
        or(object.text("spec.volumeMode"), "<unset>").into(),
    ]
}

fn driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = object.at("spec");
    let tokens: Vec<&str> = spec
        .list("tokenRequests")
        .iter()
        .map(|request| request.text("audience"))
        .collect();
    let modes: Vec<&str> = spec.texts("volumeLifecycleModes").collect();
    vec![
        name(object),
        spec.at("attachRequired").as_bool().unwrap_or(true).into(),
        spec.flag("podInfoOnMount").into(),
        spec.flag("storageCapacity").into(),
        or(&tokens.join(","), "<unset>").into(),
        spec.flag("requiresRepublish").into(),
        or(&modes.join(","), "<none>").into(),
        age(object, now),
    ]
}
