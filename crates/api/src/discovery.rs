//! Discovery documents: what is served, in the legacy form and in the aggregated one. The functions
//! take what to list, so that custom resources are listed as built-in ones are.

use base64::{Engine, prelude::BASE64_STANDARD};
use schema::Value;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::{
    catalog::{Catalog, Group},
    meta::join_api_version,
    resource::{Gvk, Resource, Subresource},
};

/// `/api`.
pub fn core_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

fn versions(group: &Group) -> Map<String, Value> {
    let entry = |version: &str| json!({"groupVersion": join_api_version(&group.name, version), "version": version});
    let mut map = Map::new();
    map.insert("name".to_owned(), (*group.name).into());
    map.insert(
        "versions".to_owned(),
        group
            .versions
            .iter()
            .map(|version| entry(version))
            .collect(),
    );
    if let Some(preferred) = group.versions.first() {
        map.insert("preferredVersion".to_owned(), entry(preferred));
    }
    map
}

/// `/apis/GROUP`.
pub fn group(group: &Group) -> Value {
    let mut map = versions(group);
    map.insert("kind".to_owned(), "APIGroup".into());
    map.insert("apiVersion".to_owned(), "v1".into());
    Value::Object(map)
}

/// `/apis`.
pub fn groups<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Value {
    let named = groups.into_iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.map(|group| Value::Object(versions(group))).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources<'a>(
    group: &str,
    version: &str,
    resources: impl IntoIterator<Item = &'a Resource>,
) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for resource in resources {
        list.push(legacy(resource));
        list.extend(
            resource
                .subresources
                .iter()
                .map(|sub| legacy_sub(resource, sub)),
        );
    }
    let group_version = join_api_version(group, version);
    if group.is_empty() {
        return json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list});
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

fn legacy(resource: &Resource) -> Value {
    let mut value = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.gvk.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if resource.has_verb("watch") {
        value["storageVersionHash"] = storage_hash(resource).into();
    }
    value
}

fn legacy_sub(resource: &Resource, sub: &Subresource) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", resource.plural, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.body.kind,
        "verbs": sub.verbs,
    });
    if differs(resource, &sub.body) {
        value["group"] = (*sub.body.group).into();
        value["version"] = (*sub.body.version).into();
    }
    value
}

fn differs(resource: &Resource, body: &Gvk) -> bool {
    body.group != resource.gvk.group || body.version != resource.gvk.version
}

/// A short mark of the version that objects rest in.
pub fn storage_hash(resource: &Resource) -> String {
    let gvk = &resource.gvk;
    // Upstream keeps definitions of custom resources in a version that it no longer serves.
    let version = if &*gvk.kind == "CustomResourceDefinition" {
        "v1beta1"
    } else {
        &*resource.storage_version
    };
    let digest = Sha256::digest(format!("{}/{version}/{}", resource.storage_group, gvk.kind));
    BASE64_STANDARD.encode(&digest[..8])
}

/// One version of a group, for the aggregated form.
pub struct Version<'a> {
    /// `v1`.
    pub name: &'a str,
    /// Its resources.
    pub resources: Vec<&'a Resource>,
    /// Is what is known of it fresh (`Current`), or is its server out of reach (`Stale`)?
    pub current: bool,
}

/// The aggregated form of `/api` (the core group) and `/apis` (all others).
pub fn aggregated<'a>(groups: impl IntoIterator<Item = (&'a str, Vec<Version<'a>>)>) -> Value {
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(name, versions)| {
            let metadata = if name.is_empty() {
                json!({})
            } else {
                json!({"name": name})
            };
            let versions: Vec<Value> = versions.iter().map(aggregated_version).collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(version: &Version<'_>) -> Value {
    let resources: Vec<Value> = version
        .resources
        .iter()
        .map(|resource| aggregated_resource(resource))
        .collect();
    let freshness = if version.current { "Current" } else { "Stale" };
    json!({"version": version.name, "freshness": freshness, "resources": resources})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": kind("", "", &resource.gvk.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            let body = &sub.body;
            let (group, version) = if differs(resource, body) {
                (&*body.group, &*body.version)
            } else {
                ("", "")
            };
            json!({
                "subresource": sub.name,
                "responseKind": kind(group, version, &body.kind),
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        value["subresources"] = Value::Array(subresources);
    }
    value
}

/// The aggregated form of all built-in groups: the core group alone, or all but it.
pub fn aggregated_builtin(catalog: &Catalog, core: bool) -> Value {
    let groups = catalog
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core);
    aggregated(groups.map(|group| {
        let versions = group.versions.iter().map(|version| Version {
            name: version,
            resources: catalog.resources_of(&group.name, version).collect(),
            current: true,
        });
        (&*group.name, versions.collect())
    }))
}
