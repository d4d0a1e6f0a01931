//! Which pods of a DaemonSet to create and delete, and its status: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::fit::{fit, node_of};
use super::surge;
use crate::apps::deployment::scaled;
use crate::apps::history::HASH_LABEL;
use crate::kit::sooner;
use crate::pods::{availability, is_ready, is_terminal, is_terminating};

/// Never more creates or deletes than this in one go.
const BURST: usize = 250;

/// The label of pods with the template's generation.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";

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
    // Who has ended and is being deleted is in nobody's way.
    let present = pods
        .iter()
        .filter(|pod| !(is_terminal(pod) && is_terminating(pod)));
    for pod in present {
        by_node
            .entry(node_of(pod).unwrap_or_default())
            .or_default()
            .push(pod);
    }
    for here in by_node.values_mut() {
        here.sort_by_key(|pod| seniority(pod));
    }
    // The older mark counts as well: who lost the revision, and with it the hash, need not start anew.
    let generation = generation(set);
    let is_current = |pod: &Pod| {
        let label = |name: &str| pod.metadata.labels.as_ref()?.get(name).map(String::as_str);
        label(HASH_LABEL) == Some(hash)
            || (generation.is_some() && label(GENERATION_LABEL) == generation)
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
    let on_delete = spec
        .update_strategy
        .as_ref()
        .is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete"));
    let mut sites = Vec::new();
    let mut counts = Counts::default();
    let mut roll = Roll::default();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        known.insert(name);
        let fit = fit(&template, node);
        let here = by_node.get(name).map(Vec::as_slice).unwrap_or_default();
        let wait = counts.see(fit.run, here.first().copied(), is_current, min_ready, now);
        plan.again = sooner(plan.again, wait);
        let staying: Vec<_> = here
            .iter()
            .copied()
            .filter(|pod| !is_terminating(pod))
            .collect();
        if !fit.stay {
            plan.delete.extend(staying.into_iter().cloned());
            continue;
        }
        let (ended, living): (Vec<_>, Vec<_>) =
            staying.iter().copied().partition(|pod| is_terminal(pod));
        if surges {
            if fit.run && living.is_empty() {
                plan.create.push(name.to_owned());
            }
            sites.push(surge::site(
                name, fit.run, &living, is_current, min_ready, now,
            ));
        } else {
            if fit.run && here.is_empty() {
                plan.create.push(name.to_owned());
            }
            // The oldest stays.
            plan.delete.extend(living.into_iter().skip(1).cloned());
            if fit.run || !here.is_empty() {
                roll.see(&staying, is_current, min_ready, now);
            }
        }
        for pod in ended {
            // One of a former template that is replaced need not try again.
            let replaced = !on_delete && roll.broken.iter().any(|old| Arc::ptr_eq(old, pod));
            if !replaced {
                plan.ended.push((Arc::clone(pod), name.to_owned()));
            }
        }
    }
    // Of bound pods on nodes that are gone, the pod garbage collector takes care.
    let lost = by_node
        .iter()
        .filter(|(node, _)| !known.contains(*node))
        .flat_map(|(_, here)| here)
        .filter(|pod| !is_bound(pod) && !is_terminating(pod));
    plan.delete.extend(lost.map(|pod| Arc::clone(pod)));
    if surges && !on_delete {
        let limit = scaled(&max_surge, counts.desired, true);
        let rolled = surge::roll(&sites, limit, counts.desired, min_ready, now);
        plan.create.extend(rolled.create);
        plan.delete.extend(rolled.delete);
        plan.again = sooner(plan.again, rolled.again);
    } else if !on_delete {
        let limit = rolling
            .and_then(|rolling| rolling.max_unavailable)
            .unwrap_or(IntOrString::Int(1));
        let limit = scaled(&limit, counts.desired, true).max(i32::from(counts.desired > 0));
        plan.delete.extend(roll.replaced(limit));
    }
    plan.delete
        .extend(sites.into_iter().flat_map(|site| site.delete));
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    counts.write(set, &mut plan.status);
    plan
}

/// How often the template changed, as the API counts it.
pub(super) fn generation(set: &DaemonSet) -> Option<&str> {
    let annotations = set.metadata.annotations.as_ref()?;
    let generation = annotations.get("deprecated.daemonset.template.generation")?;
    generation.parse::<i64>().is_ok().then_some(generation)
}

fn is_bound(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| !node.is_empty())
}

/// Bound before unbound, older before younger.
fn seniority(pod: &Pod) -> (bool, Option<Time>, Option<String>) {
    let meta = &pod.metadata;
    (
        !is_bound(pod),
        meta.creation_timestamp.clone(),
        meta.name.clone(),
    )
}

/// Replacing pods of former templates without a surge.
#[derive(Default)]
struct Roll {
    /// Nodes where nobody is available.
    unavailable: i32,
    /// Old pods that serve nobody.
    broken: Vec<Arc<Pod>>,
    /// Old pods that do.
    serving: Vec<Arc<Pod>>,
}

impl Roll {
    /// Takes a node into account, by its pods that are not being deleted.
    fn see(
        &mut self,
        pods: &[&Arc<Pod>],
        is_current: impl Fn(&Pod) -> bool,
        min_ready: i32,
        now: Timestamp,
    ) {
        let is_available = |pod: &Pod| availability(pod, min_ready, now).0;
        match pods {
            [pod] if is_current(pod) => self.unavailable += i32::from(!is_available(pod)),
            [old] if is_available(old) => self.serving.push(Arc::clone(old)),
            [old] => {
                self.unavailable += 1;
                self.broken.push(Arc::clone(old));
            }
            // None, or more than one: first it has to become one.
            _ => self.unavailable += 1,
        }
    }

    /// The old pods to go: those that serve nobody at once, the others as far as may be unavailable.
    fn replaced(self, limit: i32) -> Vec<Arc<Pod>> {
        let room = usize::try_from(limit - self.unavailable).unwrap_or_default();
        let mut replaced = self.broken;
        replaced.extend(self.serving.into_iter().take(room));
        replaced
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
    /// Counts a node, by its oldest pod; answers when that will be available.
    fn see(
        &mut self,
        run: bool,
        pod: Option<&Arc<Pod>>,
        is_current: impl Fn(&Pod) -> bool,
        min_ready: i32,
        now: Timestamp,
    ) -> Option<Duration> {
        self.desired += i32::from(run);
        let pod = pod?;
        if !run {
            self.misscheduled += 1;
            return None;
        }
        let (available, wait) = availability(pod, min_ready, now);
        self.current += 1;
        self.updated += i32::from(is_current(pod));
        self.ready += i32::from(is_ready(pod));
        self.available += i32::from(available);
        wait
    }

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

    fn three() -> Vec<Arc<Node>> {
        let off = json!([{"key": "x", "effect": "NoSchedule"}]);
        vec![
            node("a", json!({}), Value::Null),
            node("b", json!({}), Value::Null),
            node("c", json!({}), off),
        ]
    }

    #[test]
    fn whose_place_is_free() {
        let surge =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        let mut surging = set(json!({}));
        surging.spec.as_mut().unwrap().update_strategy = serde_json::from_value(surge).unwrap();
        let plain = set(json!({}));
        let nodes = [node("a", json!({}), Value::Null)];
        let cases: [(&str, &DaemonSet, &str, usize); 6] = [
            (
                "ended and kept by a finalizer",
                &plain,
                "p Failed node=a deleting",
                1,
            ),
            ("ended, not yet deleted", &plain, "p Failed node=a", 0),
            ("still ending", &plain, "p Running node=a deleting", 0),
            (
                "still ending, but two may be there",
                &surging,
                "p Running node=a deleting",
                1,
            ),
            (
                "ended, and two may be there",
                &surging,
                "p Failed node=a",
                1,
            ),
            ("running", &surging, "p Running node=a", 0),
        ];
        for (name, set, text, expected) in cases {
            let plan = plan(set, &nodes, &[on(text, "h")], "h", Timestamp::UNIX_EPOCH);
            assert_eq!(plan.create.len(), expected, "{name}");
        }
    }

    #[test]
    fn the_oldest_pod_is_counted_also_while_it_ends() {
        let nodes = three();
        let pods = [
            on("p Running ready node=a deleting created=1", "o"),
            on("q Pending node=b created=5", "h"),
            on("r Running ready node=b created=9", "h"),
            on("s Running ready node=c", "h"),
        ];
        let status = plan(&set(json!({})), &nodes, &pods, "h", Timestamp::UNIX_EPOCH).status;
        let counts = [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_ready,
            status.updated_number_scheduled.unwrap_or_default(),
            status.number_misscheduled,
        ];
        assert_eq!(counts, [2, 2, 1, 1, 1]);
    }

    #[test]
    fn a_node_that_takes_no_new_pods_is_rolled_as_well() {
        let nodes = three();
        let now = Timestamp::from_second(1_000).unwrap();
        let cases = [
            (
                "its old pod goes",
                vec![
                    on("p Running ready node=a", "h"),
                    on("q Running ready node=b", "h"),
                    on("r Running ready node=c", "o"),
                ],
                vec!["r"],
            ),
            (
                "two on a node are brought to one first",
                vec![
                    on("p Running ready node=a created=1", "o"),
                    on("x Running ready node=a created=2", "o"),
                    on("q Running ready node=b", "o"),
                ],
                vec!["x"],
            ),
            (
                "an ended one of a former template does not try again",
                vec![
                    on("p Failed node=a", "o"),
                    on("q Running ready node=b", "o"),
                ],
                vec!["p"],
            ),
        ];
        for (name, pods, expected) in cases {
            let plan = plan(&set(json!({})), &nodes, &pods, "h", now);
            assert_eq!(names(&plan.delete), expected, "{name}");
            assert!(plan.ended.is_empty() && plan.create.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_generation_tells_a_pod_of_the_present_template_too() {
        let mut set = set(json!({}));
        let annotation = "deprecated.daemonset.template.generation".to_owned();
        set.metadata.annotations = Some([(annotation, "3".to_owned())].into());
        let nodes = [node("a", json!({}), Value::Null)];
        let now = Timestamp::from_second(1_000).unwrap();
        for (generation, expected) in [("3", 0), ("2", 1)] {
            let pod = on(
                &format!("p Running ready node=a {GENERATION_LABEL}={generation}"),
                "gone",
            );
            let plan = plan(&set, &nodes, &[pod], "h", now);
            assert_eq!(plan.delete.len(), expected, "{generation}");
        }
    }

    #[test]
    fn unbound_pods_of_a_node_that_is_gone_go() {
        let tied = |name: &str| {
            let mut pod = pod(&format!("{name} Pending {HASH_LABEL}=h"));
            super::super::fit::tie(pod.spec.as_mut().unwrap(), "gone");
            Arc::new(pod)
        };
        let pods = [
            tied("p"),
            on("q Running node=gone", "h"),
            on("r Running node=a", "h"),
        ];
        let nodes = [node("a", json!({}), Value::Null)];
        let plan = plan(&set(json!({})), &nodes, &pods, "h", Timestamp::UNIX_EPOCH);
        assert_eq!(names(&plan.delete), ["p"]);
    }
}
