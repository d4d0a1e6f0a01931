//! Finds out what became of an object's owners, asks the plan, and carries it out.

use std::sync::Arc;

use client::events::EventType;
use client::informer::Metadata;
use client::queue::WorkQueue;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::monitors::{Found, Monitors};
use super::plan::{self, Dependent, OwnerState, Plan};
use super::{Absent, Item, OWNER_PATIENCE};
use crate::error::{Error, On};
use crate::kinds::Kind;
use crate::kit::Kit;

pub(super) struct Collector {
    pub kit: Kit,
    pub queue: WorkQueue<Item>,
    pub monitors: Arc<Monitors>,
    pub absent: Arc<Absent>,
}

impl Collector {
    pub async fn reconcile(&self, item: &Item) -> Result<(), Error> {
        let (Some(kind), Some(object)) = (self.monitors.kind(&item.kind), self.monitors.get(item))
        else {
            return Ok(());
        };
        let meta = object.meta();
        let mut owners = Vec::new();
        if meta.deletion_timestamp.is_none() {
            for owner in meta.owner_references.iter().flatten() {
                match self.owner_state(item, &kind, &object, owner).await? {
                    Some(state) => owners.push(state),
                    // Nothing can be said about this owner, so nothing is done about the object.
                    None => return Ok(()),
                }
            }
        }
        let uid = meta.uid.as_deref().unwrap_or_default();
        let found = self.monitors.dependents(uid);
        let dependents: Vec<_> = found.iter().map(|found| dependent(found, uid)).collect();
        let api = self.api(item, &kind);
        let plan = plan::plan(meta, &owners, &dependents);
        if matches!(plan, Plan::SetFree | Plan::Finish) && self.monitors.are_filling() {
            // Not all dependents may be known: one overlooked would not be set free, but deleted.
            self.queue.add_after(item.clone(), OWNER_PATIENCE);
            return Ok(());
        }
        match plan {
            Plan::Nothing => Ok(()),
            Plan::CollectDependents => {
                let staying = found
                    .into_iter()
                    .filter(|found| found.object.meta().deletion_timestamp.is_none());
                for dependent in staying {
                    self.queue.add(dependent.item);
                }
                Ok(())
            }
            Plan::SetFree => {
                for dependent in found {
                    self.set_free(&dependent, uid).await?;
                }
                self.drop_finalizer(&api, item, &object, plan::ORPHAN).await
            }
            Plan::Finish => {
                self.drop_finalizer(&api, item, &object, plan::FOREGROUND)
                    .await
            }
            Plan::KeepOwners(owners) => {
                self.patch(&api, item, &object, json!({ "ownerReferences": owners }))
                    .await
            }
            Plan::Delete { policy, unblock } => {
                if unblock {
                    let mut owners = meta.owner_references.clone().unwrap_or_default();
                    for owner in &mut owners {
                        owner.block_owner_deletion = Some(false);
                    }
                    self.patch(&api, item, &object, json!({ "ownerReferences": owners }))
                        .await?;
                }
                self.delete(&api, item, &object, policy).await
            }
        }
    }

    fn api(&self, item: &Item, kind: &Kind) -> Api<Metadata> {
        if kind.namespaced {
            Api::namespaced_with(self.kit.client.clone(), &item.key.namespace, &kind.resource)
        } else {
            Api::all_with(self.kit.client.clone(), &kind.resource)
        }
    }

    /// What became of an owner; none if that cannot be told.
    async fn owner_state(
        &self,
        item: &Item,
        kind: &Kind,
        object: &Metadata,
        owner: &OwnerReference,
    ) -> Result<Option<OwnerState>, Error> {
        let namespace = object.meta().namespace.as_deref();
        let state = |owner: &Metadata| {
            if plan::is_waiting(owner.meta()) {
                OwnerState::Waiting
            } else {
                OwnerState::Solid
            }
        };
        if let Some(found) = self.monitors.owner_in_cache(owner, namespace) {
            return Ok(Some(state(&found.object)));
        }
        if self.absent.contains(owner, namespace) {
            return Ok(Some(OwnerState::Absent));
        }
        let Some((owner_name, owner_kind)) = self.monitors.kind_of(owner) else {
            return Err(Error::Unusable {
                kind: "object with an owner of unknown kind",
                key: item.key.clone(),
                what: format!("no kind {} in {}", owner.kind, owner.api_version),
            });
        };
        if owner_kind.namespaced && namespace.is_none() {
            self.complain(kind, object, owner);
            return Ok(None);
        }
        let owner_item = Item {
            kind: owner_name,
            key: client::Key::new(namespace.unwrap_or_default(), &owner.name),
        };
        let live = self
            .api(&owner_item, &owner_kind)
            .get_opt(&owner.name)
            .await
            .on("get", &owner_item.kind, || owner_item.key.clone())?;
        match live.filter(|live| live.meta().uid.as_deref() == Some(owner.uid.as_str())) {
            Some(live) => Ok(Some(state(&live))),
            None => {
                if self.monitors.has(&owner_item.kind, &owner.uid) {
                    self.complain(kind, object, owner);
                }
                self.absent.missing(owner, namespace);
                Ok(Some(OwnerState::Absent))
            }
        }
    }

    /// The owner lives elsewhere.
    fn complain(&self, kind: &Kind, object: &Metadata, owner: &OwnerReference) {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            owner.api_version, owner.kind, owner.name, owner.uid,
        );
        let about = ObjectReference {
            api_version: Some(kind.resource.api_version.clone()),
            kind: Some(kind.resource.kind.clone()),
            namespace: object.meta().namespace.clone(),
            name: object.meta().name.clone(),
            uid: object.meta().uid.clone(),
            ..ObjectReference::default()
        };
        self.kit.recorder.event(
            about,
            EventType::Warning,
            "OwnerRefInvalidNamespace",
            message,
        );
    }

    /// Takes one owner out of a dependent.
    async fn set_free(&self, dependent: &Found, uid: &str) -> Result<(), Error> {
        let Some(kind) = self.monitors.kind(&dependent.item.kind) else {
            return Ok(());
        };
        let api = self.api(&dependent.item, &kind);
        let owners: Vec<_> = dependent
            .object
            .meta()
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| owner.uid != uid)
            .cloned()
            .collect();
        self.patch(
            &api,
            &dependent.item,
            &dependent.object,
            json!({ "ownerReferences": owners }),
        )
        .await
    }

    async fn drop_finalizer(
        &self,
        api: &Api<Metadata>,
        item: &Item,
        object: &Metadata,
        name: &str,
    ) -> Result<(), Error> {
        let finalizers = plan::without(object.meta(), name);
        self.patch(api, item, object, json!({ "finalizers": finalizers }))
            .await
    }

    /// Patches metadata, given the state it was planned from.
    async fn patch(
        &self,
        api: &Api<Metadata>,
        item: &Item,
        object: &Metadata,
        mut metadata: Value,
    ) -> Result<(), Error> {
        metadata["uid"] = json!(object.meta().uid);
        metadata["resourceVersion"] = json!(object.meta().resource_version);
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let written = api
            .patch(&item.key.name, &PatchParams::default(), &patch)
            .await;
        match written
            .map(drop)
            .on("patch", &item.kind, || item.key.clone())
        {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    async fn delete(
        &self,
        api: &Api<Metadata>,
        item: &Item,
        object: &Metadata,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            // Someone may just have given it another owner.
            preconditions: Some(Preconditions {
                uid: object.meta().uid.clone(),
                resource_version: object.meta().resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match api.delete(&item.key.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error).on("delete", &item.kind, || item.key.clone()),
        }
    }
}

fn dependent(found: &Found, uid: &str) -> Dependent {
    let owners = found
        .object
        .meta()
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let blocks =
        |owner: &OwnerReference| owner.uid == uid && owner.block_owner_deletion == Some(true);
    Dependent {
        blocking: owners.iter().any(blocks),
        waiting: plan::is_waiting(found.object.meta()),
    }
}
