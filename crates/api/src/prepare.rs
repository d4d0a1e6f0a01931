//! What every create and update does to an object before its kind's own part: server-set metadata,
//! the status kept apart, the generation.

use jiff::Timestamp;
use schema::Value;

use crate::{core::pod, meta, object::Object, resource::Resource, strategy::Part};

/// Before a create: what clients may not set of any object is dropped or set. The uid is given, since
/// chance comes from outside. What the kind adds of its own ([`create_own`]) comes after it is recorded
/// who owns what: nobody owns it, and a later apply must not take it away.
pub fn create(resource: &Resource, object: &mut Value, uid: &str, now: Timestamp) {
    let strategy = &resource.strategy;
    let metadata = meta::metadata_mut(object);
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert(
        "creationTimestamp".to_owned(),
        crate::clock::rfc3339(now).into(),
    );
    if strategy.has_generation() {
        metadata.insert("generation".to_owned(), 1.into());
    }
    if resource.has_status() && !strategy.keeps_status_of_new() {
        object.remove("status");
    }
}

/// Before a create: what the kind adds of its own to an object with its defaults.
pub fn create_own(resource: &Resource, object: &mut Value, now: Timestamp) {
    pod::gated::drop(resource, object, &Value::Null);
    resource.strategy.prepare_create(object, now);
}

/// Before an update: what this part may not change is put back from `old`, and the generation moves
/// when what it counts has changed.
pub fn update(
    resource: &Resource,
    part: Part<'_>,
    object: &mut Value,
    old: &Value,
    now: Timestamp,
) {
    let strategy = &resource.strategy;
    let metadata = meta::metadata_mut(object);
    let before = old.at("metadata");
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        // A client that sends another uid, or a time of deletion that no delete gave, hears of it from
        // validation.
        let sent = metadata.get(field).is_some_and(|value| !value.is_null());
        let kept = before.get(field);
        let heard = match field {
            "uid" | "deletionGracePeriodSeconds" => true,
            "deletionTimestamp" => kept.is_none(),
            _ => false,
        };
        if sent && heard {
            continue;
        }
        match kept {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("selfLink");
    match part {
        Part::Main if resource.has_status() => object.restore("status", old),
        Part::Status => {
            keep_only_status(object, old);
            if STATUS_ALONE.contains(&&*resource.gvk.kind) {
                for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    object.restore(&format!("metadata.{field}"), old);
                }
            }
        }
        _ => {}
    }
    pod::gated::drop(resource, object, old);
    strategy.prepare_update(part, object, old, now);
    // The status is no wish, and neither is the node that the scheduler chose.
    if !strategy.has_generation() || matches!(part, Part::Status | Part::Sub("binding")) {
        return;
    }
    // What the writer left out is no change.
    crate::defaulting::apply(resource, object);
    if strategy.moves_generation(object, old) {
        object.set("metadata.generation", meta::generation(old) + 1);
    }
}

/// Kinds whose status is written without the labels and what else of the metadata a status write may
/// change otherwise.
const STATUS_ALONE: [&str; 13] = [
    "APIService",
    "DeviceTaintRule",
    "FlowSchema",
    "PodCertificateRequest",
    "PodGroup",
    "PriorityLevelConfiguration",
    "ResourceClaim",
    "ResourcePoolStatusRequest",
    "ServiceCIDR",
    "StorageVersion",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "VolumeAttachment",
];

/// Everything but the status (and what of the metadata a status write may change) comes from `old`.
fn keep_only_status(object: &mut Value, old: &Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    map.retain(|key, _| matches!(key.as_str(), "status" | "metadata" | "kind" | "apiVersion"));
    for (key, value) in old.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "status" | "metadata" | "kind" | "apiVersion") {
            map.insert(key.clone(), value.clone());
        }
    }
}

/// The fields that a write of this part resets, so that server-side apply gives nobody ownership of them.
pub fn reset_fields(resource: &Resource, part: Part<'_>) -> &'static [&'static [&'static str]] {
    match part {
        Part::Main if resource.has_status() => &[&["status"]],
        Part::Status => &[&["spec"]],
        _ => &[],
    }
}
