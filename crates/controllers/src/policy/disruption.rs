//! PodDisruptionBudget: says in its status how many of its pods may be evicted now. The eviction
//! itself, which counts against that, is the API server's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::core::Selector;

use super::scales::{Scales, Wanted};
use super::stale;
use crate::apps::deployment::scaled;
use crate::error::Error;
use crate::kit::{GATHER, Kit, requeue, sooner, until};
use crate::owner::{controller_of, selects};
use crate::pods::{is_active, is_ready};
use crate::write;

/// An eviction that was granted but not seen to be carried out is given up after this long.
const EVICTION_PATIENCE: SignedDuration = SignedDuration::from_secs(120);

struct Controller {
    kit: Kit,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
}

/// Here, unlike for owners, an empty selector selects every pod of the namespace.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector: &LabelSelector = budget.spec.as_ref()?.selector.as_ref()?;
    Selector::try_from(selector.clone()).ok()
}

/// What to tell of a pod that is new to several budgets at once: no eviction of it can be granted.
fn ambiguity(
    budgets: &[Arc<PodDisruptionBudget>],
    old: Option<&ObjectMeta>,
    now: &ObjectMeta,
) -> Option<String> {
    if old.is_some_and(|old| old.labels == now.labels) {
        return None;
    }
    let choosing = budgets
        .iter()
        .filter(|budget| selector(budget).is_some_and(|selector| selects(&selector, now)));
    (choosing.count() > 1).then(|| {
        let (namespace, name) = (now.namespace.as_deref(), now.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        format!("Pod {namespace:?}/{name:?} matches multiple PodDisruptionBudgets.")
    })
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let budgets = kit.informers.get::<PodDisruptionBudget>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let sets = kit.informers.get::<ReplicaSet>(Scope::All);
    let deployments = kit.informers.get::<Deployment>(Scope::All);
    let stateful = kit.informers.get::<StatefulSet>(Scope::All);
    let replicated = kit.informers.get::<ReplicationController>(Scope::All);
    let queue = kit.queue::<Key>();
    let synced = kit.synced(&budgets).await
        && kit.synced(&pods).await
        && kit.synced(&sets).await
        && kit.synced(&deployments).await
        && kit.synced(&stateful).await
        && kit.synced(&replicated).await;
    if !synced {
        return;
    }
    kit.follow_own(&budgets, &queue);
    let (all, recorder) = (budgets.store().clone(), kit.recorder.clone());
    kit.follow_within(GATHER, &pods, &queue, move |change: Change<Pod>| {
        let now = &change.object().metadata;
        let old = change.old().map(|pod| &pod.metadata);
        let budgets = all.list_in(now.namespace.as_deref().unwrap_or_default());
        if let Some(message) = ambiguity(&budgets, old, now).filter(|_| !change.is_deleted()) {
            let reason = "MultiplePodDisruptionBudgets";
            recorder.on(&**change.object(), EventType::Warning, reason, message);
        }
        let concerned = |budget: &PodDisruptionBudget| {
            selector(budget).is_some_and(|selector| {
                selects(&selector, now) || old.is_some_and(|old| selects(&selector, old))
            })
        };
        budgets
            .into_iter()
            .filter(|budget| concerned(budget))
            .map(|budget| Key::of(&*budget))
            .collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        budgets,
        pods: pods.clone(),
        scales: Scales {
            client: kit.client.clone(),
            sets,
            deployments,
            stateful,
            replicated,
        },
    });
    let budgets = kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(budgets, stale::run(kit.clone(), pods));
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(budget) = self.budgets.store().get_key(key) else {
            return Ok(Requeue::OnChange);
        };
        let pods: Vec<_> = match selector(&budget) {
            None => Vec::new(),
            Some(selector) => {
                let mut pods = self.pods.store().list_in(&key.namespace);
                pods.retain(|pod| selects(&selector, &pod.metadata));
                pods
            }
        };
        let owners = self.owners(&budget, &pods).await;
        let (status, again) = match plan(&budget, &pods, &owners, &self.kit.time()) {
            Ok(planned) => {
                self.tell(&budget, &pods, &planned);
                (planned.status, planned.again)
            }
            Err(message) => {
                self.kit.recorder.on(
                    &*budget,
                    EventType::Warning,
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {message}"),
                );
                (failed(&budget, &message, &self.kit.time()), None)
            }
        };
        let api: Api<PodDisruptionBudget> =
            Api::namespaced(self.kit.client.clone(), &key.namespace);
        write::status(&api, &*budget, &budget.status, &Some(status)).await?;
        Ok(requeue(again))
    }

    /// What the owners of the pods want, as far as the budget goes by that.
    async fn owners(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Owners {
        let mut owners = Owners::new();
        if !goes_by_owners(budget) {
            return owners;
        }
        for pod in pods {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(owner) = controller_of(&pod.metadata)
                && !owners.contains_key(&owner.uid)
            {
                let wanted = self.scales.of(namespace, owner).await;
                owners.insert(owner.uid.clone(), wanted);
            }
        }
        owners
    }

    fn tell(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>], planned: &Planned) {
        let tell = |kind, reason, message: String| {
            self.kit.recorder.on(budget, kind, reason, message);
        };
        if pods.is_empty() {
            let message = "No matching pods found".to_owned();
            tell(EventType::Normal, "NoPods", message);
        }
        if planned.unmanaged {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a \
                 result, the status of the PDB cannot be calculated correctly, which may result in undefined \
                 behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an \
                 integer value.",
                write::json_of(&selector)
            );
            tell(EventType::Warning, "UnmanagedPods", message);
        }
        for pod in &planned.overdue {
            let message = format!(
                "Pod was expected by PDB {} to be deleted but it wasn't",
                Key::of(budget)
            );
            self.kit
                .recorder
                .on(&**pod, EventType::Warning, "NotDeleted", message);
        }
    }
}

/// By the uid of each owner, whom it belongs to and how many that one wants.
type Owners = BTreeMap<String, Result<Option<Wanted>, String>>;

/// Is the budget a share of what the owners want?
fn goes_by_owners(budget: &PodDisruptionBudget) -> bool {
    budget.spec.as_ref().is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

#[derive(Debug)]
struct Planned {
    status: PodDisruptionBudgetStatus,
    again: Option<Duration>,
    /// Are there pods of no owner, of which nobody says how many there should be?
    unmanaged: bool,
    /// Evictions were granted that nobody carried out.
    overdue: Vec<Arc<Pod>>,
}

/// The status, and when to look again; or why it cannot be told.
fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    owners: &Owners,
    now: &Time,
) -> Result<Planned, String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let expected_by_owners = || -> Result<i32, String> {
        let mut counts = BTreeMap::new();
        for pod in pods {
            // Pods without a controller are protected, but nobody says how many there should be.
            let Some(owner) = controller_of(&pod.metadata) else {
                continue;
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let wanted = owners.get(&owner.uid).cloned().unwrap_or(Ok(None))?;
            let (uid, count) =
                wanted.ok_or_else(|| format!("found no controllers for pod {name:?}"))?;
            counts.insert(uid, count);
        }
        Ok(counts.values().sum())
    };
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let expected = expected_by_owners()?;
            (
                expected,
                (expected - scaled(unavailable, expected, true)).max(0),
            )
        }
        (None, Some(available @ IntOrString::String(_))) => {
            let expected = expected_by_owners()?;
            (expected, scaled(available, expected, true))
        }
        (None, Some(IntOrString::Int(available))) => {
            (i32::try_from(pods.len()).unwrap_or(i32::MAX), *available)
        }
        (None, None) => (0, 0),
    };
    let (disrupted, overdue, again) = disrupted(budget, pods, now.0);
    let is_healthy = |pod: &Pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        is_active(pod) && is_ready(pod) && !disrupted.contains_key(name)
    };
    let healthy =
        i32::try_from(pods.iter().filter(|pod| is_healthy(pod)).count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 {
        (healthy - desired).max(0)
    } else {
        0
    };
    let reason = if allowed > 0 {
        "SufficientPods"
    } else {
        "InsufficientPods"
    };
    let status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        conditions: Some(condition(budget, allowed > 0, reason, "", now)),
    };
    let unmanaged = goes_by_owners(budget)
        && pods
            .iter()
            .any(|pod| controller_of(&pod.metadata).is_none());
    Ok(Planned {
        status,
        again,
        unmanaged,
        overdue,
    })
}

/// The granted evictions that are still to be carried out.
fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Vec<Arc<Pod>>, Option<Duration>) {
    let mut kept = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.clone())
        .unwrap_or_default();
    let (mut again, mut overdue) = (None, Vec::new());
    kept.retain(|name, since| {
        let there = pods
            .iter()
            .find(|pod| pod.metadata.name.as_ref() == Some(name) && is_active(pod));
        let (Some(pod), Ok(end)) = (there, since.0.checked_add(EVICTION_PATIENCE)) else {
            return false;
        };
        if end > now {
            again = sooner(again, Some(until(end, now)));
            return true;
        }
        overdue.push(pod.clone());
        false
    });
    (kept, overdue, again)
}

/// Nothing may be evicted while it is unknown how many pods there should be.
fn failed(budget: &PodDisruptionBudget, message: &str, now: &Time) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disruptions_allowed: Some(0),
        conditions: Some(condition(budget, false, "SyncFailed", message, now)),
        ..budget.status.clone().unwrap_or_default()
    }
}

fn condition(
    budget: &PodDisruptionBudget,
    allowed: bool,
    reason: &str,
    message: &str,
    now: &Time,
) -> Vec<Condition> {
    const TYPE: &str = "DisruptionAllowed";
    let status = if allowed { "True" } else { "False" };
    let mut conditions = budget
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let before = conditions
        .iter()
        .find(|condition| condition.type_ == TYPE && condition.status == status);
    let transition =
        before.map_or_else(|| now.clone(), |before| before.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != TYPE);
    conditions.push(Condition {
        type_: TYPE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: budget.metadata.generation,
        last_transition_time: transition,
    });
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use serde_json::{Value, json};

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        serde_json::from_value(
            json!({"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status}),
        )
        .unwrap()
    }

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let texts = (0..ready)
            .map(|n| format!("r{n} Running ready"))
            .chain((0..unready).map(|n| format!("u{n} Running")));
        texts
            .map(|text| {
                let mut pod = pod(&text);
                let owner = OwnerReference {
                    uid: "o".into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                };
                pod.metadata.owner_references = Some(vec![owner]);
                Arc::new(pod)
            })
            .collect()
    }

    fn five() -> Owners {
        [("o".to_owned(), Ok(Some(("o".to_owned(), 5))))].into()
    }

    #[test]
    fn a_pod_of_several_budgets_is_told_of_once() {
        let budget = |value: &str| {
            let selector = json!({"matchLabels": {"app": value}});
            Arc::new(budget(json!({ "selector": selector }), json!({})))
        };
        let labels = |text: &str| pod(&format!("p Running {text}")).metadata;
        let (web, other) = (labels("app=web"), labels("app=other"));
        let twice = [budget("web"), budget("web"), budget("other")];
        let cases = [
            (&twice[..], None, &web, true),
            (&twice[..], Some(&web), &web, false),
            (&twice[..], Some(&other), &web, true),
            (&twice[..], Some(&web), &other, false),
            (&twice[1..], None, &web, false),
        ];
        for (budgets, old, now, expected) in cases {
            let found = ambiguity(budgets, old, now);
            let message = "Pod \"ns\"/\"p\" matches multiple PodDisruptionBudgets.";
            assert_eq!(found.as_deref(), expected.then_some(message));
        }
    }

    #[test]
    fn what_may_be_evicted() {
        let now = Time("2026-11-20T10:00:00Z".parse().unwrap());
        let cases = [
            (json!({"maxUnavailable": 1}), 5, 0, (5, 4, 1)),
            (json!({"maxUnavailable": 1}), 4, 1, (5, 4, 0)),
            (json!({"maxUnavailable": "30%"}), 5, 0, (5, 3, 2)),
            (json!({"minAvailable": 3}), 5, 0, (5, 3, 2)),
            (json!({"minAvailable": "50%"}), 5, 0, (5, 3, 2)),
            (json!({"minAvailable": 7}), 5, 0, (5, 7, 0)),
            (json!({"minAvailable": 0}), 0, 0, (0, 0, 0)),
        ];
        for (spec, ready, unready, expected) in cases {
            let planned = plan(
                &budget(spec.clone(), json!({})),
                &pods(ready, unready),
                &five(),
                &now,
            );
            let status = planned.unwrap().status;
            let told = (
                status.expected_pods.unwrap(),
                status.desired_healthy.unwrap(),
                status.disruptions_allowed.unwrap(),
            );
            assert_eq!(told, expected, "{spec}");
        }
        let half = budget(json!({"minAvailable": "50%"}), json!({}));
        let told = |wanted| {
            let owners = [("o".to_owned(), wanted)].into();
            plan(&half, &pods(1, 0), &owners, &now).unwrap_err()
        };
        assert_eq!(told(Ok(None)), "found no controllers for pod \"r0\"");
        assert_eq!(told(Err("no scale".into())), "no scale");
    }

    #[test]
    fn pods_of_nobody_are_told_of_where_owners_count() {
        let now = Time("2026-11-20T10:00:00Z".parse().unwrap());
        let mut some = pods(2, 0);
        some.push(Arc::new(pod("lone Running ready")));
        for (spec, expected, unmanaged) in [
            (json!({"maxUnavailable": 1}), 5, true),
            (json!({"minAvailable": "50%"}), 5, true),
            (json!({"minAvailable": 1}), 3, false),
        ] {
            let planned = plan(&budget(spec.clone(), json!({})), &some, &five(), &now).unwrap();
            assert_eq!(planned.status.expected_pods, Some(expected), "{spec}");
            assert_eq!(planned.status.current_healthy, Some(3), "{spec}");
            assert_eq!(planned.unmanaged, unmanaged, "{spec}");
        }
    }

    #[test]
    fn granted_evictions_count_until_they_are_done_or_given_up() {
        let now = Time("2026-11-20T10:00:00Z".parse().unwrap());
        let disrupted = json!({"disruptedPods": {
            "r0": "2026-11-20T09:59:00Z", "r1": "2026-11-20T09:57:00Z", "gone": "2026-11-20T09:59:59Z",
        }});
        let budget = budget(json!({"maxUnavailable": 2}), disrupted);
        let planned = plan(&budget, &pods(5, 0), &five(), &now).unwrap();
        assert_eq!(planned.overdue.len(), 1);
        assert_eq!(planned.overdue[0].metadata.name.as_deref(), Some("r1"));
        let (status, again) = (planned.status, planned.again);
        assert_eq!(status.current_healthy, Some(4));
        assert_eq!(
            status
                .disrupted_pods
                .unwrap()
                .into_keys()
                .collect::<Vec<_>>(),
            ["r0"]
        );
        assert_eq!(again.unwrap().as_secs(), 60);
    }
}
