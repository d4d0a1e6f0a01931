//! Which kinds the server has, by discovery.

use std::collections::HashSet;

use client::Key;
use kube::core::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery};
use kube::discovery::verbs;

use crate::error::{Error, On};

/// A served resource in the first of its group's versions that has it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    verbs: Vec<String>,
}

impl Kind {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|can| can == verb)
    }

    /// Can be listed and watched.
    pub fn is_watchable(&self) -> bool {
        self.can(verbs::LIST) && self.can(verbs::WATCH)
    }
}

/// What discovery told.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// All resources that can be deleted, each once.
    pub deletable: Vec<Kind>,
    /// Groups and versions (`metrics.k8s.io/v1beta1`) whose own server does not answer, so that
    /// what is known of them may be nothing, or old.
    pub stale: Vec<String>,
}

/// Asks for everything that can be deleted.
pub(crate) async fn served(client: &kube::Client) -> Result<Served, Error> {
    let core = client.list_core_api_versions_aggregated().await;
    let core = core.on("discover", "resources", Key::default)?;
    let named = client.list_api_groups_aggregated().await;
    let named = named.on("discover", "resources", Key::default)?;
    Ok(chosen(core.items.into_iter().chain(named.items)))
}

/// Chooses a version for each resource: the first, as versions stand in order of preference. Not
/// every version of a group has all of its resources.
fn chosen(groups: impl IntoIterator<Item = APIGroupDiscovery>) -> Served {
    let mut served = Served::default();
    for group in groups {
        let name = group.metadata.and_then(|meta| meta.name);
        let name = name.unwrap_or_default();
        let mut seen = HashSet::new();
        for version in group.versions {
            let number = version.version.unwrap_or_default();
            let api_version = match name.as_str() {
                "" => number.clone(),
                name => format!("{name}/{number}"),
            };
            if version.freshness.as_deref() == Some("Stale") {
                served.stale.push(api_version.clone());
            }
            for resource in version.resources {
                let plural = resource.resource.clone().unwrap_or_default();
                if seen.insert(plural.clone()) {
                    let resource = kind(resource, &name, &number, &api_version, plural);
                    served.deletable.push(resource);
                }
            }
        }
    }
    served.deletable.retain(|kind| kind.can(verbs::DELETE));
    served.stale.sort();
    served
}

fn kind(
    told: APIResourceDiscovery,
    group: &str,
    version: &str,
    api_version: &str,
    plural: String,
) -> Kind {
    Kind {
        namespaced: told.scope.as_deref() == Some("Namespaced"),
        verbs: told.verbs,
        resource: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: told
                .response_kind
                .and_then(|kind| kind.kind)
                .unwrap_or_default(),
            plural,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_resource_counts_in_the_first_version_that_has_it() {
        let resource = |plural: &str, verbs: Value| {
            json!({"resource": plural, "scope": "Namespaced", "verbs": verbs,
                "responseKind": {"group": "", "version": "", "kind": plural.to_uppercase()}})
        };
        let all = json!(["delete", "list", "watch"]);
        let groups = json!([
            {"metadata": {}, "versions": [{"version": "v1", "freshness": "Current",
                "resources": [resource("pods", all.clone()), resource("bindings", json!(["create"]))]}]},
            {"metadata": {"name": "example.com"}, "versions": [
                {"version": "v1", "freshness": "Current", "resources": [resource("widgets", all.clone())]},
                {"version": "v1beta1", "resources": [
                    resource("gadgets", all.clone()), resource("widgets", all.clone())]},
            ]},
            {"metadata": {"name": "metrics.example.com"}, "versions": [
                {"version": "v1", "freshness": "Stale", "resources": [resource("samples", all)]},
            ]},
        ]);
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(groups).unwrap();
        let served = chosen(groups);
        let found: Vec<_> = served
            .deletable
            .iter()
            .map(|kind| format!("{}/{}", kind.resource.api_version, kind.resource.plural))
            .collect();
        let expected = [
            "v1/pods",
            "example.com/v1/widgets",
            "example.com/v1beta1/gadgets",
            "metrics.example.com/v1/samples",
        ];
        assert_eq!(found, expected);
        assert!(served.deletable.iter().all(|kind| kind.namespaced));
        assert_eq!(served.stale, ["metrics.example.com/v1"]);
    }
}
