//! Access to what every object has: its type, name and metadata.

use jiff::Timestamp;
use schema::{Map, Value};

use crate::{clock, object::Object};

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    object.text("apiVersion")
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    object.text("kind")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    object.text("metadata.name")
}

/// `metadata.namespace`, empty for objects of the cluster.
pub fn namespace(object: &Value) -> &str {
    object.text("metadata.namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    object.text("metadata.uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    object.text("metadata.resourceVersion")
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    object.text("metadata.generateName")
}

/// `metadata.generation`, 0 when unset.
pub fn generation(object: &Value) -> i64 {
    object.int("metadata.generation").unwrap_or(0)
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    object
        .pairs("metadata.labels")
        .map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.at("metadata.labels").get(key)?.as_str()
}

/// Greatest size of all annotations together.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Are these annotations together larger than they may be?
pub fn too_large(annotations: &Value) -> bool {
    let sizes = annotations
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len));
    sizes.sum::<usize>() > ANNOTATIONS_MAX
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    object
        .pairs("metadata.annotations")
        .map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.at("metadata.annotations").get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object.texts("metadata.finalizers")
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> &[Value] {
    object.list("metadata.ownerReferences")
}

/// The owner reference with `controller: true`.
pub fn controller(object: &Value) -> Option<&Value> {
    owner_references(object)
        .iter()
        .find(|owner| owner.flag("controller"))
}

/// Is `metadata.deletionTimestamp` set?
pub fn is_terminating(object: &Value) -> bool {
    object.has("metadata.deletionTimestamp")
}

/// `metadata.creationTimestamp`.
pub fn created(object: &Value) -> Option<Timestamp> {
    time(object, "metadata.creationTimestamp")
}

/// The time at a path.
pub fn time(object: &Value, path: &str) -> Option<Timestamp> {
    object.text(path).parse().ok()
}

/// Writes a `metav1.Time` at a path.
pub fn set_time(object: &mut Value, path: &str, time: Timestamp) {
    object.set(path, clock::rfc3339(time));
}

/// The metadata for changing; made when missing.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(object.place("metadata"))
}

/// A value as a map for changing; what is no map becomes an empty one.
pub fn map_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("was made a map above"),
    }
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    map_mut(object.place("metadata.labels")).insert(key.to_owned(), value.into());
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    map_mut(object.place("metadata.annotations")).insert(key.to_owned(), value.into());
}

/// Group and version of an `apiVersion`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The `apiVersion` of a group and version.
pub fn join_api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The condition of this type in `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .list("status.conditions")
        .iter()
        .find(|condition| condition.text("type") == kind)
}
