//! Kinds that definitions bring at run time: the definitions' own rules, and the resources made of
//! them. What is made here is served as built-in kinds are.

mod columns;
pub mod conditions;
mod conversion;
pub mod definition;
mod kind;
mod names;
mod resource;
mod versions;

pub use kind::CustomKind;
pub use names::{Taken, accept};
pub use resource::{Version, resources, served};
pub use versions::each_schema;

use std::sync::LazyLock;

use schema::{Table, TypeId, Value};

use crate::{catalog, object::Object};

/// The types that all custom resources' tables begin with.
pub static BASE: LazyLock<Table> =
    LazyLock::new(|| schema::structural::base(&catalog::builtin().table));

/// The type of the objects in every custom resource's table.
pub fn root() -> TypeId {
    schema::structural::root(&BASE)
}

/// The group and plural of definitions.
pub const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// The finalizer that holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The version objects rest in.
pub fn storage_version(definition: &Value) -> &str {
    definition
        .list("spec.versions")
        .iter()
        .find(|version| version.flag("storage"))
        .map_or("", |version| version.text("name"))
}

/// The version of this name.
pub fn version<'a>(definition: &'a Value, name: &str) -> Option<&'a Value> {
    definition
        .list("spec.versions")
        .iter()
        .find(|version| version.text("name") == name)
}

/// `.spec.replicas` as the path that [`Object`] takes.
pub(crate) fn dotted(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}
