//! Groups, versions and resources, as the legacy lists and the aggregated document.

use std::sync::Arc;

use api::catalog::{Catalog, Group};
use api::meta::join_api_version;
use api::resource::{Gvk, Resource};
use serde_json::{Value, json};

use crate::server::ApiServer;

/// `/`
pub fn paths(catalog: &Catalog) -> Value {
    let mut paths = vec!["/.well-known/openid-configuration".to_owned(), "/api".to_owned()];
    for group in catalog.groups() {
        let root = if group.name.is_empty() {
            "/api".to_owned()
        } else {
            paths.push(format!("/apis/{}", group.name));
            format!("/apis/{}", group.name)
        };
        paths.extend(group.versions.iter().map(|version| format!("{root}/{version}")));
    }
    for path in ["/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"] {
        paths.push(path.to_owned());
    }
    paths.sort();
    json!({"paths": paths})
}

/// `/api`
pub fn core_versions(server: &Arc<ApiServer>) -> Value {
    let config = &server.config;
    let address = std::net::SocketAddr::new(config.advertise_address, config.advertise_port);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
    })
}

fn named<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a Group> {
    catalog.groups().iter().find(|g| *g.name == *name && !g.name.is_empty())
}

fn describe(group: &Group) -> Value {
    let version = |version: &str| {
        json!({"groupVersion": join_api_version(&group.name, version), "version": version})
    };
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(|v| version(v)).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(|v| version(v)),
    })
}

/// `/apis`
pub fn group_list(catalog: &Catalog) -> Value {
    let groups: Vec<Value> =
        catalog.groups().iter().filter(|g| !g.name.is_empty()).map(describe).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    let mut value = describe(named(catalog, name)?);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

/// `/api/v1`, `/apis/GROUP/VERSION`
pub fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut resources: Vec<Value> = Vec::new();
    for resource in catalog.resources_of(group, version) {
        let mut row = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.gvk.kind,
            "verbs": resource.verbs,
        });
        if !resource.short_names.is_empty() {
            row["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            row["categories"] = json!(resource.categories);
        }
        if resource.has_verb("watch") {
            row["storageVersionHash"] = storage_hash(resource).into();
        }
        resources.push(row);
        for subresource in &resource.subresources {
            let mut row = json!({
                "name": format!("{}/{}", resource.plural, subresource.name),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": subresource.body.kind,
                "verbs": subresource.verbs,
            });
            if subresource.body.group != resource.gvk.group || subresource.body.version != resource.gvk.version {
                row["group"] = json!(subresource.body.group);
                row["version"] = json!(subresource.body.version);
            }
            resources.push(row);
        }
    }
    if resources.is_empty() {
        return None;
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": join_api_version(group, version),
        "resources": resources,
    }))
}

/// What clients compare to see that objects rest in another version.
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine as _;
    let text = format!("{}/{}/{}", resource.storage_group, resource.storage_version, resource.gvk.kind);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

fn kind(gvk: &Gvk) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

/// The aggregated document of the core group or of all others.
pub fn aggregated(catalog: &Catalog, core: bool) -> Value {
    let groups: Vec<Value> = catalog
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| {
                    let mut resources: Vec<(&str, Value)> = catalog
                        .resources_of(&group.name, version)
                        .map(|resource| (&*resource.plural, discovered(resource)))
                        .collect();
                    resources.sort_by(|a, b| a.0.cmp(b.0));
                    let resources: Vec<Value> = resources.into_iter().map(|(_, r)| r).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups,
    })
}

fn discovered(resource: &Resource) -> Value {
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.gvk),
        "scope": scope,
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        value["subresources"] = resource
            .subresources
            .iter()
            .map(|s| json!({"subresource": s.name, "responseKind": kind(&s.body), "verbs": s.verbs}))
            .collect();
    }
    value
}
