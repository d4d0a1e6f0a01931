//! Claims of pods: made from templates, noted in the pods' status, freed when the pods are done
//! (KEP-4381).

mod plan;

use std::fmt;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{Pod, PodResourceClaimStatus};
use k8s_openapi::api::resource::v1::{
    ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate,
};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use self::plan::Need;
use super::{claim_name, claims_of};
use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::kit::Kit;
use crate::owner::controller_of;
use crate::write;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    made: Expectations,
}

fn claims_named_by(pod: &Pod) -> Vec<Task> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let named = claims_of(pod)
        .iter()
        .filter_map(|claim| claim_name(pod, claim));
    let extended = pod
        .status
        .as_ref()
        .and_then(|status| status.extended_resource_claim_status.as_ref())
        .map(|status| status.resource_claim_name.clone());
    named
        .chain(extended)
        .map(|name| Task::Claim(Key::new(namespace, &name)))
        .collect()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get::<Pod>(Scope::All);
    let claims = kit.informers.get::<ResourceClaim>(Scope::All);
    let templates = kit.informers.get::<ResourceClaimTemplate>(Scope::All);
    let queue = kit.queue::<Task>();
    if !(kit.synced(&pods).await && kit.synced(&claims).await && kit.synced(&templates).await) {
        return;
    }
    kit.follow(&pods, &queue, |change: Change<Pod>| {
        let pod = change.object();
        let done = change.is_deleted() || plan::is_done(pod);
        if done {
            return claims_named_by(pod);
        }
        let needs = !claims_of(pod).is_empty() && pod.metadata.deletion_timestamp.is_none();
        needs
            .then(|| Task::Pod(Key::of(&**pod)))
            .into_iter()
            .collect()
    });
    let all_pods = pods.store().clone();
    kit.follow(&claims, &queue, move |change: Change<ResourceClaim>| {
        let claim = change.object();
        let key = Key::of(&**claim);
        let users = all_pods.list_in(&key.namespace).into_iter().filter(|pod| {
            let owned = controller_of(&claim.metadata)
                .is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
            owned
                || claims_of(pod)
                    .iter()
                    .any(|one| claim_name(pod, one).as_deref() == Some(&*key.name))
        });
        let mut tasks: Vec<_> = users.map(|pod| Task::Pod(Key::of(&*pod))).collect();
        if !change.is_deleted() {
            tasks.push(Task::Claim(key));
        }
        tasks
    });
    let all_pods = pods.store().clone();
    kit.follow(
        &templates,
        &queue,
        move |change: Change<ResourceClaimTemplate>| {
            let meta = &change.object().metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let waiting = all_pods.list_in(namespace).into_iter().filter(|pod| {
                claims_of(pod)
                    .iter()
                    .any(|one| one.resource_claim_template_name == meta.name)
            });
            waiting
                .map(|pod| Task::Pod(Key::of(&*pod)))
                .collect::<Vec<_>>()
        },
    );
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        pods,
        claims,
        templates,
        made: Expectations::default(),
    });
    kit.run(queue, move |task| {
        let controller = controller.clone();
        async move {
            let result = match task {
                Task::Pod(key) => controller.reconcile_pod(&key).await,
                Task::Claim(key) => controller.reconcile_claim(&key).await,
            };
            match result {
                Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
                result => result,
            }
        }
    })
    .await;
}

impl Controller {
    async fn reconcile_pod(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.store().get_key(key) else {
            self.made.forget(key);
            return Ok(Requeue::OnChange);
        };
        if pod.metadata.deletion_timestamp.is_some() || plan::is_done(&pod) {
            return Ok(Requeue::OnChange);
        }
        // A claim made a moment ago and not seen yet would be made twice.
        if let Some(wait) = self
            .made
            .outstanding(key, self.claims.store(), self.kit.now())
        {
            return Ok(Requeue::After(wait));
        }
        let api: Api<ResourceClaim> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let owned = self.claims.store().owned_by(uid);
        let get = |name: &str| self.claims.store().get(&key.namespace, name);
        let mut noted = Vec::new();
        for claim in claims_of(&pod) {
            let named = claim_name(&pod, claim).and_then(|name| get(&name));
            let template = claim
                .resource_claim_template_name
                .as_deref()
                .and_then(|name| self.templates.store().get(&key.namespace, name));
            let name = match plan::need(&pod, claim, named.as_deref(), &owned, template.as_deref())
            {
                Need::Nothing => continue,
                Need::Note(name) => name,
                Need::Problem(what) => return Err(self.failed(&pod, &claim.name, key, what)),
                Need::Create(new) => {
                    let created = api.create(&PostParams::default(), &new).await;
                    let created = created.on("create", "resourceclaim", || key.clone());
                    match created {
                        Ok(made) => {
                            self.made.wrote(key, &made, self.kit.now());
                            made.metadata.name.unwrap_or_default()
                        }
                        Err(error) if error.is_namespace_terminating() => {
                            return Ok(Requeue::OnChange);
                        }
                        Err(error) => {
                            let what = format!("create ResourceClaim : {}", error.api_message());
                            return Err(self.failed(&pod, &claim.name, key, what));
                        }
                    }
                }
            };
            noted.push(PodResourceClaimStatus {
                name: claim.name.clone(),
                resource_claim_name: Some(name),
            });
        }
        if !noted.is_empty() {
            let pods: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
            let old = pod.status.clone().unwrap_or_default();
            let mut new = old.clone();
            let statuses = new.resource_claim_statuses.get_or_insert_default();
            statuses.retain(|held| noted.iter().all(|one| one.name != held.name));
            statuses.extend(noted);
            write::status(&pods, &*pod, &old, &new).await?;
        }
        self.reserve(&pod, &api, get).await?;
        Ok(Requeue::OnChange)
    }

    /// For pods that were bound to a node past the scheduler.
    async fn reserve(
        &self,
        pod: &Pod,
        api: &Api<ResourceClaim>,
        get: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    ) -> Result<(), Error> {
        if crate::pods::node_of(pod).is_none() {
            return Ok(());
        }
        for claim in claims_of(pod) {
            if let Some(claim) = claim_name(pod, claim).and_then(|name| get(&name))
                && let Some(status) = plan::reservation(pod, &claim)
            {
                write::status(api, &*claim, &claim.status, &Some(status)).await?;
            }
        }
        Ok(())
    }

    fn failed(&self, pod: &Pod, claim: &str, key: &Key, what: String) -> Error {
        let message = format!("PodResourceClaim {claim}: {what}");
        let reason = "FailedResourceClaimCreation";
        self.kit
            .recorder
            .on(pod, EventType::Warning, reason, message.clone());
        Error::Unusable {
            kind: "pod",
            key: key.clone(),
            what: message,
        }
    }

    /// Which reservations are of pods that are gone. The cache may not have a new pod yet, so before
    /// its claim is taken away the API is asked.
    async fn gone(
        &self,
        claim: &ResourceClaim,
        namespace: &str,
    ) -> Result<Vec<ResourceClaimConsumerReference>, Error> {
        let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), namespace);
        let status = claim.status.as_ref();
        let reserved = status.and_then(|status| status.reserved_for.as_deref());
        let mut gone = Vec::new();
        for one in reserved.unwrap_or_default() {
            if one.resource != "pods"
                || one
                    .api_group
                    .as_deref()
                    .is_some_and(|group| !group.is_empty())
            {
                continue;
            }
            let same = |pod: &Pod| pod.metadata.uid.as_ref() == Some(&one.uid);
            let is_gone = match self.pods.store().get(namespace, &one.name) {
                Some(pod) => !same(&pod) || plan::is_done(&pod),
                None => {
                    let live = api.get_opt(&one.name).await;
                    let live = live.on("get", "pod", || Key::new(namespace, &one.name))?;
                    !live.is_some_and(|pod| same(&pod))
                }
            };
            if is_gone {
                gone.push(one.clone());
            }
        }
        Ok(gone)
    }

    async fn reconcile_claim(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(claim) = self.claims.store().get_key(key) else {
            return Ok(Requeue::OnChange);
        };
        let gone = self.gone(&claim, &key.namespace).await?;
        let owner = controller_of(&claim.metadata)
            .and_then(|owner| self.pods.store().get(&key.namespace, &owner.name));
        let plan = plan::claim(&claim, owner.as_deref(), |one| gone.contains(one));
        let api: Api<ResourceClaim> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        if let Some(status) = plan.status {
            write::status(&api, &*claim, &claim.status, &Some(status)).await?;
        }
        if plan.release {
            let patch =
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [plan::FINALIZER]}});
            write::strategic(&api, &*claim, patch).await?;
        }
        if plan.delete {
            write::delete(&api, &*claim, None, None).await?;
        }
        Ok(Requeue::OnChange)
    }
}
