//! Node health. A kubelet renews its node's Lease; when neither Lease nor status has moved for the
//! grace period, by this process's own clock, the node's conditions become Unknown. Taints follow
//! from the conditions; evicting ones are put on zone by zone and at a pace: when all nodes are gone at
//! once, it is this side of the network that is cut off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Index, Informer, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::taints;
use super::zones::{self, Pace, Verdict};
use crate::error::{Error, On};
use crate::kit::{Kit, requeue, sooner};
use crate::measure::Counters;
use crate::write;

/// Without a sign of life for this long a node is unreachable.
const GRACE: Duration = Duration::from_secs(50);
/// One that has never reported its readiness gets so long from its creation.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How soon to ask again where no node may be given up at all.
const RETRY: Duration = Duration::from_secs(10);
/// Conditions a kubelet reports, and which become Unknown when it does not.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What changes while a kubelet lives.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pulse {
    lease: Option<MicroTime>,
    heartbeat: Option<Time>,
}

struct Controller {
    kit: Kit,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Index<Pod>,
    /// The last pulse of each node and when it was first seen; one entry per node.
    seen: Mutex<HashMap<Box<str>, (Pulse, Timestamp)>>,
    /// How fast pods are evicted from bad nodes.
    pace: Mutex<Pace>,
    /// Nodes given up, by zone.
    given_up: Counters<1>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let nodes = kit.informers.get::<Node>(Scope::All);
    let leases = kit
        .informers
        .get::<Lease>(Scope::fields("metadata.namespace=kube-node-lease"));
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&nodes).await && kit.synced(&leases).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow_own(&nodes, &queue);
    kit.follow(&leases, &queue, |change: Change<Lease>| {
        change
            .object()
            .metadata
            .name
            .as_deref()
            .map(|node| Key::new("", node))
    });
    let given_up = Counters::default();
    kit.metrics.register(|registry| {
        registry.register(
            "node_collector_evictions",
            "Nodes whose pods were told to go",
            given_up.clone(),
        );
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        nodes,
        leases,
        pods: crate::pods::by_node(&pods),
        seen: Mutex::default(),
        pace: Mutex::default(),
        given_up,
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

pub(super) fn is_ready(node: &Node) -> bool {
    taints::condition(node, "Ready") == Some("True")
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.store().get_key(key) else {
            if self.seen.lock().remove(&key.name).is_some() {
                self.tell(
                    key,
                    None,
                    "RemovingNode",
                    format!("Removing Node {key} from Controller"),
                );
            }
            return Ok(Requeue::OnChange);
        };
        let now = self.kit.now();
        let (first_seen, since) = self.pulse(key, &node, now);
        if first_seen {
            self.tell(
                key,
                Some(&node),
                "RegisteredNode",
                format!("Registered Node {key} in Controller"),
            );
        }
        let silent = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let reports = taints::condition(&node, "Ready").is_some();
        let grace = if reports { GRACE } else { STARTUP_GRACE };
        let api: Api<Node> = Api::all(self.kit.client.clone());
        if silent >= grace {
            if let Some(conditions) = unknown(&node, &self.kit.time()) {
                let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": {"conditions": conditions}});
                let written = api
                    .patch_status(
                        &key.name,
                        &PatchParams::default(),
                        &Patch::Strategic(&patch),
                    )
                    .await;
                written.on("patch status of", "node", || key.clone())?;
                if is_ready(&node) {
                    self.tell(
                        key,
                        Some(&node),
                        "NodeNotReady",
                        format!("Node {key} status is now: NodeNotReady"),
                    );
                }
                // The taints follow with the change this makes.
                return Ok(Requeue::After(grace));
            }
            self.unready_pods(key).await?;
        }
        let wait = self.taint(&api, &node, now).await?;
        let next = (silent < grace).then(|| grace - silent + Duration::from_millis(10));
        Ok(requeue(sooner(wait, next)))
    }

    /// Whether the node is new here, and since when its pulse is as it is.
    fn pulse(&self, key: &Key, node: &Node, now: Timestamp) -> (bool, Timestamp) {
        let lease = self.leases.store().get("kube-node-lease", &key.name);
        let conditions = node
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let ready = conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let pulse = Pulse {
            lease: lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone()),
            heartbeat: ready.and_then(|ready| ready.last_heartbeat_time.clone()),
        };
        let mut seen = self.seen.lock();
        match seen.get(&key.name) {
            Some((last, since)) if *last == pulse => (false, *since),
            other => {
                let first = other.is_none();
                // Who has never given a sign of life is silent since it was made.
                let made = node.metadata.creation_timestamp.as_ref();
                let since = match made.filter(|_| pulse == Pulse::default()) {
                    Some(made) if ready.is_none() => made.0,
                    _ => now,
                };
                seen.insert(key.name.clone(), (pulse, since));
                (first, since)
            }
        }
    }

    /// Brings the taints up to date; says when to look again if evicting has to wait its turn.
    async fn taint(
        &self,
        api: &Api<Node>,
        node: &Node,
        now: Timestamp,
    ) -> Result<Option<Duration>, Error> {
        let (mut evict, mut wait) = (true, None);
        if !is_ready(node) {
            let mut pace = self.pace.lock();
            let nodes = self.nodes.store();
            pace.see(nodes.revision(), || nodes.list());
            if taints::is_given_up(node) {
                // It stays so, unless all nodes seem to be gone.
                evict = pace.any_ready();
            } else {
                (evict, wait) = match pace.ask(node, now) {
                    Verdict::Yes => (true, None),
                    Verdict::Wait(wait) => (false, Some(wait)),
                    Verdict::No => (false, Some(RETRY)),
                };
            }
        }
        let current = node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default();
        let wanted = taints::wanted(node, evict, &self.kit.time());
        let labels = old_labels(node);
        let mut patch = json!({});
        if wanted != current {
            patch["spec"]["taints"] = if wanted.is_empty() {
                Value::Null
            } else {
                write::json_of(&wanted)
            };
        }
        if !labels.is_empty() {
            patch["metadata"]["labels"] = json!(labels);
        }
        if patch != json!({}) {
            let written = write::merge(api, node, patch).await?;
            if taints::is_given_up(&written) && !taints::is_given_up(node) {
                let labels = [("zone", zones::key(node))];
                self.given_up.get_or_create(&labels).inc();
            }
        }
        Ok(wait)
    }

    /// Pods on a silent node are not ready for anybody, whatever they said last.
    async fn unready_pods(&self, key: &Key) -> Result<(), Error> {
        for pod in self.pods.get(&key.name) {
            if !crate::pods::is_ready(&pod) {
                continue;
            }
            let pod_key = Key::of(&*pod);
            let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &pod_key.namespace);
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": self.kit.time()},
            ]}});
            let result = api
                .patch_status(
                    &pod_key.name,
                    &PatchParams::default(),
                    &Patch::Strategic(&patch),
                )
                .await;
            match result.on("patch status of", "pod", || pod_key.clone()) {
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
                Ok(_) => self.kit.recorder.on(
                    &*pod,
                    EventType::Warning,
                    "NodeNotReady",
                    "Node is not ready",
                ),
            }
        }
        Ok(())
    }

    fn tell(&self, key: &Key, node: Option<&Node>, reason: &str, message: String) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(key.name.to_string()),
            uid: node.and_then(|node| node.metadata.uid.clone()),
            ..ObjectReference::default()
        };
        self.kit
            .recorder
            .event(about, EventType::Normal, reason, message);
    }
}

/// The conditions to write for a node that has fallen silent; none if they say so already.
fn unknown(node: &Node, now: &Time) -> Option<Vec<Value>> {
    let conditions: Vec<_> = REPORTED
        .into_iter()
        .filter(|type_| taints::condition(node, type_) != Some("Unknown"))
        .map(|type_| {
            let (reason, message) = if taints::condition(node, type_).is_some() {
                ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            } else {
                (
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                )
            };
            let mut condition = json!({
                "type": type_,
                "status": "Unknown",
                "reason": reason,
                "message": message,
                "lastTransitionTime": now,
            });
            if reason == "NodeStatusNeverUpdated" {
                condition["lastHeartbeatTime"] = json!(node.metadata.creation_timestamp);
            }
            condition
        })
        .collect();
    (!conditions.is_empty()).then_some(conditions)
}

/// The old names of labels that have to be added or to follow the new ones.
fn old_labels(node: &Node) -> BTreeMap<&'static str, &str> {
    let labels = node.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    [
        ("kubernetes.io/os", "beta.kubernetes.io/os"),
        ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
    ]
    .into_iter()
    .filter_map(|(new, old)| {
        let value = label(new)?;
        (label(old) != Some(value)).then_some((old, value.as_str()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_becomes_unknown_once() {
        let now = Time(Timestamp::from_second(100).unwrap());
        let node = |conditions: Value| -> Node {
            serde_json::from_value(
                json!({"metadata": {"name": "n", "creationTimestamp": "1970-01-01T00:00:07Z"},
                    "status": {"conditions": conditions}}),
            )
            .unwrap()
        };
        let fresh = unknown(&node(json!([{"type": "Ready", "status": "True"}])), &now).unwrap();
        assert_eq!(fresh.len(), 4);
        assert_eq!(fresh[0]["reason"], "NodeStatusUnknown");
        assert_eq!(fresh[1]["reason"], "NodeStatusNeverUpdated");
        assert!(
            fresh[0]["lastHeartbeatTime"].is_null(),
            "the last heartbeat stays what it was"
        );
        assert_eq!(fresh[1]["lastHeartbeatTime"], "1970-01-01T00:00:07Z");
        let all: Vec<_> = REPORTED
            .iter()
            .map(|type_| json!({"type": type_, "status": "Unknown"}))
            .collect();
        assert!(unknown(&node(json!(all)), &now).is_none());
    }

    #[test]
    fn old_label_names_follow() {
        let cases = [
            (json!({}), json!({})),
            (json!({"beta.kubernetes.io/os": "linux"}), json!({})),
            (
                json!({"kubernetes.io/os": "linux"}),
                json!({"beta.kubernetes.io/os": "linux"}),
            ),
            (
                json!({"kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "amd64"}),
                json!({"beta.kubernetes.io/arch": "arm64"}),
            ),
            (
                json!({"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"}),
                json!({}),
            ),
        ];
        for (labels, expected) in cases {
            let node = serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
            assert_eq!(json!(old_labels(&node)), expected, "{labels}");
        }
    }
}
