//! How many pods an owner of pods wants: of the kinds built in from the caches, of all others by their
//! `scale` subresource.

use client::Informer;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::error::status;
use crate::owner::{controller_of, refers_to};
use crate::scale::{self, Resource, Scaled};

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
        let (kind, version) = (&owner.kind, &owner.api_version);
        let resource = Resource::find(&self.client, version, kind).await?;
        let resource = resource
            .ok_or_else(|| format!("no matches for kind {kind:?} in version {version:?}"))?;
        if !resource.scalable {
            return Err(format!(
                "{} does not implement the scale subresource",
                resource.qualified()
            ));
        }
        match Scaled::read(&self.client, &resource, namespace, &owner.name).await {
            Ok(scaled) if scaled.is_of(&owner.uid) => {
                Ok(Some((owner.uid.clone(), scaled.replicas())))
            }
            Ok(_) => Ok(None),
            Err(error) => match status(&error) {
                Some(status) if status.is_not_found() => Ok(None),
                _ => Err(scale::text(&error)),
            },
        }
    }
}
