//! Serving a definition's versions: endpoints, and the place in the store.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api::custom::{self, Version};
use api::meta;
use api::object::Object;
use api::resource::{Behaviour, LateTable, Resource, Types};
use serde_json::Value;
use store::{Key, RegisterError, Registration};

use super::convert::{Conversion, VersionForm, VersionOf};
use super::rules::RuledKind;
use crate::endpoint::{Endpoint, Held};
use crate::registry;
use crate::server::{ApiServer, StartError};

/// What is served of a definition.
pub struct Installed {
    pub(super) group: String,
    plural: String,
    versions: Vec<String>,
    /// What the endpoints were made from.
    basis: Value,
    /// The fields that objects are indexed by.
    selectable: Value,
}

/// What endpoints depend on.
fn basis(definition: &Value) -> Value {
    serde_json::json!([
        meta::uid(definition),
        meta::generation(definition),
        definition.at("status.acceptedNames"),
        meta::is_terminating(definition),
    ])
}

fn mark(basis: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    basis.to_string().hash(&mut hasher);
    hasher.finish()
}

fn selectable(definition: &Value) -> Value {
    definition
        .list("spec.versions")
        .iter()
        .map(|version| version.at("selectableFields").clone())
        .collect()
}

impl Installed {
    /// Serves it no more. Objects that are left stay in the store.
    pub fn uninstall(&self, server: &ApiServer) {
        for version in &self.versions {
            server.endpoints.remove(&self.group, version, &self.plural);
        }
        let prefix = Key::prefix_of(&self.group, &self.plural);
        server.store.unregister(&prefix);
    }
}

/// Serves a definition; `before` is what is served of it now.
pub async fn install(
    server: &Arc<ApiServer>,
    name: &str,
    definition: &Value,
    before: Option<Installed>,
) -> Result<Installed, StartError> {
    let basis = basis(definition);
    if let Some(before) = &before
        && before.basis == basis
    {
        return Ok(Installed {
            group: before.group.clone(),
            plural: before.plural.clone(),
            versions: before.versions.clone(),
            selectable: before.selectable.clone(),
            basis,
        });
    }
    let group = definition.text("spec.group").to_owned();
    let plural = definition.text("status.acceptedNames.plural").to_owned();
    let version_of = version_of(server, name);
    let schemas = version_of.clone();
    let schema_of = move |version: &str| {
        let schema = schemas(version)?.at("schema.openAPIV3Schema").clone();
        Some(schema).filter(Value::is_object)
    };
    let versions = custom::resources(definition, schema_of);
    let selectable = selectable(definition);
    let moved = before
        .as_ref()
        .is_some_and(|b| b.plural != plural || b.selectable != selectable);
    if let Some(before) = before.as_ref().filter(|_| moved) {
        // Objects are indexed anew, and watches begin anew.
        server
            .store
            .unregister(&Key::prefix_of(&before.group, &before.plural));
    }
    if before.is_none() || moved {
        register(server, &group, &plural, &versions).await?;
    }
    let terminating = meta::is_terminating(definition);
    let endpoints = endpoints(server, definition, versions, version_of, terminating);
    let served: Vec<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.resource.gvk.version.to_string())
        .collect();
    for endpoint in endpoints {
        server.endpoints.insert(Arc::new(endpoint));
    }
    if let Some(before) = &before {
        for version in &before.versions {
            if !served.contains(version) || before.plural != plural {
                server.endpoints.remove(&group, version, &before.plural);
            }
        }
    }
    Ok(Installed {
        group,
        plural,
        versions: served,
        basis,
        selectable,
    })
}

/// Versions are read out of the bytes that the store's cache holds anyway, when they are needed.
fn version_of(server: &ApiServer, name: &str) -> VersionOf {
    let (group, plural) = custom::DEFINITIONS;
    let entry = server.objects.entry(group, plural, "", name);
    Arc::new(move |version: &str| {
        let definition: Value = serde_json::from_slice(&entry.as_ref()?.json).ok()?;
        custom::version(&definition, version).cloned()
    })
}

async fn register(
    server: &ApiServer,
    group: &str,
    plural: &str,
    versions: &[Version],
) -> Result<(), StartError> {
    let Some(kind) = versions.first().map(|version| version.kind.clone()) else {
        return Ok(());
    };
    let registration = Registration::new(move |bytes: &[u8]| {
        let object = serde_json::from_slice::<Value>(bytes);
        object.map_or_else(
            |_| store::Attributes::default(),
            |object| registry::attributes(&*kind, &object),
        )
    });
    let prefix = Key::prefix_of(group, plural);
    match server.store.register(&prefix, registration).await {
        Ok(()) | Err(RegisterError::Registered(_)) => Ok(()),
        Err(source) => Err(StartError::Load {
            plural: plural.to_owned(),
            source,
        }),
    }
}

fn endpoints(
    server: &Arc<ApiServer>,
    definition: &Value,
    versions: Vec<Version>,
    version_of: VersionOf,
    terminating: bool,
) -> Vec<Endpoint> {
    let tables: HashMap<Box<str>, Arc<LateTable>> = versions
        .iter()
        .filter_map(|version| match &version.resource.types {
            Types::Own(table) => Some((version.resource.gvk.version.clone(), table.clone())),
            Types::Builtin => None,
        })
        .collect();
    let conversion = Arc::new(Conversion::new(
        server,
        definition,
        tables,
        version_of.clone(),
        mark(&basis(definition)),
    ));
    let webhook = definition.text("spec.conversion.strategy") == "Webhook";
    // A definition that was never changed has only objects that its schema has seen.
    let settled = meta::generation(definition) <= 1;
    versions
        .into_iter()
        .filter(|version| version.served)
        .map(|version| {
            let Version {
                resource,
                deprecated,
                kind,
                ..
            } = version;
            let name = resource.gvk.version.clone();
            let kind = RuledKind::new(kind, &name, version_of.clone());
            let resource = Resource {
                strategy: Behaviour::Shared(Arc::new(kind)),
                ..resource
            };
            Endpoint {
                api_version: resource.gvk.api_version(),
                prefix: Key::prefix_of(&resource.storage_group, &resource.storage_plural),
                converts: !settled || resource.storage_version != name,
                form: Some(Arc::new(VersionForm {
                    conversion: conversion.clone(),
                    version: name.clone(),
                })),
                selects_converted: webhook && resource.storage_version != name,
                has_status: resource.has_status(),
                warning: deprecated,
                closing: terminating.then_some(
                    "create not allowed while custom resource definition is terminating",
                ),
                stored: true,
                resource: Held::Shared(Arc::new(resource)),
            }
        })
        .collect()
}
