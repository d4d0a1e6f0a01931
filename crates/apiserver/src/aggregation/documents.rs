//! What aggregated servers tell of themselves, and discovery put together of it and of this server's
//! own. The putting together is pure.

use std::collections::HashMap;
use std::sync::Arc;

use api::catalog::version_rank;
use api::meta::join_api_version;
use api::object::Object;
use serde_json::{Value, json};

use super::worker::ask;
use super::{Backend, openapi};
use crate::server::ApiServer;

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// What a server has told of the version it serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The resources, as the aggregated form has them.
    pub resources: Vec<Value>,
    /// The tag of the answer the resources are from.
    tag: String,
    /// Its OpenAPI.
    pub(super) openapi: openapi::Told,
}

impl Told {
    /// Asks it; what cannot be had now stays as it was known.
    pub(super) async fn ask(
        server: &Arc<ApiServer>,
        backend: &Backend,
        known: Option<&Told>,
    ) -> Told {
        let mut told = known.cloned().unwrap_or_default();
        let mut headers = vec![("accept", DISCOVERY)];
        if !told.tag.is_empty() {
            headers.push(("if-none-match", told.tag.as_str()));
        }
        let answer = ask(server, backend, "/apis", &headers).await;
        let is_list = |kind: &http::HeaderMap| {
            let kind = kind.get("content-type").and_then(|v| v.to_str().ok());
            kind.is_some_and(|k| k.contains("APIGroupDiscoveryList"))
        };
        match answer {
            Ok(answer) if answer.code == 304 => {}
            Ok(answer) if answer.code == 200 && is_list(&answer.headers) => {
                let list = serde_json::from_slice(&answer.body).unwrap_or_default();
                if let Some(resources) = of_list(&list, &backend.group, &backend.version) {
                    told.resources = resources;
                    let tag = answer.headers.get("etag").and_then(|v| v.to_str().ok());
                    told.tag = tag.unwrap_or("").to_owned();
                }
            }
            // A server without the aggregated form.
            _ => {
                let path = format!("/apis/{}/{}", backend.group, backend.version);
                let json = [("accept", "application/json")];
                if let Ok(answer) = ask(server, backend, &path, &json).await
                    && answer.code == 200
                    && let Ok(list) = serde_json::from_slice(&answer.body)
                {
                    told.resources = of_legacy(&list);
                    told.tag = String::new();
                }
            }
        }
        told.openapi = openapi::Told::ask(server, backend, told.openapi).await;
        told
    }
}

/// The resources of a version in an `APIGroupDiscoveryList`.
fn of_list(list: &Value, group: &str, version: &str) -> Option<Vec<Value>> {
    let group = list
        .list("items")
        .iter()
        .find(|g| g.text("metadata.name") == group)?;
    let version = group
        .list("versions")
        .iter()
        .find(|v| v.text("version") == version)?;
    Some(version.list("resources").to_vec())
}

/// The aggregated form of an `APIResourceList`.
fn of_legacy(list: &Value) -> Vec<Value> {
    let kind = |r: &Value| json!({"group": r.text("group"), "version": r.text("version"), "kind": r.text("kind")});
    let mut out: Vec<Value> = Vec::new();
    for resource in list.list("resources") {
        let name = resource.text("name");
        if let Some((parent, sub)) = name.split_once('/') {
            let sub = json!({"subresource": sub, "responseKind": kind(resource), "verbs": resource.at("verbs")});
            if let Some(parent) = out.iter_mut().find(|r| r.text("resource") == parent) {
                let mut subs = parent.list("subresources").to_vec();
                subs.push(sub);
                parent.set("subresources", subs);
            }
            continue;
        }
        let mut value = json!({
            "resource": name,
            "responseKind": kind(resource),
            "scope": if resource.flag("namespaced") { "Namespaced" } else { "Cluster" },
            "singularResource": resource.text("singularName"),
            "verbs": resource.at("verbs"),
        });
        for field in ["shortNames", "categories"] {
            value.restore(field, resource);
        }
        out.push(value);
    }
    out
}

/// A version served elsewhere, for the documents.
pub struct Remote {
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// `groupPriorityMinimum` and `versionPriority`.
    pub priorities: (i64, i64),
    /// What it has told, and whether it can be reached now.
    pub resources: Vec<Value>,
    /// See `resources`.
    pub current: bool,
}

/// The versions served elsewhere.
pub fn remotes(server: &ApiServer) -> Vec<Remote> {
    let Some((_, all)) = server.aggregation.all() else {
        return Vec::new();
    };
    all.into_iter()
        .map(|(backend, told)| Remote {
            group: backend.group.clone(),
            version: backend.version.clone(),
            priorities: backend.priorities,
            resources: told.map_or_else(Vec::new, |told| told.resources.clone()),
            current: backend.available,
        })
        .collect()
}

/// The priority of every group: the highest that any of its APIServices asks for.
pub fn group_priorities(server: &ApiServer) -> HashMap<String, i64> {
    // The aggregator's own group has no APIService, and stands before all others.
    let mut map = HashMap::from([(super::GROUP.to_owned(), i64::MAX)]);
    for object in server.objects.values(super::GROUP, "apiservices", None) {
        let priority = object.int("spec.groupPriorityMinimum").unwrap_or(0);
        let held = map.entry(object.text("spec.group").to_owned()).or_insert(0);
        *held = priority.max(*held);
    }
    map
}

/// Puts the versions served elsewhere into a list of groups. `name` finds a group's name in its
/// entry, `make` an entry's beginning, `version` what stands for a version.
fn merge(
    own: Vec<Value>,
    remotes: &[Remote],
    priorities: &HashMap<String, i64>,
    form: &Form,
) -> Vec<Value> {
    let mut groups = own;
    for remote in remotes {
        let at = groups
            .iter()
            .position(|g| g.text(form.name) == remote.group);
        let at = at.unwrap_or_else(|| {
            groups.push((form.group)(&remote.group));
            groups.len() - 1
        });
        let group = &mut groups[at];
        let mut versions = group.list("versions").to_vec();
        versions.retain(|v| v.text("version") != remote.version);
        versions.push((form.version)(remote));
        let rank = |v: &Value| {
            let name = v.text("version");
            let priority = remotes
                .iter()
                .find(|r| r.group == remote.group && r.version == name)
                .map_or(0, |r| r.priorities.1);
            (std::cmp::Reverse(priority), version_rank(name))
        };
        versions.sort_by_key(rank);
        group.set("versions", versions);
    }
    // Groups of equal priority stand by name, as upstream sorts them.
    groups.sort_by_key(|g| {
        let name = g.text(form.name);
        let priority = priorities.get(name).copied().unwrap_or(0);
        (std::cmp::Reverse(priority), name.to_owned())
    });
    groups
}

struct Form {
    name: &'static str,
    group: fn(&str) -> Value,
    version: fn(&Remote) -> Value,
}

/// `/apis` in the aggregated form.
pub fn aggregated(own: Value, remotes: &[Remote], priorities: &HashMap<String, i64>) -> Value {
    let form = Form {
        name: "metadata.name",
        group: |name| json!({"metadata": {"name": name}}),
        version: |remote| {
            json!({
                "version": remote.version,
                "resources": remote.resources,
                "freshness": if remote.current { "Current" } else { "Stale" },
            })
        },
    };
    let mut own = own;
    let groups = merge(own.list("items").to_vec(), remotes, priorities, &form);
    own.set("items", groups);
    own
}

/// `/apis` in the older form.
pub fn legacy(own: Value, remotes: &[Remote], priorities: &HashMap<String, i64>) -> Value {
    let form = Form {
        name: "name",
        group: |name| json!({"name": name}),
        version: |remote| {
            json!({
                "groupVersion": join_api_version(&remote.group, &remote.version),
                "version": remote.version,
            })
        },
    };
    let mut own = own;
    let mut groups = merge(own.list("groups").to_vec(), remotes, priorities, &form);
    for group in &mut groups {
        if let Some(first) = group.list("versions").first().cloned() {
            group.set("preferredVersion", first);
        }
    }
    own.set("groups", groups);
    own
}

/// `/apis/GROUP`; none where nobody serves the group.
pub fn group(own: Option<Value>, name: &str, remotes: &[Remote]) -> Option<Value> {
    if !remotes.iter().any(|r| r.group == name) {
        return own;
    }
    let list = json!({"groups": own.into_iter().collect::<Vec<_>>()});
    let remotes: Vec<&Remote> = remotes.iter().filter(|r| r.group == name).collect();
    let owned: Vec<Remote> = remotes
        .into_iter()
        .map(|r| Remote {
            group: r.group.clone(),
            version: r.version.clone(),
            priorities: r.priorities,
            resources: Vec::new(),
            current: r.current,
        })
        .collect();
    let merged = legacy(list, &owned, &HashMap::new());
    let mut group = merged.list("groups").first()?.clone();
    group.set("kind", "APIGroup");
    group.set("apiVersion", "v1");
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(group: &str, version: &str, priority: i64) -> Remote {
        Remote {
            group: group.to_owned(),
            version: version.to_owned(),
            priorities: (2000, priority),
            resources: vec![json!({"resource": "flunders"})],
            current: version != "v1beta1",
        }
    }

    #[test]
    fn groups_from_elsewhere_stand_where_their_priority_puts_them() {
        let priorities = HashMap::from([
            ("apps".to_owned(), 17800),
            ("example.com".to_owned(), 2000),
            ("crd.example.com".to_owned(), 1000),
        ]);
        let remotes = [
            remote("example.com", "v1beta1", 20),
            remote("example.com", "v1alpha1", 200),
        ];
        let own = json!({"kind": "APIGroupList", "groups": [
            {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]},
            {"name": "crd.example.com", "versions": [{"groupVersion": "crd.example.com/v1", "version": "v1"}]}]});
        let found = legacy(own, &remotes, &priorities);
        let names: Vec<&str> = found
            .list("groups")
            .iter()
            .map(|g| g.text("name"))
            .collect();
        assert_eq!(names, ["apps", "example.com", "crd.example.com"]);
        let group = &found["groups"][1];
        assert_eq!(
            group["preferredVersion"]["groupVersion"],
            "example.com/v1alpha1"
        );
        let own = json!({"items": [{"metadata": {"name": "apps"}, "versions": []}]});
        let found = aggregated(own, &remotes, &priorities);
        let versions = &found["items"][1]["versions"];
        assert_eq!(versions[0]["resources"][0]["resource"], "flunders");
        assert_eq!(versions[0]["freshness"], "Current");
        assert_eq!(versions[1]["freshness"], "Stale");
        let alone = group_of(&remotes);
        assert_eq!(alone["kind"], "APIGroup");
        assert_eq!(alone["versions"][0]["version"], "v1alpha1");
    }

    fn group_of(remotes: &[Remote]) -> Value {
        assert!(group(None, "other", remotes).is_none());
        group(None, "example.com", remotes).unwrap()
    }

    #[test]
    fn the_older_form_is_as_good() {
        let list = json!({"kind": "APIResourceList", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["patch"]}]});
        let found = of_legacy(&list);
        assert_eq!(
            found,
            [
                json!({"resource": "flunders", "singularResource": "flunder", "scope": "Namespaced",
                "responseKind": {"group": "", "version": "", "kind": "Flunder"}, "verbs": ["get"], "shortNames": ["fl"],
                "subresources": [{"subresource": "status", "verbs": ["patch"],
                    "responseKind": {"group": "", "version": "", "kind": "Flunder"}}]})
            ]
        );
    }
}
