//! ReplicaSet and ReplicationController: keep a number of pods of one template. One engine for both;
//! [`Replicated`] says where they differ.

mod plan;
mod rest;
mod status;

use std::sync::Arc;

use client::controller::Requeue;
use client::events::reference;
use client::informer::Store;
use client::{Informer, Key, Scope};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::core::Selector;
use serde_json::Value;

use crate::error::Error;
use crate::expectations::Expectations;
use crate::kit::{GATHER, Kit, requeue, sooner};
use crate::owner::{self, Owner};
use crate::pods;
use crate::write;

use self::rest::Rests;

/// A kind that keeps replicas of one pod template.
pub(crate) trait Replicated: Owner {
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Value;
    /// Does the kind's status have `terminatingReplicas`?
    const COUNTS_TERMINATING: bool;
    /// Owners that share this one's controller: their pods crowd a node together.
    fn siblings(&self, all: &Store<Self>) -> Vec<String>;
}

impl Owner for ReplicaSet {
    fn selector(&self) -> Option<Selector> {
        owner::selector_of(&self.spec.as_ref()?.selector)
    }
}

impl Replicated for ReplicaSet {
    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Value {
        write::json_of(&self.status)
    }

    const COUNTS_TERMINATING: bool = true;

    fn siblings(&self, all: &Store<Self>) -> Vec<String> {
        let uid = |set: &Self| set.metadata.uid.clone();
        match owner::controller_of(&self.metadata) {
            Some(parent) => all
                .owned_by(&parent.uid)
                .iter()
                .filter_map(|set| uid(set))
                .collect(),
            None => uid(self).into_iter().collect(),
        }
    }
}

impl Owner for ReplicationController {
    fn selector(&self) -> Option<Selector> {
        let labels = self.spec.as_ref()?.selector.clone();
        owner::selector_of(&LabelSelector {
            match_labels: labels,
            ..LabelSelector::default()
        })
    }
}

impl Replicated for ReplicationController {
    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Value {
        write::json_of(&self.status)
    }

    const COUNTS_TERMINATING: bool = false;

    fn siblings(&self, _: &Store<Self>) -> Vec<String> {
        self.metadata.uid.clone().into_iter().collect()
    }
}

struct Engine<K> {
    kit: Kit,
    sets: Informer<K>,
    pods: Informer<Pod>,
    expectations: Expectations,
    rests: Rests,
}

/// Runs the controller of one of the two kinds until the shutdown.
pub(crate) async fn run<K: Replicated>(kit: Kit) {
    let sets = kit.informers.get::<K>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&sets).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow_own(&sets, &queue);
    let owners = sets.store().clone();
    kit.follow_within(GATHER, &pods, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let engine = Arc::new(Engine {
        kit: kit.clone(),
        sets,
        pods,
        expectations: Expectations::default(),
        rests: Rests::default(),
    });
    kit.run(queue, move |key| {
        let engine = engine.clone();
        async move { engine.reconcile(&key).await }
    })
    .await;
}

impl<K: Replicated> Engine<K> {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(set) = self.sets.store().get_key(key) else {
            self.expectations.forget(key);
            self.rests.forget(key);
            return Ok(Requeue::OnChange);
        };
        let Some(selector) = set.selector() else {
            return Ok(Requeue::OnChange);
        };
        let now = self.kit.now();
        let waiting = self.expectations.outstanding(key, self.pods.store(), now);
        let generation = set.meta().generation;
        if let Some(left) = self.rests.left(key, generation, waiting.is_some(), now) {
            return Ok(Requeue::After(left));
        }
        // Who has ended is neither taken over nor let go.
        let mut pods = owner::claimed_of(
            &self.kit,
            &*set,
            &selector,
            self.pods.store(),
            pods::is_active,
        )
        .await?;
        let (mut acted, mut failure) = (waiting.is_some(), None);
        if waiting.is_none() && set.meta().deletion_timestamp.is_none() {
            (acted, failure) = self.manage(key, &set, &pods).await;
        }
        let uid = set.meta().uid.as_deref().unwrap_or_default();
        let leaving = self.pods.store().owned_by(uid).into_iter();
        pods.extend(leaving.filter(|pod| {
            pods::is_terminating(pod)
                && owner::claim(set.meta(), &selector, &pod.metadata) == owner::Claim::Keep
        }));
        let counted = status::count(&*set, &pods, now);
        self.rests
            .looked(key, generation, pods.len(), acted, self.kit.now());
        let old = set.status();
        let new = status::next(&*set, &old, &counted, failure.as_ref(), &self.kit.time());
        let api: Api<K> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, &*set, &old, &new).await {
            Ok(_) => {}
            // The change that made it stale brings the key back.
            Err(error) if failure.is_none() && (error.is_conflict() || error.is_not_found()) => {}
            Err(error) => return Err(error),
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(requeue(sooner(waiting, counted.next_available))),
        }
    }

    /// Creates or deletes pods; answers whether there was need to, and the first failure.
    async fn manage(&self, key: &Key, set: &K, pods: &[Arc<Pod>]) -> (bool, Option<Error>) {
        let now = self.kit.now();
        let crowd = || {
            let siblings = set.siblings(self.sets.store());
            siblings
                .iter()
                .flat_map(|uid| self.pods.store().owned_by(uid))
                .collect::<Vec<_>>()
        };
        match plan::plan(set.replicas(), pods, crowd, now) {
            plan::Plan::Nothing => (false, None),
            plan::Plan::Create(count) => {
                let Some(template) = set.template() else {
                    return (false, None);
                };
                let name = set.meta().name.as_deref().unwrap_or_default();
                let pod = pods::from_template(
                    template,
                    &key.namespace,
                    &pods::name_prefix(name),
                    owner::controller_ref(set),
                );
                let about = reference(set);
                let create = |()| async {
                    let created = pods::create(&self.kit, &about, &pod).await?;
                    self.expectations.wrote(key, &created, self.kit.now());
                    Ok(())
                };
                let failure = pods::slow_start(vec![(); count], create).await.1;
                // Nothing can be created in a namespace that goes, which is no failure of ours.
                (
                    true,
                    failure.filter(|error| !error.is_namespace_terminating()),
                )
            }
            plan::Plan::Delete(victims) => {
                let about = reference(set);
                let delete = |pod: Arc<Pod>| {
                    let about = &about;
                    async move {
                        pods::delete(&self.kit, about, &pod).await?;
                        self.expectations.deleted(key, &*pod, self.kit.now());
                        Ok(())
                    }
                };
                let deleted = futures::future::join_all(victims.into_iter().map(delete)).await;
                (true, deleted.into_iter().find_map(Result::err))
            }
        }
    }
}
