//! Sets planned step by step.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::identity;
use super::plan::{Revisions, Step, plan};
use crate::apps::history::HASH_LABEL;
use crate::testing::pod;

fn set(spec: Value) -> StatefulSet {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "db"}});
    spec["serviceName"] = json!("db");
    spec["template"] =
        json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}]}});
    serde_json::from_value(
        json!({"metadata": {"name": "db", "namespace": "ns", "uid": "s"}, "spec": spec}),
    )
    .unwrap()
}

fn steps(set: &StatefulSet, texts: &[&str]) -> Vec<String> {
    let pods: Vec<Arc<Pod>> = texts
        .iter()
        .map(|text| {
            let (text, revision) = text.split_once(" @").unwrap_or((text, "new"));
            let mut pod = pod(&format!("{text} {HASH_LABEL}={revision}"));
            if !text.contains("unlabelled") {
                let name = pod.metadata.name.clone().unwrap();
                let labels = pod.metadata.labels.get_or_insert_default();
                labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name);
            }
            Arc::new(pod)
        })
        .collect();
    let revisions = Revisions {
        current: "old",
        update: "new",
    };
    plan(
        set,
        &pods,
        revisions,
        Timestamp::from_second(1_000).unwrap(),
    )
    .steps
    .iter()
    .map(|step| match step {
        Step::Claims(ordinal) => format!("claims {ordinal}"),
        Step::Create { ordinal, updated } => {
            format!("create {ordinal}{}", if *updated { "" } else { " old" })
        }
        Step::Delete(pod) => format!("delete {}", identity::ordinal(set, pod).unwrap()),
        Step::Relabel(pod) => format!("label {}", identity::ordinal(set, pod).unwrap()),
    })
    .collect()
}

#[test]
fn steps_in_order_and_in_parallel() {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    let ordered = set(json!({"replicas": 3, "updateStrategy": rolling}));
    let parallel =
        set(json!({"replicas": 3, "podManagementPolicy": "Parallel", "updateStrategy": rolling}));
    let (zero, one, two) = (
        "db-0 Running ready",
        "db-1 Running ready",
        "db-2 Running ready",
    );
    let cases: [(&str, &StatefulSet, Vec<&str>, Vec<&str>); 17] = [
        (
            "a broken set is mended from the top, though nobody is available",
            &parallel,
            vec![
                "db-0 Running @old",
                "db-1 Running @old",
                "db-2 Running @old",
            ],
            vec!["delete 2"],
        ),
        (
            "one that is broken below holds up nothing",
            &parallel,
            vec!["db-0 Running @old", "db-1 Running ready @old", two],
            vec!["delete 1"],
        ),
        (
            "labels come back",
            &ordered,
            vec![zero, "db-1 Running ready unlabelled=1", two],
            vec!["label 1"],
        ),
        ("first", &ordered, vec![], vec!["create 0"]),
        (
            "waits for readiness",
            &ordered,
            vec!["db-0 Running"],
            vec![],
        ),
        ("next", &ordered, vec![zero], vec!["create 1"]),
        (
            "a hole is filled first",
            &ordered,
            vec![zero, two],
            vec!["create 1"],
        ),
        (
            "ended pods are replaced",
            &ordered,
            vec![zero, "db-1 Failed", two],
            vec!["delete 1"],
        ),
        (
            "waits for the end of one",
            &ordered,
            vec![zero, "db-1 Running ready deleting", two],
            vec![],
        ),
        (
            "scales down from the top",
            &ordered,
            vec![zero, one, two, "db-4 Running ready", "db-3 Running ready"],
            vec!["delete 4"],
        ),
        (
            "waits for that",
            &ordered,
            vec![
                zero,
                one,
                two,
                "db-4 Running deleting",
                "db-3 Running ready",
            ],
            vec![],
        ),
        (
            "not while one is unwell",
            &ordered,
            vec![zero, "db-1 Running", two, "db-3 Running ready"],
            vec![],
        ),
        (
            "all at once",
            &parallel,
            vec![],
            vec!["create 0", "create 1", "create 2"],
        ),
        (
            "and away at once",
            &parallel,
            vec![zero, one, two, "db-4 Running", "db-3 Running ready"],
            vec!["delete 4", "delete 3"],
        ),
        (
            "updates from the top",
            &ordered,
            vec![
                "db-0 Running ready @old",
                "db-1 Running ready @old",
                "db-2 Running ready @old",
            ],
            vec!["delete 2"],
        ),
        (
            "one at a time",
            &ordered,
            vec![
                "db-0 Running ready @old",
                "db-1 Running ready @old",
                "db-2 Running",
            ],
            vec![],
        ),
        (
            "down",
            &ordered,
            vec!["db-0 Running ready @old", "db-1 Running ready @old", two],
            vec!["delete 1"],
        ),
    ];
    for (name, set, pods, expected) in cases {
        assert_eq!(steps(set, &pods), expected, "{name}");
    }
}

#[test]
fn a_partition_keeps_the_lower_ordinals() {
    let partition =
        |count: i32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": count}});
    let two = set(json!({"replicas": 3, "updateStrategy": partition(2)}));
    let old = [
        "db-0 Running ready @old",
        "db-1 Running ready @old",
        "db-2 Running ready @old",
    ];
    assert_eq!(steps(&two, &old), ["delete 2"]);
    assert!(steps(&two, &[old[0], old[1], "db-2 Running ready"]).is_empty());
    assert_eq!(
        steps(&two, &[old[0], "db-2 Running ready"]),
        ["create 1 old"]
    );
    let manual = set(json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}));
    assert!(steps(&manual, &old).is_empty());
    assert_eq!(steps(&manual, &[old[0], old[1]]), ["create 2"]);
    let many = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}});
    assert_eq!(
        steps(&set(json!({"replicas": 3, "updateStrategy": many})), &old),
        ["delete 2", "delete 1"]
    );
}

#[test]
fn pods_keep_name_and_storage() {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let set =
        set(json!({"replicas": 1, "ordinals": {"start": 5}, "volumeClaimTemplates": [claim]}));
    assert_eq!(steps(&set, &[]), ["create 5"]);
    assert_eq!(steps(&set, &["db-5 Pending"]), ["claims 5"]);
    let pod = identity::pod(&set, None, 5, "db-abc").unwrap();
    let spec = pod.spec.unwrap();
    assert_eq!(pod.metadata.name.as_deref(), Some("db-5"));
    assert_eq!(
        (spec.hostname.as_deref(), spec.subdomain.as_deref()),
        (Some("db-5"), Some("db"))
    );
    let volume = &spec.volumes.unwrap()[0];
    assert_eq!(
        volume.persistent_volume_claim.as_ref().unwrap().claim_name,
        "data-db-5"
    );
    let claims = identity::claims(&set, 5);
    assert_eq!(claims[0].metadata.name.as_deref(), Some("data-db-5"));
    assert_eq!(claims[0].metadata.labels.as_ref().unwrap()["app"], "db");
}

#[test]
fn the_update_revision_becomes_current_when_all_have_it() {
    let mut set = set(json!({"replicas": 2}));
    set.metadata.generation = Some(4);
    let some = |text: &str| Arc::new(pod(&format!("{text} {HASH_LABEL}=new")));
    let revisions = Revisions {
        current: "old",
        update: "new",
    };
    let now = Timestamp::from_second(1_000).unwrap();
    let part = plan(
        &set,
        &[some("db-0 Running ready"), some("db-1 Running")],
        revisions,
        now,
    )
    .status;
    assert_eq!(
        (
            part.current_revision.as_deref(),
            part.updated_replicas,
            part.ready_replicas
        ),
        (Some("old"), Some(2), Some(1))
    );
    let full = plan(
        &set,
        &[some("db-0 Running ready"), some("db-1 Running ready")],
        revisions,
        now,
    )
    .status;
    assert_eq!(
        (full.current_revision.as_deref(), full.current_replicas),
        (Some("new"), Some(2))
    );
    assert_eq!(full.observed_generation, Some(4));
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let claim = |owner: Option<(&str, &str)>| -> PersistentVolumeClaim {
        let owners = owner.map(|(kind, uid)| {
            vec![json!({"apiVersion": "v1", "kind": kind, "name": "x", "uid": uid, "controller": true})]
        });
        serde_json::from_value(json!({"metadata": {"name": "data-s-0", "ownerReferences": owners}}))
            .unwrap()
    };
    let policy = |deleted: &str, scaled: &str| {
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        set(json!({"replicas": 1, "persistentVolumeClaimRetentionPolicy": policy}))
    };
    let (retain, delete) = ("Retain", "Delete");
    let set_uid = policy(retain, retain).metadata.uid.unwrap();
    let pod = crate::testing::pod("s-0 Running");
    let pod_uid = pod.metadata.uid.clone().unwrap();
    let of_set = Some(("StatefulSet", set_uid.as_str()));
    let of_pod = Some(("Pod", pod_uid.as_str()));
    let foreign = Some(("Other", "o"));
    let cases = [
        (retain, retain, false, None, None),
        (retain, retain, false, of_set, Some(vec![])),
        (retain, retain, true, of_pod, Some(vec![])),
        (delete, retain, false, None, Some(vec![set_uid.clone()])),
        (delete, retain, true, None, Some(vec![set_uid.clone()])),
        (retain, delete, false, None, None),
        (retain, delete, true, None, Some(vec![pod_uid.clone()])),
        (delete, delete, true, of_set, Some(vec![pod_uid.clone()])),
        (delete, delete, false, of_pod, Some(vec![set_uid.clone()])),
        (delete, delete, true, foreign, None),
    ];
    for (deleted, scaled, condemned, owner, expected) in cases {
        let found = identity::owners(&policy(deleted, scaled), &pod, condemned, &claim(owner));
        let uids = found.map(|all| all.into_iter().map(|one| one.uid).collect::<Vec<_>>());
        assert_eq!(uids, expected, "{deleted} {scaled} {condemned} {owner:?}");
    }
    let disputed = [
        (delete, retain, foreign, true),
        (retain, delete, foreign, true),
        (retain, retain, foreign, false),
        (delete, delete, of_set, false),
        (delete, delete, of_pod, false),
        (delete, delete, None, false),
    ];
    for (deleted, scaled, owner, expected) in disputed {
        let found = identity::is_disputed(&policy(deleted, scaled), &pod, &claim(owner));
        assert_eq!(found, expected, "{deleted} {scaled} {owner:?}");
    }
    let mut left = claim(of_pod);
    left.metadata.owner_references.as_mut().unwrap()[0].name = "db-0".to_owned();
    let stale =
        |scaled, claim, ordinal| identity::is_stale(&policy(retain, scaled), claim, ordinal);
    assert!(stale(delete, &left, 0));
    assert!(!stale(delete, &left, 1));
    assert!(!stale(retain, &left, 0), "claims that stay are used again");
    assert!(!stale(delete, &claim(of_set), 0));
}

#[test]
fn whose_claim_it_is() {
    let set = set(json!({"replicas": 1, "volumeClaimTemplates": [
        {"metadata": {"name": "data"}}, {"metadata": {"name": "data-db"}}]}));
    let cases = [
        ("data-db-0", true),
        ("data-db-db-17", true),
        ("data-db-x", false),
        ("data-web-0", false),
        ("data-0", false),
        ("other-db-0", false),
    ];
    for (name, expected) in cases {
        assert_eq!(identity::names_claim(&set, name), expected, "{name}");
    }
}
