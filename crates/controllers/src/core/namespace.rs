//! The end of a namespace: everything in it is deleted, pods first; when nothing is left, the
//! finalizer `kubernetes` goes, and with it the namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::backoff::Backoff;
use client::controller::Requeue;
use client::informer::Metadata;
use client::queue::WorkQueue;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use kube::discovery::verbs;

use crate::error::{Error, On};
use crate::kinds::{self, Kind};
use crate::kit::Kit;
use crate::write;

const FINALIZER: &str = "kubernetes";
/// How often a namespace is looked at that waits for finalizers of other kinds than pods.
const PACE: Backoff = Backoff {
    initial: Duration::from_millis(50),
    factor: 2.0,
    max: Duration::from_secs(10),
    jitter: 0.1,
};

struct Controller {
    kit: Kit,
    namespaces: Informer<Namespace>,
    queue: WorkQueue<Key>,
}

/// What one round of deleting found.
#[derive(Debug, Default)]
struct Round {
    /// `pods` → how many are left.
    remaining: BTreeMap<String, usize>,
    /// Finalizer → on how many objects.
    finalizers: BTreeMap<String, usize>,
    /// What could not be deleted or listed.
    failures: Vec<String>,
    /// Discovery did not answer, or not for all groups.
    discovery: Option<String>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let namespaces = kit.informers.get::<Namespace>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = WorkQueue::with_backoff(kit.name, &kit.metrics, kit.random.clone(), PACE);
    if !(kit.synced(&namespaces).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow_own(&namespaces, &queue);
    let ending = namespaces.store().clone();
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        let namespace = change
            .object()
            .metadata
            .namespace
            .as_deref()
            .filter(|_| change.is_deleted())?;
        let ends = ending
            .get("", namespace)?
            .metadata
            .deletion_timestamp
            .is_some();
        ends.then(|| Key::new("", namespace))
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        namespaces,
        queue: queue.clone(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let cached = self.namespaces.store().get_key(key);
        let Some(namespace) =
            cached.filter(|namespace| namespace.metadata.deletion_timestamp.is_some())
        else {
            return Ok(Requeue::OnChange);
        };
        let spec = namespace.spec.clone().unwrap_or_default();
        if !spec
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == FINALIZER)
        {
            return Ok(Requeue::OnChange);
        }
        let round = self.empty(&key.name).await;
        let api: Api<Namespace> = Api::all(self.kit.client.clone());
        let mut status = namespace.status.clone().unwrap_or_default();
        status.phase = Some("Terminating".to_owned());
        status.conditions = Some(conditions(
            status.conditions.unwrap_or_default(),
            &round,
            &self.kit.time(),
        ));
        let clean =
            round.remaining.is_empty() && round.failures.is_empty() && round.discovery.is_none();
        if clean {
            return self.finalize(&api, &namespace).await;
        }
        match write::status(&api, &*namespace, &namespace.status, &Some(status)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let only_pods = round.remaining.keys().all(|kind| kind == "pods.")
            && round.failures.is_empty()
            && round.discovery.is_none();
        if only_pods {
            // Their end brings the key back; a long grace period is no reason to keep asking.
            self.queue.forget(key);
            return Ok(Requeue::After(Duration::from_secs(15)));
        }
        Ok(Requeue::Backoff)
    }

    async fn finalize(
        &self,
        api: &Api<Namespace>,
        namespace: &Namespace,
    ) -> Result<Requeue, Error> {
        let key = Key::of(namespace);
        let mut finalized = namespace.clone();
        if let Some(finalizers) = finalized
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let result: Result<Namespace, _> = api
            .replace_subresource("finalize", &key.name, &Default::default(), &finalized)
            .await;
        match result.map(drop).on("finalize", "namespace", || key.clone()) {
            Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
            Err(error) => Err(error),
            Ok(()) => Ok(Requeue::OnChange),
        }
    }

    /// Deletes everything in the namespace once and says what is left. Pods go before all else, so
    /// that they are not deprived of their Secrets and policies while they still run.
    async fn empty(&self, namespace: &str) -> Round {
        let mut round = Round::default();
        let served = match kinds::served(&self.kit.client).await {
            Ok(served) => served,
            Err(error) => {
                round.discovery = Some(error.api_message());
                return round;
            }
        };
        round.discovery = unanswered(&served.stale);
        let (pods, others): (Vec<_>, Vec<_>) = served
            .deletable
            .into_iter()
            .filter(|kind| kind.namespaced && kind.can(verbs::LIST))
            .partition(|kind| kind.resource.plural == "pods" && kind.resource.group.is_empty());
        for kind in &pods {
            self.delete_all(namespace, kind, &mut round).await;
        }
        if round.remaining.is_empty() {
            for kind in &others {
                self.delete_all(namespace, kind, &mut round).await;
            }
        }
        round
    }

    async fn delete_all(&self, namespace: &str, kind: &Kind, round: &mut Round) {
        let name = format!("{}.{}", kind.resource.plural, kind.resource.group);
        let api: Api<Metadata> =
            Api::namespaced_with(self.kit.client.clone(), namespace, &kind.resource);
        // Most kinds have nothing here: a list costs less than a delete.
        let listed = match api.list(&ListParams::default()).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => return,
            Err(error) => return round.failures.push(format!("{name}: {error}")),
        };
        if listed.items.is_empty() {
            return;
        }
        let params = DeleteParams::background();
        let mut refused = None;
        if kind.can("deletecollection") {
            refused = api
                .delete_collection(&params, &ListParams::default())
                .await
                .err();
        } else {
            for object in &listed.items {
                let object_name = object.metadata.name.as_deref().unwrap_or_default();
                match api.delete(object_name, &params).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => refused = refused.or(Some(error)),
                    Ok(_) => {}
                }
            }
        }
        if let Some(error) = refused {
            round.failures.push(format!("{name}: {error}"));
        }
        match api.list(&ListParams::default()).await {
            Ok(left) if left.items.is_empty() => {}
            Ok(left) => {
                for finalizer in left
                    .items
                    .iter()
                    .flat_map(|object| object.metadata.finalizers.iter().flatten())
                {
                    *round.finalizers.entry(finalizer.clone()).or_default() += 1;
                }
                round.remaining.insert(name, left.items.len());
            }
            Err(error) => round.failures.push(format!("{name}: {error}")),
        }
    }
}

/// What to say of groups whose server does not answer: while that may hold objects of the
/// namespace, the namespace cannot go.
fn unanswered(stale: &[String]) -> Option<String> {
    let each: Vec<_> = stale
        .iter()
        .map(|version| format!("{version}: stale GroupVersion discovery: {version}"))
        .collect();
    (!each.is_empty()).then(|| {
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            each.len(),
            each.join(", ")
        )
    })
}

/// The five conditions of a terminating namespace, after this round.
fn conditions(
    mut all: Vec<NamespaceCondition>,
    round: &Round,
    now: &Time,
) -> Vec<NamespaceCondition> {
    let list = |counts: &BTreeMap<String, usize>, what: &str| {
        let each: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{name} has {count} {what}"))
            .collect();
        each.join(", ")
    };
    let content = (!round.remaining.is_empty()).then(|| {
        format!(
            "Some resources are remaining: {}",
            list(&round.remaining, "resource instances")
        )
    });
    let finalizers = (!round.finalizers.is_empty()).then(|| {
        format!(
            "Some content in the namespace has finalizers remaining: {}",
            {
                let each: Vec<_> = round
                    .finalizers
                    .iter()
                    .map(|(name, count)| format!("{name} in {count} resource instances"))
                    .collect();
                each.join(", ")
            }
        )
    });
    let failures = (!round.failures.is_empty()).then(|| {
        format!(
            "Failed to delete all resource types, {} remaining: {}",
            round.failures.len(),
            round.failures.join(", ")
        )
    });
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", round.discovery.clone()),
            (
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("GroupVersionParsingFailed", None),
            (
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeletionFailed", failures),
            (
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        (
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", content),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            ("SomeFinalizersRemain", finalizers),
            (
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ),
    ];
    for (type_, (reason, message), (good_reason, good_message)) in rows {
        let status = if message.is_some() { "True" } else { "False" };
        let reason = if message.is_some() {
            reason
        } else {
            good_reason
        };
        let message = message.unwrap_or_else(|| good_message.to_owned());
        let at = all.iter().position(|condition| condition.type_ == type_);
        let transition = at
            .filter(|at| all[*at].status == status)
            .and_then(|at| all[at].last_transition_time.clone())
            .unwrap_or_else(|| now.clone());
        let condition = NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(transition),
        };
        match at {
            Some(at) => all[at] = condition,
            None => all.push(condition),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn conditions_say_what_is_left() {
        let at = |seconds| Time(Timestamp::from_second(seconds).unwrap());
        let round = Round {
            remaining: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/x".to_owned(), 1)].into(),
            ..Round::default()
        };
        let first = conditions(Vec::new(), &round, &at(1));
        let find = |all: &[NamespaceCondition], type_: &str| {
            all.iter()
                .find(|condition| condition.type_ == type_)
                .cloned()
                .unwrap()
        };
        let remaining = find(&first, "NamespaceContentRemaining");
        assert_eq!(remaining.status, "True");
        assert_eq!(
            remaining.message.as_deref(),
            Some("Some resources are remaining: pods. has 2 resource instances")
        );
        assert_eq!(
            find(&first, "NamespaceDeletionContentFailure").status,
            "False"
        );
        let second = conditions(first, &Round::default(), &at(2));
        assert_eq!(second.len(), 5);
        let remaining = find(&second, "NamespaceContentRemaining");
        assert_eq!(
            (remaining.status.as_str(), remaining.last_transition_time),
            ("False", Some(at(2)))
        );
        assert_eq!(
            find(&second, "NamespaceDeletionContentFailure").last_transition_time,
            Some(at(1))
        );
        assert_eq!(json!(second[0].status), json!("False"));
    }

    #[test]
    fn groups_without_an_answer_are_named() {
        assert_eq!(unanswered(&[]), None);
        let round = Round {
            discovery: unanswered(&["a.example/v1".to_owned(), "b.example/v2".to_owned()]),
            ..Round::default()
        };
        let now = Time(Timestamp::from_second(1).unwrap());
        let found = conditions(Vec::new(), &round, &now);
        let expected = "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: a.example/v1: stale GroupVersion discovery: a.example/v1, b.example/v2: stale GroupVersion discovery: b.example/v2";
        assert_eq!(found[0].reason.as_deref(), Some("DiscoveryFailed"));
        assert_eq!(found[0].message.as_deref(), Some(expected));
    }
}
