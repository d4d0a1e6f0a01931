//! Decisions on small clusters: which node, and upstream's words when there is none.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Scheduler, Verdict};
use crate::cache::PodInfo;
use crate::{
    cache::tests::{asking, node, pod},
    framework::profile::Profile,
};

fn scheduler(nodes: impl IntoIterator<Item = Arc<Node>>) -> Scheduler {
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    for node in nodes {
        scheduler.node_applied(node, Instant::now());
    }
    scheduler
}

fn decide(scheduler: &mut Scheduler, now: Instant) -> Option<(Arc<PodInfo>, Verdict)> {
    let decision = scheduler.next(now, &mut |_| 0)?;
    Some((decision.attempt.pod, decision.verdict))
}

fn place(scheduler: &mut Scheduler, pod: Arc<Pod>) -> Result<String, String> {
    let now = Instant::now();
    scheduler.pod_applied(pod, now);
    match decide(scheduler, now) {
        Some((_, Verdict::Bind { node, .. })) => Ok(node.to_string()),
        Some((_, Verdict::Unschedulable { diagnosis, .. })) => Err(diagnosis.message()),
        Some((_, other)) => Err(format!("{other:?}")),
        None => Err("not tried".into()),
    }
}

fn changed(node: &Arc<Node>, patch: Value) -> Arc<Node> {
    let mut value = serde_json::to_value(&**node).unwrap();
    for (key, part) in patch.as_object().unwrap() {
        for (name, field) in part.as_object().unwrap() {
            value[key][name] = field.clone();
        }
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn a_pod_goes_where_most_is_free() {
    let mut s = scheduler([node("a", "4", "8Gi"), node("b", "4", "8Gi")]);
    assert_eq!(place(&mut s, pod("p1", asking("1"))), Ok("a".into()));
    assert_eq!(place(&mut s, pod("p2", asking("1"))), Ok("b".into()));
    assert_eq!(place(&mut s, pod("p3", asking("3"))), Ok("a".into()));
}

#[test]
fn reasons_are_upstreams() {
    let small = node("small", "1", "8Gi");
    let tainted = changed(
        &node("tainted", "8", "8Gi"),
        json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}),
    );
    let cordoned = changed(
        &node("cordoned", "8", "8Gi"),
        json!({"spec": {"unschedulable": true}}),
    );
    let mut s = scheduler([small, tainted, cordoned]);
    assert_eq!(
        place(&mut s, pod("p", asking("2"))),
        Err("0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. \
             no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.".into())
    );
    let mut spec = asking("100m");
    spec["nodeSelector"] = json!({"disk": "ssd"});
    assert_eq!(
        place(&mut scheduler([node("a", "4", "8Gi")]), pod("q", spec)),
        Err(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
             no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
                .into()
        )
    );
    assert_eq!(
        place(&mut scheduler([]), pod("r", asking("1"))),
        Err("no nodes available to schedule pods".into())
    );
}

#[test]
fn host_ports_do_not_meet_on_one_node() {
    let spec = json!({"schedulerName": "default-scheduler",
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
    let mut s = scheduler([node("a", "4", "8Gi")]);
    assert_eq!(place(&mut s, pod("p", spec.clone())), Ok("a".into()));
    let message = place(&mut s, pod("q", spec)).unwrap_err();
    assert!(
        message.contains("1 node(s) didn't have free ports for the requested pod ports"),
        "{message}"
    );
}

#[test]
fn affinity_by_name_and_by_expression() {
    let affinity = |term: Value| {
        let mut spec = asking("100m");
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
        spec
    };
    let mut s = scheduler([node("a", "4", "8Gi"), node("b", "4", "8Gi")]);
    let by_name =
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]});
    assert_eq!(place(&mut s, pod("p", affinity(by_name))), Ok("b".into()));
    let by_label = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["b"]}]});
    assert_eq!(place(&mut s, pod("q", affinity(by_label))), Ok("a".into()));
    assert!(
        place(&mut s, pod("r", affinity(json!({})))).is_err(),
        "an empty term matches nothing"
    );
}

#[test]
fn tolerations_open_taints() {
    let tainted = changed(
        &node("a", "4", "8Gi"),
        json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}),
    );
    let cases = [
        (json!([{"key": "k", "value": "v"}]), true),
        (
            json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]),
            true,
        ),
        (json!([{"operator": "Exists"}]), true),
        (json!([{"key": "k", "value": "other"}]), false),
        (
            json!([{"key": "k", "value": "v", "effect": "NoExecute"}]),
            false,
        ),
    ];
    for (tolerations, fits) in cases {
        let mut spec = asking("1");
        spec["tolerations"] = tolerations.clone();
        assert_eq!(
            place(&mut scheduler([tainted.clone()]), pod("p", spec)).is_ok(),
            fits,
            "{tolerations}"
        );
    }
}

#[test]
fn a_failed_binding_gives_the_room_back_and_is_tried_again() {
    let mut s = scheduler([node("a", "1", "8Gi")]);
    let now = Instant::now();
    s.pod_applied(pod("p", asking("1")), now);
    let Some((p, Verdict::Bind { .. })) = decide(&mut s, now) else {
        panic!("not placed")
    };
    s.bind_failed(&p, now);
    assert!(decide(&mut s, now).is_none(), "backing off");
    assert!(matches!(
        decide(&mut s, now + Duration::from_secs(2)),
        Some((_, Verdict::Bind { .. }))
    ));
}

#[test]
fn a_stale_event_of_an_assumed_pod_does_not_place_it_twice() {
    let mut s = scheduler([node("a", "4", "8Gi")]);
    let now = Instant::now();
    s.pod_applied(pod("p", asking("1")), now);
    assert!(matches!(
        decide(&mut s, now),
        Some((_, Verdict::Bind { .. }))
    ));
    s.pod_applied(pod("p", asking("1")), now);
    assert!(decide(&mut s, now).is_none());
}

#[test]
fn a_pod_waits_for_room_and_takes_it() {
    let mut s = scheduler([node("a", "1", "8Gi")]);
    let now = Instant::now();
    assert!(place(&mut s, pod("p", asking("1"))).is_ok());
    assert!(place(&mut s, pod("q", asking("1"))).is_err());
    s.pod_deleted("p", now + Duration::from_secs(5));
    assert!(matches!(
        decide(&mut s, now + Duration::from_secs(5)),
        Some((_, Verdict::Bind { .. }))
    ));
}

#[test]
fn the_less_important_make_room() {
    let mut s = scheduler([node("a", "1", "8Gi"), node("b", "1", "8Gi")]);
    let with_priority = |cpu: &str, priority: i32| {
        let mut spec = asking(cpu);
        spec["priority"] = json!(priority);
        spec
    };
    assert_eq!(
        place(&mut s, pod("high", with_priority("1", 100))),
        Ok("a".into())
    );
    assert_eq!(
        place(&mut s, pod("low", with_priority("1", 1))),
        Ok("b".into())
    );
    let now = Instant::now();
    s.pod_applied(pod("urgent", with_priority("1", 1000)), now);
    let Some((
        _,
        Verdict::Unschedulable {
            preempt: Some(candidate),
            ..
        },
    )) = decide(&mut s, now)
    else {
        panic!("no candidate")
    };
    assert_eq!(&*candidate.node, "b");
    assert_eq!(
        candidate
            .victims
            .iter()
            .map(|v| v.name())
            .collect::<Vec<_>>(),
        ["low"]
    );
}

#[test]
fn gated_terminating_and_foreign_pods_are_left_alone() {
    let mut s = scheduler([node("a", "1", "8Gi")]);
    let mut gated = asking("1");
    gated["schedulingGates"] = json!([{"name": "g"}]);
    assert_eq!(place(&mut s, pod("p", gated)), Err("not tried".into()));
    let mut foreign = asking("1");
    foreign["schedulerName"] = json!("other");
    assert_eq!(place(&mut s, pod("q", foreign)), Err("not tried".into()));
}

fn in_zone(name: &str, zone: &str) -> Arc<Node> {
    changed(
        &node(name, "4", "8Gi"),
        json!({"metadata": {"labels": {"zone": zone, "kubernetes.io/hostname": name}}}),
    )
}

fn labelled(name: &str, more: Value) -> Arc<Pod> {
    let mut spec = asking("100m");
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut value = serde_json::to_value(&*pod(name, spec)).unwrap();
    value["metadata"]["labels"] = json!({"app": "web"});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn hard_spread_keeps_zones_even() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let mut s = scheduler([in_zone("a", "1"), in_zone("b", "1"), in_zone("c", "2")]);
    let mut zones: Vec<String> = (0..4)
        .map(|n| place(&mut s, labelled(&format!("p{n}"), spread.clone())).unwrap())
        .collect();
    zones.sort();
    assert_eq!(zones, ["a", "b", "c", "c"]);
    let mut full = scheduler([node("plain", "4", "8Gi")]);
    let message = place(&mut full, labelled("q", spread)).unwrap_err();
    assert!(
        message.contains(
            "1 node(s) didn't match pod topology spread constraints (missing required label)"
        ),
        "{message}"
    );
}

#[test]
fn affinity_and_anti_affinity_between_pods() {
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let far = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let mut s = scheduler([in_zone("a", "1"), in_zone("b", "2")]);
    let first = place(&mut s, labelled("p0", near.clone())).unwrap();
    assert_eq!(
        place(&mut s, labelled("p1", near)).unwrap(),
        first,
        "the second joins the first"
    );
    let other = place(&mut s, labelled("p2", far.clone())).unwrap();
    assert_ne!(other, first);
    let message = place(&mut s, labelled("p3", far)).unwrap_err();
    assert!(
        message.contains("2 node(s) didn't match pod anti-affinity rules"),
        "{message}"
    );
    let message = place(
        &mut s,
        labelled(
            "p4",
            json!({"nodeSelector": {"zone": if other == "a" { "1" } else { "2" }}}),
        ),
    )
    .unwrap_err();
    assert!(
        message.contains("1 node(s) didn't satisfy existing pods anti-affinity rules"),
        "{message}"
    );
}
