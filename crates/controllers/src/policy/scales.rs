//! How many pods an owner of pods wants: of the kinds built in from the caches, of all others by their
//! `scale` subresource.

use client::{Informer, Key};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, ObjectMeta, OwnerReference};

use crate::error::{Error, On, status};
use crate::owner::{controller_of, refers_to};

/// Who wants how many: two ReplicaSets of one Deployment are one owner.
pub(super) type Wanted = (String, i32);

pub(super) struct Scales {
    pub client: kube::Client,
    pub sets: Informer<ReplicaSet>,
    pub deployments: Informer<Deployment>,
    pub stateful: Informer<StatefulSet>,
    pub replicated: Informer<ReplicationController>,
}

fn is(meta: &ObjectMeta, owner: &OwnerReference) -> bool {
    meta.uid.as_deref() == Some(owner.uid.as_str())
}

impl Scales {
    /// None if the owner is not there; an error says why there is no telling.
    pub async fn of(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<Wanted>, String> {
        let name = &owner.name;
        let wanted = |replicas: Option<i32>| Some((owner.uid.clone(), replicas.unwrap_or(1)));
        if refers_to::<ReplicaSet>(owner) {
            let set = self.sets.store().get(namespace, name);
            let Some(set) = set.filter(|set| is(&set.metadata, owner)) else {
                return Ok(None);
            };
            let above = controller_of(&set.metadata).filter(|above| refers_to::<Deployment>(above));
            if let Some(above) = above {
                let deployment = self.deployments.store().get(namespace, &above.name);
                let deployment = deployment.filter(|found| is(&found.metadata, above));
                return Ok(deployment.map(|deployment| {
                    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                    (above.uid.clone(), replicas.unwrap_or(1))
                }));
            }
            return Ok(wanted(set.spec.as_ref().and_then(|spec| spec.replicas)));
        }
        if refers_to::<StatefulSet>(owner) {
            let set = self.stateful.store().get(namespace, name);
            let set = set.filter(|set| is(&set.metadata, owner));
            return Ok(set.and_then(|set| wanted(set.spec.as_ref().and_then(|s| s.replicas))));
        }
        if refers_to::<ReplicationController>(owner) {
            let found = self.replicated.store().get(namespace, name);
            let found = found.filter(|found| is(&found.metadata, owner));
            return Ok(found.and_then(|found| wanted(found.spec.as_ref().and_then(|s| s.replicas))));
        }
        self.by_subresource(namespace, owner).await
    }

    async fn by_subresource(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<Wanted>, String> {
        let version = owner.api_version.as_str();
        let list = match version.contains('/') {
            true => self.client.list_api_group_resources(version).await,
            false => self.client.list_core_api_resources(version).await,
        };
        let list = match list.on("discover", "resources", || Key::new("", version)) {
            Err(error) if error.is_not_found() => APIResourceList::default(),
            list => list.map_err(|error: Error| error.api_message())?,
        };
        let plural = scalable(&list, owner)?;
        let root = if version.contains('/') { "apis" } else { "api" };
        let path = format!(
            "/{root}/{version}/namespaces/{namespace}/{plural}/{}/scale",
            owner.name
        );
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        match self.client.request::<Scale>(request).await {
            Ok(scale) if is(&scale.metadata, owner) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas);
                Ok(Some((owner.uid.clone(), replicas.unwrap_or_default())))
            }
            Ok(_) => Ok(None),
            Err(error) => match status(&error) {
                Some(status) if status.is_not_found() => Ok(None),
                Some(status) => Err(status.message.clone()),
                None => Err(error.to_string()),
            },
        }
    }
}

/// The resource of the owner's kind, if it can be scaled.
fn scalable<'a>(list: &'a APIResourceList, owner: &OwnerReference) -> Result<&'a str, String> {
    let (kind, version) = (&owner.kind, &owner.api_version);
    let found = list
        .resources
        .iter()
        .find(|resource| resource.kind == *kind && !resource.name.contains('/'));
    let plural = found
        .map(|resource| resource.name.as_str())
        .ok_or_else(|| format!("no matches for kind {kind:?} in version {version:?}"))?;
    let scale = format!("{plural}/scale");
    if list.resources.iter().any(|resource| resource.name == scale) {
        return Ok(plural);
    }
    let qualified = version
        .split_once('/')
        .map_or(plural.to_owned(), |(group, _)| format!("{plural}.{group}"));
    Err(format!(
        "{qualified} does not implement the scale subresource"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_be_scaled() {
        let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "kind": kind, "namespaced": true, "verbs": []});
        let list = json!({"groupVersion": "batch/v1", "resources": [
            resource("jobs", "Job"), resource("jobs/status", "Job"),
            resource("robots", "Robot"), resource("robots/scale", "Scale"),
        ]});
        let list: APIResourceList = serde_json::from_value(list).unwrap();
        let cases = [
            ("Robot", Ok("robots")),
            (
                "Job",
                Err("jobs.batch does not implement the scale subresource"),
            ),
            (
                "Toy",
                Err("no matches for kind \"Toy\" in version \"batch/v1\""),
            ),
        ];
        for (kind, expected) in cases {
            let owner = OwnerReference {
                api_version: "batch/v1".into(),
                kind: kind.into(),
                ..OwnerReference::default()
            };
            let found = scalable(&list, &owner);
            assert_eq!(found, expected.map_err(str::to_owned), "{kind}");
        }
    }
}
