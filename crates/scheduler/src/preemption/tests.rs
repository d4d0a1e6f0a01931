//! Who has to go, and who waits for it.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cache::tests::node,
    decide::{Scheduler, Verdict},
    framework::profile::Profile,
};

fn scheduler(nodes: impl IntoIterator<Item = Arc<Node>>) -> Scheduler {
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    for node in nodes {
        scheduler.node_applied(node, Instant::now());
    }
    scheduler
}

fn pod(name: &str, priority: i32, cpu: &str, change: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    });
    for (part, fields) in change.as_object().unwrap() {
        for (key, value) in fields.as_object().unwrap() {
            pod[part][key] = value.clone();
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn on(scheduler: &mut Scheduler, node: &str, name: &str, priority: i32, cpu: &str, status: Value) {
    let placed = json!({"spec": {"nodeName": node}, "status": status});
    scheduler.pod_applied(pod(name, priority, cpu, placed), Instant::now());
}

fn budget(scheduler: &mut Scheduler, app: &str, allowed: i32) {
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": app, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    }))
    .unwrap();
    scheduler.cache.budgets.apply("default", app, Some(&budget));
}

fn verdict(scheduler: &mut Scheduler, pod: Arc<Pod>) -> Verdict {
    let now = Instant::now();
    scheduler.pod_applied(pod, now);
    scheduler.next(now, &mut |_| 0).unwrap().verdict
}

/// The node and the victims, or what preemption says.
fn room(scheduler: &mut Scheduler, pod: Arc<Pod>) -> Result<(String, Vec<String>), String> {
    match verdict(scheduler, pod) {
        Verdict::Unschedulable {
            preempt: Some(candidate),
            ..
        } => {
            let victims = candidate.victims.iter().map(|v| v.name().to_owned());
            Ok((candidate.node.to_string(), victims.collect()))
        }
        Verdict::Unschedulable { diagnosis, .. } => Err(diagnosis.preemption.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_is_lost() {
    // Nodes a and b, each with pods of (name, priority, cpu); who has to go for 2 CPUs.
    type Pods<'p> = &'p [(&'p str, i32, &'p str)];
    type Case<'c> = (&'c str, Pods<'c>, Pods<'c>, (&'c str, &'c [&'c str]));
    let cases: [Case<'_>; 4] = [
        (
            "lowest highest priority",
            &[("a1", 5, "4")],
            &[("b1", 4, "2"), ("b2", 3, "2")],
            ("b", &["b2"]),
        ),
        (
            "lowest sum",
            &[("a1", 5, "1"), ("a2", 5, "1"), ("a3", 9, "2")],
            &[("b1", 5, "2"), ("b2", 9, "2")],
            ("b", &["b1"]),
        ),
        (
            "no more than needed, the more important stay",
            &[
                ("a1", 1, "1"),
                ("a2", 2, "1"),
                ("a3", 3, "1"),
                ("a4", 4, "1"),
            ],
            &[("b1", 1000, "4")],
            ("a", &["a2", "a1"]),
        ),
        (
            "equals are left alone",
            &[("a1", 100, "4")],
            &[("b1", 99, "4")],
            ("b", &["b1"]),
        ),
    ];
    for (what, on_a, on_b, (node_wanted, victims)) in cases {
        let mut s = scheduler([node("a", "4", "8Gi"), node("b", "4", "8Gi")]);
        for (place, pods) in [("a", on_a), ("b", on_b)] {
            for (name, priority, cpu) in pods {
                on(&mut s, place, name, *priority, cpu, json!({}));
            }
        }
        let found = room(&mut s, pod("p", 100, "2", json!({}))).unwrap();
        let victims: Vec<String> = victims.iter().map(|v| (*v).to_string()).collect();
        assert_eq!(found, (node_wanted.to_owned(), victims), "{what}");
    }
}

#[test]
fn later_starts_are_lost_rather_than_earlier_ones() {
    let mut s = scheduler([node("a", "2", "8Gi"), node("b", "2", "8Gi")]);
    on(
        &mut s,
        "a",
        "old",
        1,
        "2",
        json!({"startTime": "2026-01-01T00:00:00Z"}),
    );
    on(
        &mut s,
        "b",
        "new",
        1,
        "2",
        json!({"startTime": "2026-01-02T00:00:00Z"}),
    );
    let found = room(&mut s, pod("p", 10, "2", json!({}))).unwrap();
    assert_eq!(found, ("b".into(), vec!["new".into()]));
}

#[test]
fn disruption_budgets_are_kept_where_possible() {
    let mut s = scheduler([node("a", "2", "8Gi"), node("b", "2", "8Gi")]);
    on(&mut s, "a", "shielded", 1, "2", json!({}));
    on(&mut s, "b", "other", 5, "2", json!({}));
    budget(&mut s, "shielded", 0);
    let found = room(&mut s, pod("p", 10, "2", json!({}))).unwrap();
    assert_eq!(found.0, "b", "although its pod is more important");
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "shielded", 1, "2", json!({}));
    budget(&mut s, "shielded", 0);
    assert!(
        room(&mut s, pod("p", 10, "2", json!({}))).is_ok(),
        "budgets do not forbid preemption"
    );
}

#[test]
fn upstreams_words_where_nobody_can_go() {
    let fresh = || scheduler([node("a", "2", "8Gi"), node("tiny", "1", "8Gi")]);
    let mut s = fresh();
    on(&mut s, "a", "peer", 10, "2", json!({}));
    on(&mut s, "a", "daemon", 1, "0", json!({}));
    let cases = [
        (
            pod("p", 10, "2", json!({})),
            "0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling.",
        ),
        (
            pod("q", 10, "2", json!({"spec": {"preemptionPolicy": "Never"}})),
            "not eligible due to preemptionPolicy=Never.",
        ),
    ];
    for (pod, want) in cases {
        assert_eq!(room(&mut s, pod), Err(want.to_owned()));
    }
    let mut s = fresh();
    on(&mut s, "a", "peer", 10, "2", json!({}));
    let want = "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.";
    assert_eq!(
        room(&mut s, pod("p", 10, "2", json!({}))),
        Err(want.to_owned())
    );
}

#[test]
fn room_that_was_made_is_kept_for_whom_it_was_made() {
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "victim", 1, "2", json!({}));
    assert!(room(&mut s, pod("urgent", 10, "2", json!({}))).is_ok());
    s.pod_deleted("victim", Instant::now());
    // `urgent` is tried first; until it is placed, nobody of no more importance takes its room.
    let now = Instant::now();
    let first = s.next(now, &mut |_| 0).unwrap();
    assert_eq!(first.attempt.pod.name(), "urgent");
    assert!(matches!(first.verdict, Verdict::Bind { .. }));

    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "victim", 1, "2", json!({}));
    assert!(room(&mut s, pod("urgent", 10, "2", json!({}))).is_ok());
    let late = pod("late", 10, "1", json!({}));
    assert!(
        matches!(verdict(&mut s, late), Verdict::Unschedulable { .. }),
        "although it would fit beside nobody"
    );
}

#[test]
fn who_waits_for_victims_evicts_no_more() {
    let mut s = scheduler([node("a", "2", "8Gi"), node("b", "2", "8Gi")]);
    on(&mut s, "a", "v1", 1, "2", json!({}));
    on(&mut s, "b", "v2", 2, "2", json!({}));
    let found = room(&mut s, pod("urgent", 10, "2", json!({}))).unwrap();
    assert_eq!(found, ("a".into(), vec!["v1".into()]));
    let leaving = json!({
        "spec": {"nodeName": "a"}, "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    });
    s.pod_applied(pod("v1", 1, "2", leaving), Instant::now());
    let changed = pod(
        "urgent",
        10,
        "2",
        json!({"metadata": {"labels": {"x": "y"}}}),
    );
    let said = room(&mut s, changed);
    assert_eq!(
        said,
        Err("not eligible due to a terminating pod on the nominated node.".to_owned())
    );
}

#[test]
fn the_more_important_takes_the_room_of_the_less_important() {
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "victim", 1, "2", json!({}));
    assert!(room(&mut s, pod("urgent", 10, "2", json!({}))).is_ok());
    let Verdict::Unschedulable {
        preempt: Some(candidate),
        ..
    } = verdict(&mut s, pod("more", 20, "2", json!({})))
    else {
        panic!("no room")
    };
    let displaced: Vec<&str> = candidate.displaced.iter().map(|p| p.name()).collect();
    assert_eq!(displaced, ["urgent"]);
}

#[test]
fn anti_affinity_goes_with_the_pod_that_has_it() {
    let mut s = scheduler([node("a", "4", "8Gi")]);
    let far = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "p"}}}]}});
    let hostile = pod(
        "hostile",
        1,
        "1",
        json!({"spec": {"nodeName": "a", "affinity": far}}),
    );
    s.pod_applied(hostile, Instant::now());
    on(&mut s, "a", "harmless", 1, "1", json!({}));
    let found = room(&mut s, pod("p", 10, "1", json!({}))).unwrap();
    assert_eq!(found, ("a".into(), vec!["hostile".into()]));
}

#[test]
fn an_empty_budget_shields_nobody() {
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "old", 1, "500m", json!({}));
    let later = json!({"startTime": "2026-01-01T01:00:00Z"});
    on(&mut s, "a", "new", 1, "500m", later);
    let all: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "all", "namespace": "default"}, "spec": {"selector": {}},
        "status": {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    }))
    .unwrap();
    s.cache.budgets.apply("default", "all", Some(&all));
    let found = room(&mut s, pod("p", 10, "1500m", json!({}))).unwrap();
    assert_eq!(found.1, ["new"], "the older one stays");
}

#[test]
fn what_wants_to_be_near_victims_may_be_the_first_of_its_kind() {
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "friend", 1, "2", json!({}));
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}});
    let p = pod("p", 10, "2", json!({"spec": {"affinity": near}}));
    let found = room(&mut s, p).unwrap();
    assert_eq!(found, ("a".into(), vec!["friend".into()]));
}

#[test]
fn two_terms_about_one_label_count_a_victim_twice() {
    let mut s = scheduler([node("a", "3", "8Gi"), node("b", "1", "8Gi")]);
    on(&mut s, "a", "friend", 1, "2", json!({}));
    on(&mut s, "b", "far-off", 1, "1", json!({}));
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {}});
    let near =
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term, term]}});
    // Without its only friend it has nobody there, and there are others elsewhere.
    let p = pod("p", 10, "2", json!({"spec": {"affinity": near}}));
    assert!(room(&mut s, p).is_err());
}

#[test]
fn a_nomination_stays_where_nobody_is_looked_for() {
    let mut s = scheduler([node("a", "2", "8Gi")]);
    on(&mut s, "a", "peer", 10, "2", json!({}));
    let nominated =
        json!({"spec": {"preemptionPolicy": "Never"}, "status": {"nominatedNodeName": "a"}});
    let Verdict::Unschedulable { clear, .. } = verdict(&mut s, pod("p", 10, "2", nominated)) else {
        panic!("fits")
    };
    assert!(!clear);
    assert!(s.cache.nomination("p").is_some());
}

#[test]
fn who_waits_for_victims_looks_elsewhere_when_they_cannot_help() {
    let mut s = scheduler([node("a", "2", "8Gi"), node("b", "4", "8Gi")]);
    let leaving = json!({
        "spec": {"nodeName": "a"}, "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    });
    s.pod_applied(pod("v1", 1, "2", leaving), Instant::now());
    on(&mut s, "b", "v2", 1, "4", json!({}));
    let nominated = json!({"status": {"nominatedNodeName": "a"}});
    let found = room(&mut s, pod("big", 10, "3", nominated)).unwrap();
    assert_eq!(found, ("b".into(), vec!["v2".into()]));
}
