//! Claims and volumes planned from every state a binding may have been left in.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::matching;
use super::plan::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, Known, PROVISIONED_BY};

fn merged(mut base: Value, change: &Value) -> Value {
    if let (Some(object), Some(changes)) = (base.as_object_mut(), change.as_object()) {
        for (name, value) in changes {
            if value.is_null() {
                object.remove(name);
                continue;
            }
            let old = object.remove(name).unwrap_or_default();
            let new = if value.is_object() && old.is_object() {
                merged(old, value)
            } else {
                value.clone()
            };
            object.insert(name.clone(), new);
        }
        return base;
    }
    change.clone()
}

fn claim(change: Value) -> PersistentVolumeClaim {
    let base = json!({
        "metadata": {"name": "data", "namespace": "ns", "uid": "c1", "annotations": {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    serde_json::from_value(merged(base, &change)).unwrap()
}

fn volume(name: &str, change: Value) -> Arc<PersistentVolume> {
    let base = json!({
        "metadata": {"name": name, "uid": name, "annotations": {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    Arc::new(serde_json::from_value(merged(base, &change)).unwrap())
}

fn class(name: &str, change: Value) -> Arc<StorageClass> {
    let base =
        json!({"metadata": {"name": name, "annotations": {}}, "provisioner": "csi.example.com"});
    Arc::new(serde_json::from_value(merged(base, &change)).unwrap())
}

/// The plan as one word, with its event's reason.
fn planned(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    classes: &[Arc<StorageClass>],
    waiting_pods: &[String],
) -> String {
    let plan = plan::claim(
        claim,
        &Known {
            volumes,
            classes,
            waiting_pods,
        },
    );
    let what = match (&plan.patch, &plan.bind, plan.phase) {
        (Some(patch), None, None) => patch.to_string(),
        (None, Some(volume), None) => format!("bind {}", volume.metadata.name.as_ref().unwrap()),
        (None, None, Some(phase)) => phase.to_owned(),
        (None, None, None) => "-".to_owned(),
        _ => panic!("two things at once: {plan:?}"),
    };
    let event = plan.event.map(|(_, reason, _)| format!(" {reason}"));
    what + &event.unwrap_or_default()
}

#[test]
fn the_smallest_volume_that_suits() {
    let size = |size: &str| json!({"spec": {"capacity": {"storage": size}}});
    let small = volume("small", size("512Mi"));
    let big = volume("big", size("10Gi"));
    let right = volume("right", size("2Gi"));
    let many = volume(
        "many",
        json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}),
    );
    let taken = volume(
        "taken",
        json!({"spec": {"claimRef": {"namespace": "ns", "name": "other", "uid": "x"}}}),
    );
    let other_class = volume("class", json!({"spec": {"storageClassName": "fast"}}));
    let block = volume("block", json!({"spec": {"volumeMode": "Block"}}));
    let going = volume(
        "going",
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    let released = volume("released", json!({"status": {"phase": "Released"}}));
    let unsuited = vec![small, taken, other_class, block, going, released];
    let found = |more: &[&Arc<PersistentVolume>]| {
        let mut all = unsuited.clone();
        all.extend(more.iter().map(|volume| (*volume).clone()));
        matching::best(&claim(json!({})), &all, false)
            .map(|volume| volume.metadata.name.clone().unwrap())
    };
    assert_eq!(found(&[]), None);
    assert_eq!(found(&[&big, &right]).as_deref(), Some("right"));
    assert_eq!(
        found(&[&many, &big]).as_deref(),
        Some("big"),
        "as few access modes as will do come before size"
    );
    assert_eq!(found(&[&many]).as_deref(), Some("many"));
    let kept = volume(
        "kept",
        json!({"spec": {"capacity": {"storage": "50Gi"}, "claimRef": {"namespace": "ns", "name": "data"}}}),
    );
    assert_eq!(
        found(&[&right, &kept]).as_deref(),
        Some("kept"),
        "one kept for the claim comes first"
    );
    let picky = claim(json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}));
    let ssd = volume("ssd", json!({"metadata": {"labels": {"disk": "ssd"}}}));
    let chosen = matching::best(&picky, &[right, ssd], false);
    assert_eq!(chosen.unwrap().metadata.name.as_deref(), Some("ssd"));
}

#[test]
fn claims_without_a_volume() {
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    let in_class = |class: &str| claim(json!({"spec": {"storageClassName": class}}));
    let unnamed = claim(json!({"spec": {"storageClassName": null}}));
    let default = class(
        "std",
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
    );
    let chosen = claim(
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}},
        "spec": {"storageClassName": "late"}}),
    );
    let local = class(
        "local",
        json!({"provisioner": "kubernetes.io/no-provisioner"}),
    );
    let classes = [
        class("fast", json!({})),
        class("late", late),
        default,
        local,
    ];
    let pods = ["p".to_owned()];
    assert_eq!(
        planned(&in_class(""), &[], &classes, &[]),
        "Pending FailedBinding"
    );
    assert_eq!(
        planned(&unnamed, &[], &classes, &[]),
        r#"{"spec":{"storageClassName":"std"}}"#
    );
    assert_eq!(
        planned(&in_class("none"), &[], &classes, &[]),
        "- ProvisioningFailed"
    );
    assert_eq!(
        planned(&in_class("local"), &[], &classes, &[]),
        "- ProvisioningFailed"
    );
    assert_eq!(
        planned(&in_class("late"), &[], &classes, &[]),
        "Pending WaitForFirstConsumer"
    );
    assert_eq!(
        planned(&in_class("late"), &[], &classes, &pods),
        "Pending WaitForPodScheduled"
    );
    let suits = volume("v", json!({"spec": {"storageClassName": "late"}}));
    assert_eq!(
        planned(&in_class("late"), &[suits], &classes, &[]),
        "Pending WaitForFirstConsumer",
        "the scheduler binds these"
    );
    let asked = r#"{"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"csi.example.com","volume.kubernetes.io/storage-provisioner":"csi.example.com"}}} ExternalProvisioning"#;
    assert_eq!(planned(&in_class("fast"), &[], &classes, &[]), asked);
    assert_eq!(planned(&chosen, &[], &classes, &[]), asked);
}

#[test]
fn claims_that_name_a_volume() {
    let wants = |change: Value| claim(merged(json!({"spec": {"volumeName": "v"}}), &change));
    let bound = wants(json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}}));
    let reference =
        |uid: &str| json!({"spec": {"claimRef": {"namespace": "ns", "name": "data", "uid": uid}}});
    let small = volume("v", json!({"spec": {"capacity": {"storage": "1Mi"}}}));
    let cases = [
        (wants(json!({})), None, "Pending"),
        (wants(json!({})), Some(volume("v", json!({}))), "bind v"),
        (
            wants(json!({})),
            Some(volume("v", reference("c1"))),
            "bind v",
        ),
        (
            wants(json!({})),
            Some(volume("v", reference("x"))),
            "Pending FailedBinding",
        ),
        (wants(json!({})), Some(small), "Pending VolumeMismatch"),
        (bound.clone(), None, "Lost ClaimLost"),
        (bound.clone(), Some(volume("v", json!({}))), "bind v"),
        (
            bound.clone(),
            Some(volume("v", reference("x"))),
            "Lost ClaimMisbound",
        ),
        (bound, Some(volume("v", reference("c1"))), "bind v"),
    ];
    for (claim, volume, expected) in cases {
        let volumes: Vec<_> = volume.into_iter().collect();
        assert_eq!(
            planned(&claim, &volumes, &[], &[]),
            expected,
            "{claim:?} {volumes:?}"
        );
    }
}

#[test]
fn a_binding_is_taken_up_after_any_of_its_writes() {
    let mut claim = json!(claim(json!({})));
    let mut volume = json!(*volume("v", json!({})));
    let mut writes = Vec::new();
    // Each turn sees what is written so far and does the next write; then the process "ends".
    for _ in 0..6 {
        let now: PersistentVolumeClaim = serde_json::from_value(claim.clone()).unwrap();
        let held: PersistentVolume = serde_json::from_value(volume.clone()).unwrap();
        let bind = plan::claim(
            &now,
            &Known {
                volumes: &[Arc::new(held.clone())],
                classes: &[],
                waiting_pods: &[],
            },
        )
        .bind;
        assert!(bind.is_some(), "after {writes:?}");
        if let Some(patch) = plan::volume_patch(&held, &now) {
            writes.push("volume");
            volume = merged(volume, &patch);
        } else if held.status.unwrap().phase.as_deref() != Some("Bound") {
            writes.push("volume status");
            volume["status"]["phase"] = json!("Bound");
        } else if let Some(patch) =
            plan::claim_patch(&now, &serde_json::from_value(volume.clone()).unwrap())
        {
            writes.push("claim");
            claim = merged(claim, &patch);
        } else {
            let held: PersistentVolume = serde_json::from_value(volume.clone()).unwrap();
            let status = plan::claim_status(&now, "Bound", Some(&held));
            if Some(&status) == now.status.as_ref() {
                break;
            }
            writes.push("claim status");
            claim["status"] = serde_json::to_value(status).unwrap();
        }
    }
    assert_eq!(writes, ["volume", "volume status", "claim", "claim status"]);
    assert_eq!(claim["spec"]["volumeName"], "v");
    assert_eq!(claim["status"]["capacity"]["storage"], "1Gi");
    assert_eq!(
        volume["metadata"]["annotations"][BOUND_BY_CONTROLLER],
        "yes"
    );
}

#[test]
fn volumes_follow_their_claims() {
    let uid =
        |uid: &str| json!({"spec": {"claimRef": {"namespace": "ns", "name": "data", "uid": uid}}});
    let bound = |change: Value| merged(uid("c1"), &change);
    let policy = |policy: &str, phase: &str| {
        bound(
            json!({"spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}}),
        )
    };
    let made = |by: &str| json!({"metadata": {"annotations": {PROVISIONED_BY: by}}});
    let by_us = json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: "yes"}}});
    let here = claim(json!({"spec": {"volumeName": "v"}}));
    let elsewhere = claim(json!({"spec": {"volumeName": "w"}}));
    let cases = [
        (json!({}), None, "Available"),
        (uid(""), None, "Available look"),
        (bound(json!({})), Some(&here), "Bound"),
        (bound(json!({})), None, "Released"),
        (policy("Retain", "Released"), None, "-"),
        (policy("Delete", "Bound"), None, "Released"),
        (
            policy("Delete", "Released"),
            None,
            "Failed VolumeFailedDelete",
        ),
        (
            merged(policy("Delete", "Released"), &made("csi.example.com")),
            None,
            "-",
        ),
        (
            policy("Recycle", "Released"),
            None,
            "Failed VolumeFailedRecycle",
        ),
        (bound(json!({})), Some(&elsewhere), "Available kept"),
        (bound(by_us.clone()), Some(&elsewhere), "Available free"),
        (
            merged(policy("Delete", "Bound"), &made("csi.example.com")),
            Some(&elsewhere),
            "Released",
        ),
    ];
    for (change, claim, expected) in cases {
        let plan = plan::volume(&volume("v", change.clone()), claim);
        let mut found = plan.phase.unwrap_or("-").to_owned();
        if plan.look_at_claim {
            found += " look";
        }
        if let Some(patch) = plan.patch {
            let free = patch["spec"]["claimRef"].is_null();
            found += if free { " free" } else { " kept" };
        }
        if let Some((_, reason, _)) = plan.event {
            found = format!("{found} {reason}");
        }
        assert_eq!(found, expected, "{change}");
    }
}
