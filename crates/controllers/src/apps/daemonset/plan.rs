//! Which pods of a DaemonSet to create and delete, and its status: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::fit::{fit, node_of};
use super::surge;
use crate::apps::deployment::scaled;
use crate::apps::history::HASH_LABEL;
use crate::kit::sooner;
use crate::pods::{availability, is_ready, is_terminating, phase};

/// Never more creates or deletes than this in one go.
const BURST: usize = 250;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names of nodes.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Ended pods among those deleted, with their nodes, for events and for the pace of retries.
    pub ended: Vec<(Arc<Pod>, String)>,
    pub status: DaemonSetStatus,
    pub again: Option<Duration>,
}

/// Plans. `hash` is that of the present template.
pub(super) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    hash: &str,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        status: set.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let Some(spec) = &set.spec else { return plan };
    let template = spec.template.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        by_node
            .entry(node_of(pod).unwrap_or_default())
            .or_default()
            .push(pod);
    }
    let is_current = |pod: &Pod| {
        pod.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(HASH_LABEL))
            .map(String::as_str)
            == Some(hash)
    };
    let rolling = spec
        .update_strategy
        .as_ref()
        .filter(|strategy| strategy.type_.as_deref() != Some("OnDelete"));
    let rolling = rolling.and_then(|strategy| strategy.rolling_update.clone());
    let max_surge = rolling
        .as_ref()
        .and_then(|rolling| rolling.max_surge.clone())
        .unwrap_or(IntOrString::Int(0));
    let surges = ![IntOrString::Int(0), IntOrString::String("0%".to_owned())].contains(&max_surge);
    let mut sites = Vec::new();
    let mut counts = Counts::default();
    let mut old: Vec<(Arc<Pod>, bool)> = Vec::new();
    let mut unavailable = 0;
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        known.insert(name);
        let fit = fit(&template, node);
        let here = by_node.get(name).map(Vec::as_slice).unwrap_or_default();
        counts.desired += i32::from(fit.run);
        if !fit.run && !here.is_empty() {
            counts.misscheduled += 1;
        }
        if !fit.stay {
            plan.delete.extend(
                here.iter()
                    .filter(|pod| !is_terminating(pod))
                    .map(|pod| Arc::clone(pod)),
            );
            continue;
        }
        let mut living: Vec<&Arc<Pod>> = Vec::new();
        for pod in here.iter().filter(|pod| !is_terminating(pod)) {
            if matches!(phase(pod), "Failed" | "Succeeded") {
                plan.ended.push((Arc::clone(pod), name.to_owned()));
            } else {
                living.push(pod);
            }
        }
        // The oldest stays.
        living.sort_by_key(|pod| {
            (
                pod.metadata.creation_timestamp.clone(),
                pod.metadata.name.clone(),
            )
        });
        let kept = living.first().copied();
        if surges {
            let site = surge::site(name, &living, is_current, min_ready, now);
            plan.delete.extend(site.delete.iter().cloned());
            sites.push(site);
        } else {
            plan.delete.extend(living.into_iter().skip(1).cloned());
        }
        if fit.run && here.is_empty() {
            plan.create.push(name.to_owned());
        }
        if !fit.run {
            continue;
        }
        let Some(pod) = kept else {
            unavailable += 1;
            continue;
        };
        counts.current += 1;
        counts.updated += i32::from(is_current(pod));
        counts.ready += i32::from(is_ready(pod));
        let (available, wait) = availability(pod, min_ready, now);
        plan.again = sooner(plan.again, wait);
        if available {
            counts.available += 1;
        } else {
            unavailable += 1;
        }
        if !is_current(pod) && !surges {
            old.push((Arc::clone(pod), available));
        }
    }
    // Of pods on nodes that are gone, the pod garbage collector takes care.
    let on_delete = spec
        .update_strategy
        .as_ref()
        .is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete"));
    if surges {
        let limit = scaled(&max_surge, counts.desired, true);
        let (nodes, again) = surge::roll(&sites, limit, min_ready, now);
        plan.create.extend(nodes);
        plan.again = sooner(plan.again, again);
    } else if !on_delete {
        let limit = rolling
            .and_then(|rolling| rolling.max_unavailable)
            .unwrap_or(IntOrString::Int(1));
        let limit = scaled(&limit, counts.desired, true).max(i32::from(counts.desired > 0));
        roll(&mut plan, old, limit - unavailable);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    counts.write(set, &mut plan.status);
    plan
}

/// Deletes old pods: those that serve nobody at once, the others as far as may be unavailable.
fn roll(plan: &mut Plan, old: Vec<(Arc<Pod>, bool)>, mut allowed: i32) {
    let (available, unavailable): (Vec<_>, Vec<_>) =
        old.into_iter().partition(|(_, available)| *available);
    plan.delete
        .extend(unavailable.into_iter().map(|(pod, _)| pod));
    for (pod, _) in available {
        if allowed <= 0 {
            return;
        }
        allowed -= 1;
        plan.delete.push(pod);
    }
}

#[derive(Default)]
struct Counts {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    updated: i32,
    available: i32,
}

impl Counts {
    fn write(&self, set: &DaemonSet, status: &mut DaemonSetStatus) {
        let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
        status.observed_generation = set.metadata.generation;
        status.desired_number_scheduled = self.desired;
        status.current_number_scheduled = self.current;
        status.number_misscheduled = self.misscheduled;
        status.number_ready = self.ready;
        status.updated_number_scheduled = nonzero(self.updated);
        status.number_available = nonzero(self.available);
        status.number_unavailable = nonzero(self.desired - self.available);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::{Value, json};

    fn set(template: Value) -> DaemonSet {
        let mut spec = json!({"selector": {}, "template": {"spec": template},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}});
        spec["template"]["spec"]["containers"] = json!([{"name": "c"}]);
        serde_json::from_value(json!({"metadata": {"name": "d", "generation": 2}, "spec": spec}))
            .unwrap()
    }

    fn node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
        let node =
            json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn on(text: &str, hash: &str) -> Arc<Pod> {
        Arc::new(pod(&format!("{text} {HASH_LABEL}={hash}")))
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter()
            .map(|pod| pod.metadata.name.as_deref().unwrap())
            .collect()
    }

    #[test]
    fn one_pod_per_fitting_node() {
        let disk = json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]);
        let nodes = [
            node("a", json!({"os": "linux"}), Value::Null),
            node("b", json!({"os": "linux"}), disk),
            node("c", json!({"os": "other"}), Value::Null),
            node(
                "d",
                json!({"os": "linux"}),
                json!([{"key": "x", "effect": "NoSchedule"}]),
            ),
            node(
                "e",
                json!({"os": "linux"}),
                json!([{"key": "x", "effect": "NoExecute"}]),
            ),
        ];
        let set = set(json!({"nodeSelector": {"os": "linux"}}));
        let some = [
            on("p1 Running ready node=a", "h"),
            on("p2 Running ready node=a created=5", "h"),
            on("p3 Running node=c", "h"),
            on("p4 Running ready node=d", "h"),
            on("p5 Running ready node=e", "h"),
        ];
        let now = Timestamp::from_second(1_000).unwrap();
        let plan = plan(&set, &nodes, &some, "h", now);
        assert_eq!(plan.create, ["b"]);
        assert_eq!(
            names(&plan.delete),
            ["p2", "p3", "p5"],
            "p4 may stay where it could not come"
        );
        let status = plan.status;
        let counts = [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_misscheduled,
            status.number_ready,
            status.number_unavailable.unwrap_or_default(),
        ];
        assert_eq!(counts, [2, 1, 3, 1, 1]);
        let again = super::plan(
            &set,
            &nodes[..2],
            &[some[0].clone(), on("n Pending node=b", "h")],
            "h",
            now,
        );
        assert!(again.create.is_empty() && again.delete.is_empty());
    }

    #[test]
    fn rolls_within_what_may_be_unavailable() {
        let nodes: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|name| node(name, json!({}), Value::Null))
            .collect();
        let set = set(json!({}));
        let now = Timestamp::from_second(1_000).unwrap();
        let cases = [
            (
                "all well: one at a time",
                [
                    on("p Running ready node=a", "o"),
                    on("q Running ready node=b", "o"),
                    on("r Running ready node=c", "h"),
                ],
                vec!["p"],
            ),
            (
                "one is unavailable already",
                [
                    on("p Running ready node=a", "o"),
                    on("q Running ready node=b", "o"),
                    on("r Pending node=c", "h"),
                ],
                Vec::<&str>::new(),
            ),
            (
                "broken old ones go at once",
                [
                    on("p Running node=a", "o"),
                    on("q Running node=b", "o"),
                    on("r Running ready node=c", "o"),
                ],
                vec!["p", "q"],
            ),
            (
                "a terminating one counts as unavailable",
                [
                    on("p Running ready deleting node=a", "o"),
                    on("q Running ready node=b", "o"),
                    on("r Running ready node=c", "h"),
                ],
                Vec::<&str>::new(),
            ),
        ];
        for (name, pods, expected) in cases {
            let plan = plan(&set, &nodes, &pods, "h", now);
            assert_eq!(names(&plan.delete), expected, "{name}");
            assert!(plan.create.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_surge_puts_the_new_pod_beside_the_old_one() {
        let nodes: Vec<_> = ["a", "b"]
            .iter()
            .map(|name| node(name, json!({}), Value::Null))
            .collect();
        let mut set = set(json!({}));
        let rolling =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        set.spec.as_mut().unwrap().update_strategy = serde_json::from_value(rolling).unwrap();
        let now = Timestamp::from_second(1_000).unwrap();
        let old = [
            on("p Running ready node=a created=1", "o"),
            on("q Running ready node=b created=1", "o"),
        ];
        let first = plan(&set, &nodes, &old, "h", now);
        assert_eq!(
            (first.create, first.delete.len()),
            (vec!["a".to_owned()], 0)
        );
        let coming = [old.to_vec(), vec![on("n Running node=a created=9", "h")]].concat();
        let second = plan(&set, &nodes, &coming, "h", now);
        assert!(second.create.is_empty() && second.delete.is_empty());
        assert_eq!(second.status.number_ready, 2, "nobody is missed meanwhile");
        let there = [
            old.to_vec(),
            vec![on("n Running ready node=a created=9", "h")],
        ]
        .concat();
        let third = plan(&set, &nodes, &there, "h", now);
        assert_eq!(names(&third.delete), ["p"]);
        assert_eq!(third.create, ["b"]);
    }

    #[test]
    fn ended_pods_are_replaced() {
        let nodes = [node("a", json!({}), Value::Null)];
        let plan = plan(
            &set(json!({})),
            &nodes,
            &[on("p Failed node=a", "h")],
            "h",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(plan.ended.len(), 1);
        assert!(plan.create.is_empty(), "not before it is gone");
    }
}
