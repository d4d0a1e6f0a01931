//! Where pods may go because of their claims.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    bind::Prepare,
    cache::tests::node,
    decide::{Scheduler, Verdict},
    framework::profile::Profile,
};

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    for name in ["a", "b"] {
        let mut labelled = serde_json::to_value(&*node(name, "4", "8Gi")).unwrap();
        labelled["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(format!("z{name}"));
        scheduler.node_applied(object(labelled), Instant::now());
    }
    let class = json!({"metadata": {"name": "late"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"});
    scheduler.cache.volumes.class(object(class), true);
    let class = json!({"metadata": {"name": "static"}, "provisioner": "kubernetes.io/no-provisioner",
                       "volumeBindingMode": "WaitForFirstConsumer"});
    scheduler.cache.volumes.class(object(class), true);
    scheduler
}

fn claim(scheduler: &mut Scheduler, class: &str, change: Value) {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "claim"},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
                 "resources": {"requests": {"storage": "1Gi"}}},
    });
    json_patch(&mut claim, change);
    scheduler.cache.volumes.claim(object(claim), true);
}

fn json_patch(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => {
            for (key, value) in fields {
                json_patch(&mut into[key], value);
            }
        }
        other => *into = other,
    }
}

fn volume(scheduler: &mut Scheduler, name: &str, size: &str, on: &str, change: Value) {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"storageClassName": "static", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                     {"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]}]}}},
        "status": {"phase": "Available"},
    });
    json_patch(&mut volume, change);
    scheduler.cache.volumes.volume(object(volume), true);
}

fn pod(name: &str) -> Arc<Pod> {
    object(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]},
    }))
}

/// The node and what has to be written, or why there is none.
fn place(scheduler: &mut Scheduler, name: &str) -> Result<(String, Vec<Prepare>), String> {
    let now = Instant::now();
    scheduler.pod_applied(pod(name), now);
    match scheduler.next(now, &mut |_| 0).unwrap().verdict {
        Verdict::Bind { node, prepare } => Ok((node.to_string(), prepare)),
        Verdict::Unschedulable { diagnosis, .. } => Err(diagnosis.message()),
        other => panic!("{other:?}"),
    }
}

fn bound_to(volume: &str) -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume}})
}

#[test]
fn claims_that_are_not_there_or_not_bound_hold_a_pod_back() {
    let mut s = scheduler();
    let why = place(&mut s, "p").unwrap_err();
    assert!(
        why.starts_with("0/2 nodes are available: persistentvolumeclaim \"data\" not found."),
        "{why}"
    );
    let mut s = scheduler();
    let class =
        json!({"metadata": {"name": "now"}, "provisioner": "p", "volumeBindingMode": "Immediate"});
    s.cache.volumes.class(object(class), true);
    claim(&mut s, "now", json!({}));
    let why = place(&mut s, "p").unwrap_err();
    assert!(
        why.contains("pod has unbound immediate PersistentVolumeClaims"),
        "{why}"
    );
}

#[test]
fn a_bound_claim_leads_to_its_volume() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    let why = place(&mut s, "early").unwrap_err();
    assert!(
        why.contains("persistentvolume \"v1\" not found") || why.contains("non-existent pv(s)"),
        "{why}"
    );
    volume(&mut s, "v1", "1Gi", "b", json!({}));
    assert_eq!(place(&mut s, "p").unwrap().0, "b");
    volume(&mut s, "v1", "1Gi", "nowhere", json!({}));
    let why = place(&mut s, "q").unwrap_err();
    assert!(
        why.contains("2 node(s) didn't match PersistentVolume's node affinity"),
        "{why}"
    );
}

#[test]
fn a_waiting_claim_gets_the_smallest_volume_that_will_do() {
    let mut s = scheduler();
    claim(&mut s, "static", json!({}));
    volume(&mut s, "small", "500Mi", "a", json!({}));
    volume(&mut s, "large", "5Gi", "b", json!({}));
    volume(&mut s, "right", "2Gi", "b", json!({}));
    volume(
        &mut s,
        "others",
        "1Gi",
        "b",
        json!({"spec": {"claimRef": {"name": "x", "namespace": "y"}}}),
    );
    let (node, steps) = place(&mut s, "p").unwrap();
    assert_eq!(node, "b");
    let [Prepare::BindVolume { volume, .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(volume.metadata.name.as_deref(), Some("right"));
}

#[test]
fn a_volume_promised_to_one_pod_is_not_given_to_another() {
    let mut s = scheduler();
    claim(&mut s, "static", json!({}));
    volume(&mut s, "only", "2Gi", "b", json!({}));
    assert!(place(&mut s, "p").is_ok());
    let why = place(&mut s, "q").unwrap_err();
    assert!(
        why.contains("2 node(s) didn't find available persistent volumes to bind"),
        "{why}"
    );
}

#[test]
fn a_volume_is_made_where_there_is_room_for_it() {
    let mut s = scheduler();
    claim(&mut s, "late", json!({}));
    let (_, steps) = place(&mut s, "p").unwrap();
    assert!(
        matches!(&steps[..], [Prepare::Provision { .. }]),
        "{steps:?}"
    );

    let mut s = scheduler();
    claim(&mut s, "late", json!({}));
    let driver = json!({"metadata": {"name": "p"}, "spec": {"storageCapacity": true}});
    s.cache.volumes.driver(object(driver), true);
    let capacity = |zone: &str, size: &str| {
        object(json!({
            "metadata": {"name": zone, "namespace": "csi"}, "storageClassName": "late", "capacity": size,
            "nodeTopology": {"matchLabels": {"topology.kubernetes.io/zone": zone}},
        }))
    };
    s.cache.volumes.capacity(capacity("za", "100Mi"), true);
    let why = place(&mut s, "p").unwrap_err();
    assert!(
        why.contains("2 node(s) did not have enough free storage"),
        "{why}"
    );
    s.cache.volumes.capacity(capacity("zb", "100Gi"), true);
    assert_eq!(place(&mut s, "q").unwrap().0, "b");
}

#[test]
fn volumes_of_a_zone_stay_there() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    let anywhere = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "zx__za"}}, "spec": {"nodeAffinity": null}});
    volume(&mut s, "v1", "1Gi", "a", anywhere);
    assert_eq!(place(&mut s, "p").unwrap().0, "a");
}

#[test]
fn one_pod_alone_uses_a_claim_that_says_so() {
    let mut s = scheduler();
    claim(
        &mut s,
        "late",
        json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}),
    );
    assert!(place(&mut s, "p").is_ok());
    let why = place(&mut s, "q").unwrap_err();
    assert!(
        why.contains("2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"),
        "{why}"
    );
}

#[test]
fn a_node_attaches_no_more_than_it_can() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    let csi = json!({"spec": {"nodeAffinity": null, "csi": {"driver": "d", "volumeHandle": "h1"}}});
    volume(&mut s, "v1", "1Gi", "a", csi);
    for name in ["a", "b"] {
        let limit = if name == "a" { 0 } else { 1 };
        let csi = json!({"metadata": {"name": name}, "spec": {"drivers": [
            {"name": "d", "nodeID": name, "allocatable": {"count": limit}}]}});
        s.cache.volumes.csi_node(object(csi), true);
    }
    assert_eq!(place(&mut s, "p").unwrap().0, "b");
    // The same volume again is not another one.
    assert_eq!(place(&mut s, "q").unwrap().0, "b");
}

/// Upstream looks for what it knows of the pod's device claims, and finds nothing: an earlier plugin
/// has ended the cycle. It stops there, and says so.
#[test]
fn a_pod_without_its_claim_is_told_so_as_upstream_does() {
    let mut s = scheduler();
    assert_eq!(
        place(&mut s, "p").err().as_deref(),
        Some("0/2 nodes are available: persistentvolumeclaim \"data\" not found. not found")
    );
}

#[test]
fn a_claim_still_to_be_made_is_waited_for() {
    let mut s = scheduler();
    let ephemeral = json!({"metadata": {"name": "p", "namespace": "default", "uid": "p"},
        "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "v", "ephemeral": {}}]}});
    s.pod_applied(object(ephemeral), Instant::now());
    let decision = s.next(Instant::now(), &mut |_| 0).unwrap();
    let Verdict::Unschedulable { diagnosis, .. } = decision.verdict else {
        panic!("{:?}", decision.verdict)
    };
    let message = diagnosis.message();
    let why = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert!(message.contains(why), "{message}");
}

#[test]
fn a_volume_that_is_there_already_does_not_count_against_the_limit() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    let csi = json!({"spec": {"csi": {"driver": "d", "volumeHandle": "h1"}}});
    volume(&mut s, "v1", "1Gi", "a", csi);
    assert_eq!(place(&mut s, "p").unwrap().0, "a");
    // The driver has lowered what it says since.
    let limit = json!({"metadata": {"name": "a"}, "spec": {"drivers": [
        {"name": "d", "nodeID": "a", "allocatable": {"count": 0}}]}});
    s.cache.volumes.csi_node(object(limit), true);
    assert_eq!(place(&mut s, "q").unwrap().0, "a");
}

#[test]
fn the_first_plugin_that_says_no_is_named() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    volume(&mut s, "v1", "1Gi", "elsewhere", json!({}));
    let mut undeclared = serde_json::to_value(&*pod("p")).unwrap();
    undeclared["spec"]["hostNetwork"] = json!(true);
    undeclared["spec"]["hostUsers"] = json!(false);
    s.pod_applied(object(undeclared), Instant::now());
    let decision = s.next(Instant::now(), &mut |_| 0).unwrap();
    let Verdict::Unschedulable { diagnosis, .. } = decision.verdict else {
        panic!("{:?}", decision.verdict)
    };
    let plugins: Vec<&str> = diagnosis.plugins.keys().copied().collect();
    assert_eq!(plugins, ["VolumeBinding"], "not NodeDeclaredFeatures");
}

#[test]
fn what_is_attached_for_nobody_counts_as_well() {
    let mut s = scheduler();
    claim(&mut s, "static", bound_to("v1"));
    let csi = |handle: &str| json!({"spec": {"nodeAffinity": null, "csi": {"driver": "d", "volumeHandle": handle}}});
    volume(&mut s, "v1", "1Gi", "a", csi("h1"));
    volume(&mut s, "v2", "1Gi", "a", csi("h2"));
    for name in ["a", "b"] {
        let csi = json!({"metadata": {"name": name}, "spec": {"drivers": [
            {"name": "d", "nodeID": name, "allocatable": {"count": 1}}]}});
        s.cache.volumes.csi_node(object(csi), true);
    }
    let left = json!({"metadata": {"name": "left"}, "spec": {"attacher": "d", "nodeName": "a",
        "source": {"persistentVolumeName": "v2"}}});
    s.cache.volumes.attachment(object(left.clone()), true);
    assert_eq!(place(&mut s, "p").unwrap().0, "b");
    s.cache.remove_pod("p");
    s.cache.volumes.attachment(object(left), false);
    assert_eq!(place(&mut s, "q").unwrap().0, "a");
}

#[test]
fn a_volume_that_was_given_to_a_claim_is_the_one_it_gets() {
    // The scheduler was started anew after it had told the volume, and before the claim knew.
    let mut s = scheduler();
    claim(&mut s, "static", json!({}));
    let given = json!({"spec": {"claimRef": {"namespace": "default", "name": "data", "uid": "claim"}},
        "status": {"phase": "Available"}});
    volume(&mut s, "given", "9Gi", "b", given);
    volume(&mut s, "smaller", "1Gi", "a", json!({}));
    let (node, prepare) = place(&mut s, "p").unwrap();
    assert_eq!(node, "b", "although there is another on `a`");
    let [Prepare::BindVolume { volume, .. }] = prepare.as_slice() else {
        panic!("{prepare:?}")
    };
    assert_eq!(volume.metadata.name.as_deref(), Some("given"));
}
