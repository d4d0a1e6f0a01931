//! Deployment: a ReplicaSet per pod template, and the move from one to the next.

mod plan;
mod revision;
mod rollback;
mod rollout;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use self::rollout::scaled;

use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::core::Selector;
use serde_json::json;

use self::plan::{Action, Plan};
use self::rollback::Rollback;
use self::status::Outcome;
use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::kit::{GATHER, Kit, requeue};
use crate::owner::{self, Owner};
use crate::pods;
use crate::write;

impl Owner for Deployment {
    fn selector(&self) -> Option<Selector> {
        owner::selector_of(&self.spec.as_ref()?.selector)
    }
}

struct Controller {
    kit: Kit,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    expectations: Expectations,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let deployments = kit.informers.get::<Deployment>(Scope::All);
    let sets = kit.informers.get::<ReplicaSet>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&deployments).await && kit.synced(&sets).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow_own(&deployments, &queue);
    let owners = deployments.store().clone();
    kit.follow_within(GATHER, &sets, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let (owners, between) = (deployments.store().clone(), sets.store().clone());
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        // Only Recreate waits for pods, and only for their end.
        let pod = change.object();
        if !change.is_deleted() && !pods::is_terminal(pod) {
            return None;
        }
        let namespace = pod.metadata.namespace.as_deref()?;
        let set = between.get(namespace, &owner::controller_of(&pod.metadata)?.name)?;
        let deployment = owners.get(namespace, &owner::controller_of(&set.metadata)?.name)?;
        rollout::is_recreate(&deployment).then(|| Key::of(&*deployment))
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        deployments,
        sets,
        pods,
        expectations: Expectations::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(deployment) = self.deployments.store().get_key(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::OnChange);
        };
        let Some(selector) = deployment.selector() else {
            self.kit.recorder.on(
                &*deployment,
                EventType::Warning,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Requeue::OnChange);
        };
        if let Some(wait) = self
            .expectations
            .outstanding(key, self.sets.store(), self.kit.now())
        {
            return Ok(Requeue::After(wait));
        }
        let sets = owner::claimed(&self.kit, &*deployment, &selector, self.sets.store()).await?;
        let plan = plan::plan(&deployment, &sets, |set| {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            self.pods
                .store()
                .owned_by(uid)
                .iter()
                .any(|pod| !pods::is_terminal(pod))
        });
        let (outcome, failure) = self.execute(key, &deployment, &plan).await;
        let now = self.kit.time();
        let next = status::next(&deployment, &sets, plan.new.as_deref(), &outcome, &now);
        let api: Api<Deployment> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let has_set = matches!(outcome, Outcome::Nothing | Outcome::Created { .. });
        let annotations = plan
            .revision
            .filter(|revision| {
                has_set && revision::of(&deployment.metadata) != Some(revision.as_str())
            })
            .map(|revision| json!({ revision::REVISION: revision }));
        write::status_and_annotations(
            &api,
            &*deployment,
            &deployment.status,
            &Some(next.status),
            annotations,
        )
        .await?;
        match failure {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(requeue(next.again)),
        }
    }

    async fn execute(
        &self,
        key: &Key,
        deployment: &Deployment,
        plan: &Plan,
    ) -> (Outcome, Option<Error>) {
        let api: Api<ReplicaSet> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let mut outcome = Outcome::Nothing;
        for action in &plan.actions {
            let result = match action {
                Action::Create(set) => match self.create(&api, key, deployment, set).await {
                    Ok(created) => {
                        outcome = created;
                        Ok(())
                    }
                    Err(error) => {
                        outcome = if error.is_namespace_terminating() {
                            Outcome::NamespaceGoing
                        } else {
                            let name = set.metadata.name.clone().unwrap_or_default();
                            let message = error.api_message();
                            Outcome::Failed { name, message }
                        };
                        Err(error)
                    }
                },
                Action::Update { set, patch, scaled } => {
                    write::merge(&api, set, patch.clone()).await.map(|written| {
                        self.expectations.wrote(key, &written, self.kit.now());
                        if let Some((from, to)) = scaled {
                            let direction = if from < to { "up" } else { "down" };
                            let name = set.metadata.name.as_deref().unwrap_or_default();
                            self.tell(
                                deployment,
                                format!(
                                    "Scaled {direction} replica set {name} from {from} to {to}"
                                ),
                            );
                        }
                    })
                }
                Action::Delete(set) => {
                    let deleted = write::delete(&api, &**set, None, None).await;
                    if deleted.is_ok() {
                        self.expectations.deleted(key, &**set, self.kit.now());
                    }
                    deleted
                }
                Action::Rollback(rollback) => self.roll_back(key, deployment, rollback).await,
            };
            if let Err(error) = result {
                return (outcome, Some(error));
            }
        }
        (outcome, None)
    }

    /// Creates the new ReplicaSet. Its name is made of the template's hash, so an existing one is
    /// either ours (an earlier try) or another template of the same hash.
    async fn create(
        &self,
        api: &Api<ReplicaSet>,
        key: &Key,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<Outcome, Error> {
        let name = set.metadata.name.clone().unwrap_or_default();
        let set_key = || Key::new(&key.namespace, &name);
        let created =
            api.create(&PostParams::default(), set)
                .await
                .on("create", "replicaset", set_key);
        match created {
            Ok(created) => {
                self.expectations.wrote(key, &created, self.kit.now());
                let replicas = created
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.replicas)
                    .unwrap_or_default();
                if replicas > 0 {
                    self.tell(
                        deployment,
                        format!("Scaled up replica set {name} from 0 to {replicas}"),
                    );
                }
                Ok(Outcome::Created { name })
            }
            Err(error) if error.is_already_exists() => {
                let live = api.get(&name).await.on("get", "replicaset", set_key)?;
                let ours = owner::controller_of(&live.metadata)
                    .is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref());
                if ours && revision::same_template(deployment, &live) {
                    self.expectations.wrote(key, &live, self.kit.now());
                    Ok(Outcome::Nothing)
                } else {
                    Ok(Outcome::Collision)
                }
            }
            Err(error) => {
                if !error.is_namespace_terminating() {
                    let message = format!(
                        "Failed to create new replica set {name:?}: {}",
                        error.api_message()
                    );
                    self.kit.recorder.on(
                        deployment,
                        EventType::Warning,
                        "ReplicaSetCreateError",
                        message,
                    );
                }
                Err(error)
            }
        }
    }

    async fn roll_back(
        &self,
        key: &Key,
        deployment: &Deployment,
        rollback: &Rollback,
    ) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        api.replace(&key.name, &PostParams::default(), &rollback.deployment)
            .await
            .on("update", "deployment", || key.clone())?;
        let message = rollback.message.clone();
        self.kit
            .recorder
            .on(deployment, rollback.kind, rollback.reason, message);
        Ok(())
    }

    fn tell(&self, deployment: &Deployment, message: String) {
        self.kit
            .recorder
            .on(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }
}
