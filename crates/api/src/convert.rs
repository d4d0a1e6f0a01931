//! Between what is served and what rests in the store: one version per kind.
//!
//! Versions of one shape differ in `apiVersion` alone. The others — autoscaling v1 and v2, the two
//! groups of events, and the first beta of resource.k8s.io — have their conversions here.

mod autoscaling;
mod devices;
mod events;

use schema::Value;

use crate::{meta::join_api_version, object::Object, resource::Resource};

/// The name by which the attributes of a stored object know a field that this resource lets select
/// by; none where it does not.
pub fn field_name(resource: &Resource, name: &str) -> Option<&'static str> {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("events.k8s.io", "Event") => events::field_name(name),
        _ => {
            let known = resource.strategy.field_names();
            known.iter().find(|known| **known == name).copied()
        }
    }
}

/// An object of the first beta of resource.k8s.io with the shape of version 1.
pub fn devices_to_v1(object: &mut Value) {
    devices::to_v1(object);
}

/// The object as the store keeps it.
pub fn to_storage(resource: &Resource, mut object: Value) -> Value {
    let served = &resource.gvk;
    if *served.version == *resource.storage_version && *served.group == *resource.storage_group {
        return object;
    }
    match (&*served.group, &*served.kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::to_v2(&mut object),
        ("events.k8s.io", "Event") => events::to_core(&mut object),
        ("resource.k8s.io", _) if &*served.version == "v1beta1" => devices::to_v1(&mut object),
        _ => {}
    }
    object.set(
        "apiVersion",
        join_api_version(&resource.storage_group, &resource.storage_version),
    );
    object
}

/// The object as this resource serves it.
pub fn from_storage(resource: &Resource, mut object: Value) -> Value {
    let served = &resource.gvk;
    if *served.version == *resource.storage_version && *served.group == *resource.storage_group {
        return object;
    }
    match (&*served.group, &*served.kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::to_v1(&mut object),
        ("events.k8s.io", "Event") => events::to_new(&mut object),
        ("resource.k8s.io", _) if &*served.version == "v1beta1" => devices::to_v1beta1(&mut object),
        _ => {}
    }
    object.set("apiVersion", served.api_version());
    object
}
