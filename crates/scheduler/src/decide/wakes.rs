//! Whom what happens wakes: upstream's queueing hints, pod by pod.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Scheduler, Verdict};
use crate::framework::profile::Profile;

fn node(name: &str, labels: Value) -> Arc<Node> {
    let node = json!({"metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, app: &str, spec: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn term(key: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "db"}}}]})
}

fn near(key: &str) -> Value {
    json!({"affinity": {"podAffinity": term(key)}})
}

fn far(key: &str) -> Value {
    json!({"affinity": {"podAntiAffinity": term(key)}})
}

fn spread(key: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "db"}}}]})
}

fn on(node: &str) -> Value {
    json!({"nodeName": node})
}

struct Cluster {
    scheduler: Scheduler,
    now: Instant,
}

impl Cluster {
    fn new(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Cluster {
        let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
        let now = Instant::now();
        for node in nodes {
            scheduler.node_applied(node.clone(), now);
        }
        for pod in pods {
            scheduler.pod_applied(pod.clone(), now);
        }
        Cluster { scheduler, now }
    }

    /// The names of the pods that are tried, those that are placed with the node's.
    fn tried(&mut self) -> Vec<String> {
        // Long enough for every back-off, too short for the end of parking.
        self.now += Duration::from_secs(20);
        let mut tried: Vec<String> = Vec::new();
        while let Some(decision) = self.scheduler.next(self.now, &mut |_| 0) {
            let name = decision.attempt.pod.name();
            tried.push(match decision.verdict {
                Verdict::Bind { node, .. } => format!("{name}@{node}"),
                _ => name.to_owned(),
            });
        }
        tried
    }

    /// Parks a pod.
    fn parked(mut self, pod: Arc<Pod>) -> Cluster {
        let name = pod.metadata.name.clone().unwrap();
        self.scheduler.pod_applied(pod, self.now);
        assert_eq!(self.tried(), [name]);
        self
    }
}

#[test]
fn a_pod_that_comes_wakes_those_that_want_to_be_near_it() {
    let nodes = [node("a", json!({"host": "a"}))];
    let mut c = Cluster::new(&nodes, &[]).parked(pod("p", "web", near("host")));
    c.scheduler
        .pod_applied(pod("other", "web", json!({})), c.now);
    assert_eq!(c.tried(), ["other@a"], "helps nobody");
    c.scheduler
        .pod_applied(pod("friend", "db", json!({})), c.now);
    assert_eq!(c.tried()[0], "friend@a");
    c.scheduler.pod_applied(pod("friend", "db", on("a")), c.now);
    let mut tried = c.tried();
    tried.dedup();
    assert_eq!(tried, ["p@a"]);
}

#[test]
fn a_pod_that_is_not_what_it_was_wakes_those_that_avoid_it() {
    let nodes = [node("a", json!({"host": "a"}))];
    let pods = [pod("foe", "db", on("a"))];
    let mut c = Cluster::new(&nodes, &pods).parked(pod("p", "web", far("host")));
    c.scheduler.pod_applied(pod("foe", "web", on("a")), c.now);
    assert_eq!(c.tried(), ["p@a"]);
}

#[test]
fn a_node_that_goes_or_leaves_its_domain_wakes_those_that_spread() {
    let nodes = || {
        [
            node("a", json!({"zone": "a"})),
            node("b", json!({"zone": "b"})),
        ]
    };
    let cordoned = {
        let mut node = (*nodes()[1]).clone();
        node.spec.get_or_insert_default().unschedulable = Some(true);
        Arc::new(node)
    };
    let pods = [pod("q", "db", on("a"))];
    let parked = || {
        let mut c = Cluster::new(&nodes(), &pods);
        c.scheduler.node_applied(cordoned.clone(), c.now);
        c.parked(pod("p", "db", spread("zone")))
    };
    let mut c = parked();
    c.scheduler.node_deleted("b", c.now);
    assert_eq!(c.tried(), ["p@a"], "it went");
    let mut c = parked();
    let mut unlabelled = (*cordoned).clone();
    unlabelled.metadata.labels = None;
    c.scheduler.node_applied(Arc::new(unlabelled), c.now);
    assert_eq!(c.tried(), ["p@a"], "it has no zone any more");
}

#[test]
fn a_node_that_leaves_a_domain_wakes_those_that_avoid_it() {
    let nodes = [
        node("a", json!({"zone": "z"})),
        node("b", json!({"zone": "z", "host": "b"})),
    ];
    let pods = [pod("foe", "db", on("a"))];
    let both = json!({"affinity": {"podAntiAffinity": term("zone"), "podAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
    let mut c = Cluster::new(&nodes, &pods).parked(pod("p", "web", both));
    c.scheduler.node_applied(node("a", json!({})), c.now);
    assert_eq!(c.tried(), ["p@b"]);
}

#[test]
fn a_nominated_pod_that_goes_wakes_those_it_kept_out() {
    let nodes = [node("a", json!({}))];
    let four = |priority: i32| json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]});
    let mut placed = four(1);
    placed["nodeName"] = json!("a");
    let mut c =
        Cluster::new(&nodes, &[pod("victim", "db", placed)]).parked(pod("urgent", "web", four(10)));
    c.scheduler.pod_deleted("victim", c.now);
    // While `urgent` backs off, another comes and is kept out.
    let mut c = {
        let late = pod("late", "web", four(9));
        c.scheduler.pod_applied(late, c.now);
        c
    };
    let first = c.scheduler.next(c.now, &mut |_| 0).unwrap();
    assert_eq!(first.attempt.pod.name(), "late");
    assert!(matches!(first.verdict, Verdict::Unschedulable { .. }));
    c.scheduler.pod_deleted("urgent", c.now);
    assert_eq!(c.tried(), ["late@a"]);
}
