//! What is wrong with objects, as tables: a good object, what is changed about it, and what is said then.

use api::{
    catalog, defaulting,
    object::Object,
    prepare,
    resource::Resource,
    strategy::{Part, Strategy},
    validation,
};
use serde_json::Value;

mod admission;
mod batch;
mod certificates;
mod config;
mod definitions;
mod devices;
mod flow;
mod networking;
mod pods;
mod scheduling;
mod shown;
mod small_groups;
mod storage;
mod workloads;

/// Changes by dotted path (null takes away), and what is said of the result.
pub type Row<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);

fn now() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn resource(object: &Value) -> &'static Resource {
    let (group, version) = api::meta::split_api_version(object.text("apiVersion"));
    catalog::builtin()
        .by_kind(group, version, object.text("kind"))
        .unwrap()
}

fn said(errors: &[schema::field_error::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn changed(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = base.clone();
    for (path, value) in changes {
        if value.is_null() {
            object.remove(path);
        } else {
            object.set(path, value.clone());
        }
    }
    object
}

/// A new object after every step before validation, and what validation says.
pub fn create(mut object: Value) -> (Value, Vec<String>) {
    let resource = resource(&object);
    if resource.namespaced {
        object.set_default("metadata.namespace", "default");
    }
    prepare::create(resource, &mut object, "uid-1", now());
    defaulting::apply(resource, &mut object);
    prepare::create_own(resource, &mut object, now());
    let errors = said(&validation::create(resource, &object));
    object.set("metadata.resourceVersion", "1");
    (object, errors)
}

/// A changed object after every step before validation, and what validation says.
pub fn update(part: Part<'_>, mut object: Value, old: &Value) -> (Value, Vec<String>) {
    let resource = resource(old);
    prepare::update(resource, part, &mut object, old, now());
    defaulting::apply(resource, &mut object);
    let errors = said(&validation::update(resource, part, &object, old));
    (object, errors)
}

/// Creates the base with each row's changes.
pub fn on_create(base: &Value, rows: &[Row<'_>]) {
    let (_, errors) = create(base.clone());
    assert!(errors.is_empty(), "the base is good: {errors:?}");
    for (changes, expected) in rows {
        let (_, errors) = create(changed(base, changes));
        assert_eq!(&errors, expected, "{changes:?}");
    }
}

/// Changes the stored base by each row's changes.
pub fn on_update(part: Part<'_>, base: &Value, rows: &[Row<'_>]) {
    let (mut old, errors) = create(base.clone());
    assert!(errors.is_empty(), "the base is good: {errors:?}");
    if base.has("status") {
        old.restore("status", base);
    }
    for (changes, expected) in rows {
        let (_, errors) = update(part, changed(&old, changes), &old);
        assert_eq!(&errors, expected, "{changes:?}");
    }
}

/// What a new object is warned of.
pub fn warned(object: Value) -> Vec<String> {
    let resource = resource(&object);
    let (object, errors) = create(object);
    assert!(errors.is_empty(), "{errors:?}");
    let strategy: &dyn Strategy = &*resource.strategy;
    strategy.warnings(&object)
}
