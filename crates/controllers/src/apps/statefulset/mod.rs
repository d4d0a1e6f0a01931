//! StatefulSet: pods with names that stay, each with its own storage, made and replaced in order.

mod identity;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::Api;
use kube::api::PostParams;
use kube::core::Selector;

use self::plan::{Revisions, Step};
use super::history::{self, History, Revised};
use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::kit::{Kit, requeue};
use crate::owner::{self, Owner};
use crate::write;

impl Owner for StatefulSet {
    fn selector(&self) -> Option<Selector> {
        owner::selector_of(&self.spec.as_ref()?.selector)
    }
}

impl Revised for StatefulSet {
    const LABEL: &'static str = "controller.kubernetes.io/hash";
}

struct Controller {
    kit: Kit,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    pod_writes: Expectations,
    revision_writes: Expectations,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let sets = kit.informers.get::<StatefulSet>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let revisions = kit.informers.get::<ControllerRevision>(Scope::All);
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&sets).await
        && kit.synced(&pods).await
        && kit.synced(&claims).await
        && kit.synced(&revisions).await;
    if !synced {
        return;
    }
    kit.follow_own(&sets, &queue);
    let owners = sets.store().clone();
    kit.follow(&pods, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let owners = sets.store().clone();
    kit.follow(&revisions, &queue, move |change| {
        owner::owners_of(&change, &owners)
    });
    let owners = sets.store().clone();
    kit.follow(
        &claims,
        &queue,
        move |change: Change<PersistentVolumeClaim>| {
            // A pod may wait for the claim that is in its place to be gone.
            let meta = &change.object().metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let sets = match change.is_deleted() {
                true => owners.list_in(namespace),
                false => Vec::new(),
            };
            let name = meta.name.as_deref().unwrap_or_default();
            let concerned = sets.iter().filter(|set| identity::names_claim(set, name));
            concerned.map(|set| Key::of(&**set)).collect::<Vec<_>>()
        },
    );
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        sets,
        pods,
        claims,
        revisions,
        pod_writes: Expectations::default(),
        revision_writes: Expectations::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(set) = self.sets.store().get_key(key) else {
            self.pod_writes.forget(key);
            self.revision_writes.forget(key);
            return Ok(Requeue::OnChange);
        };
        let (Some(selector), Some(spec)) = (set.selector(), &set.spec) else {
            return Ok(Requeue::OnChange);
        };
        let now = self.kit.now();
        if let Some(wait) = self
            .revision_writes
            .outstanding(key, self.revisions.store(), now)
        {
            return Ok(Requeue::After(wait));
        }
        if let Some(wait) = self.pod_writes.outstanding(key, self.pods.store(), now) {
            return Ok(Requeue::After(wait));
        }
        if set.metadata.deletion_timestamp.is_some() {
            return self.report(key, &set, &selector).await;
        }
        let collisions = set
            .status
            .as_ref()
            .and_then(|status| status.collision_count);
        let history = history::sync(
            &self.kit,
            &*set,
            &selector,
            &spec.template,
            collisions,
            self.revisions.store(),
            &self.revision_writes,
        )
        .await?;
        let Some(history) = history else {
            return Ok(Requeue::OnChange);
        };
        let pods = self.members(&set, &selector).await?;
        let current = current(&set, &history);
        let names = Revisions {
            current: current.metadata.name.as_deref().unwrap_or_default(),
            update: history.current.metadata.name.as_deref().unwrap_or_default(),
        };
        let mut plan = plan::plan(&set, &pods, names, now);
        if history.collisions.is_some() {
            plan.steps.clear();
            plan.status.collision_count = history.collisions;
        }
        let mut failure = self.own_claims(key, &set, &pods).await.err();
        for step in plan.steps.iter().filter(|_| failure.is_none()) {
            if let Err(error) = self.execute(key, &set, step, &current, &history).await {
                failure = Some(error);
                break;
            }
        }
        let api: Api<StatefulSet> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, &*set, &set.status, &Some(plan.status)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(failure.unwrap_or(error)),
        }
        if let Some(error) = failure.filter(|error| !error.is_namespace_terminating()) {
            return Err(error);
        }
        let limit = spec.revision_history_limit.unwrap_or(10);
        let in_use = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_deref();
            name == Some(names.current) || pods.iter().any(|pod| identity::revision(pod) == name)
        };
        history::prune(
            &self.kit,
            &key.namespace,
            &history.old,
            limit,
            false,
            in_use,
        )
        .await?;
        Ok(requeue(plan.again))
    }

    /// The set's pods. Of those that nobody controls it takes only such as have a name of its own.
    async fn members(
        &self,
        set: &StatefulSet,
        selector: &Selector,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let is_member = |pod: &Pod| identity::ordinal(set, pod).is_some();
        owner::claimed_of(&self.kit, set, selector, self.pods.store(), is_member).await
    }

    /// A set that is being deleted makes and deletes nothing, not even revisions, and says what is
    /// left.
    async fn report(
        &self,
        key: &Key,
        set: &StatefulSet,
        selector: &Selector,
    ) -> Result<Requeue, Error> {
        let names = set.status.as_ref().and_then(|status| {
            Some(Revisions {
                current: status.current_revision.as_deref()?,
                update: status.update_revision.as_deref()?,
            })
        });
        let Some(names) = names else {
            return Ok(Requeue::OnChange);
        };
        let pods = self.members(set, selector).await?;
        let plan = plan::plan(set, &pods, names, self.kit.now());
        let api: Api<StatefulSet> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, set, &set.status, &Some(plan.status)).await {
            Err(error) if !(error.is_conflict() || error.is_not_found()) => Err(error),
            _ => Ok(requeue(plan.again)),
        }
    }

    async fn execute(
        &self,
        key: &Key,
        set: &StatefulSet,
        step: &Step,
        current: &ControllerRevision,
        history: &History,
    ) -> Result<(), Error> {
        let now = self.kit.now();
        match step {
            Step::Claims(ordinal) => self.ensure_claims(key, set, *ordinal).await,
            Step::Relabel(pod) => {
                let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let labels = identity::labels(set, pod);
                let patch = serde_json::json!({"metadata": {"labels": labels}});
                let written = write::merge(&api, &**pod, patch).await;
                let error = written.as_ref().err();
                self.tell(set, "Update", &format!("Pod {name} in"), error);
                self.pod_writes.wrote(key, &written?, now);
                Ok(())
            }
            Step::Create { ordinal, updated } => {
                let revision = if *updated { &*history.current } else { current };
                let template = if *updated {
                    None
                } else {
                    template_of(revision)
                };
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                let Some(pod) = identity::pod(set, template.as_ref(), *ordinal, name) else {
                    return Ok(());
                };
                if self.has_stale_claims(key, set, *ordinal) {
                    return Ok(());
                }
                if let Err(error) = self.ensure_claims(key, set, *ordinal).await {
                    let what = format!("Pod {} in", identity::pod_name(set, *ordinal));
                    self.tell(set, "Create", &what, Some(&error));
                    return Err(error);
                }
                let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
                let pod_name = pod.metadata.name.clone().unwrap_or_default();
                let created =
                    api.create(&PostParams::default(), &pod)
                        .await
                        .on("create", "pod", || Key::new(&key.namespace, &pod_name));
                match created {
                    Ok(created) => {
                        self.pod_writes.wrote(key, &created, now);
                        self.tell(set, "Create", &format!("Pod {pod_name} in"), None);
                        Ok(())
                    }
                    // Of one that is there already the cache will tell.
                    Err(error) if error.is_namespace_terminating() || error.is_already_exists() => {
                        Err(error)
                    }
                    Err(error) => {
                        self.tell(set, "Create", &format!("Pod {pod_name} in"), Some(&error));
                        Err(error)
                    }
                }
            }
            Step::Delete(pod) => {
                let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
                let deleted = write::delete(&api, &**pod, None, None).await;
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                self.tell(
                    set,
                    "Delete",
                    &format!("Pod {name} in"),
                    deleted.as_ref().err(),
                );
                deleted?;
                self.pod_writes.deleted(key, &**pod, now);
                Ok(())
            }
        }
    }

    /// Hands the claims to whom they go with, before a pod is scaled away.
    async fn own_claims(
        &self,
        key: &Key,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let spec = set.spec.as_ref();
        if spec.is_none_or(|spec| spec.volume_claim_templates.is_none()) {
            return Ok(());
        }
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.kit.client.clone(), &key.namespace);
        for pod in pods {
            let Some(ordinal) = identity::ordinal(set, pod) else {
                continue;
            };
            let condemned = !plan::ordinals(set).contains(&ordinal);
            for claim in identity::claims(set, ordinal) {
                let name = claim.metadata.name.unwrap_or_default();
                let Some(held) = self.claims.store().get(&key.namespace, &name) else {
                    continue;
                };
                if held.metadata.deletion_timestamp.is_some() {
                    continue;
                }
                if identity::is_disputed(set, pod, &held) {
                    let message = format!(
                        "PersistentVolumeClaim {name} has a conflicting owner that controls it, the retention policy is ignored for this claim"
                    );
                    self.kit
                        .recorder
                        .on(set, EventType::Warning, "ConflictingController", message);
                }
                let Some(owners) = identity::owners(set, pod, condemned, &held) else {
                    continue;
                };
                let patch = serde_json::json!({"metadata": {"ownerReferences": owners}});
                match write::merge(&api, &*held, patch).await {
                    Err(error) if error.is_not_found() => {}
                    result => drop(result?),
                }
            }
        }
        Ok(())
    }

    async fn ensure_claims(&self, key: &Key, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
        let pod = identity::pod_name(set, ordinal);
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.kit.client.clone(), &key.namespace);
        for claim in identity::claims(set, ordinal) {
            let name = claim.metadata.name.clone().unwrap_or_default();
            if let Some(found) = self.claims.store().get(&key.namespace, &name) {
                if found.metadata.deletion_timestamp.is_some() {
                    return Err(Error::Unusable {
                        kind: "statefulset",
                        key: key.clone(),
                        what: format!("pvc {name} is being deleted"),
                    });
                }
                continue;
            }
            let created = api.create(&PostParams::default(), &claim).await;
            let created = created.map(drop).on("create", "persistentvolumeclaim", || {
                Key::new(&key.namespace, &name)
            });
            match created {
                Ok(()) => {
                    let set_name = &key.name;
                    let message =
                        format!("Create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                    self.kit
                        .recorder
                        .on(set, EventType::Normal, "SuccessfulCreate", message);
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let what = format!("Claim {name} for Pod {pod} in");
                    self.tell(set, "Create", &what, Some(&error));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A new pod does not get claims that are about to go with the one before it: their removal
    /// takes the garbage collector some time.
    fn has_stale_claims(&self, key: &Key, set: &StatefulSet, ordinal: i32) -> bool {
        identity::claims(set, ordinal).into_iter().any(|claim| {
            let name = claim.metadata.name.unwrap_or_default();
            let held = self.claims.store().get(&key.namespace, &name);
            held.is_some_and(|held| identity::is_stale(set, &held, ordinal))
        })
    }

    fn tell(&self, set: &StatefulSet, verb: &str, what: &str, error: Option<&Error>) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("{verb} {what} StatefulSet {name}");
        match error {
            None => {
                let reason = format!("Successful{verb}");
                self.kit.recorder.on(
                    set,
                    EventType::Normal,
                    &reason,
                    format!("{message} successful"),
                );
            }
            Some(error) => {
                let reason = format!("Failed{verb}");
                let message = format!("{message} failed error: {}", error.api_message());
                self.kit
                    .recorder
                    .on(set, EventType::Warning, &reason, message);
            }
        }
    }
}

/// The revision pods below the partition have: the one the status names, if it still exists.
fn current(set: &StatefulSet, history: &History) -> Arc<ControllerRevision> {
    let name = set
        .status
        .as_ref()
        .and_then(|status| status.current_revision.as_deref());
    history
        .old
        .iter()
        .find(|revision| name.is_some() && revision.metadata.name.as_deref() == name)
        .unwrap_or(&history.current)
        .clone()
}

fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}
