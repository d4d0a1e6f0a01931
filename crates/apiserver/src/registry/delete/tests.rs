//! What a delete does at once, and what it leaves to finalizers and grace periods.

use serde_json::json;

use super::*;

fn resource(group: &str, version: &str, plural: &str) -> &'static Resource {
    api::catalog::builtin()
        .resource(group, version, plural)
        .unwrap()
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

#[test]
fn an_object_goes_when_nothing_holds_it() {
    let config_map = json!({"metadata": {"name": "a"}});
    let options = DeleteOptions::default();
    assert_eq!(
        plan(
            resource("", "v1", "configmaps"),
            &config_map,
            &options,
            now()
        ),
        Plan::Remove
    );
}

#[test]
fn a_finalizer_holds_it() {
    let live = json!({"metadata": {"name": "a", "finalizers": ["x/y"], "generation": 2}});
    let Plan::Mark(marked) = plan(
        resource("apps", "v1", "deployments"),
        &live,
        &DeleteOptions::default(),
        now(),
    ) else {
        panic!("not marked")
    };
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:05Z"
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(marked["metadata"]["generation"], 3);
    let again = plan(
        resource("apps", "v1", "deployments"),
        &marked,
        &DeleteOptions::default(),
        now(),
    );
    assert_eq!(again, Plan::Wait);
}

#[test]
fn propagation_becomes_a_finalizer() {
    let live = json!({"metadata": {"name": "a"}});
    for (propagation, finalizer) in [
        (Propagation::Orphan, ORPHAN),
        (Propagation::Foreground, FOREGROUND),
    ] {
        let options = DeleteOptions {
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        let Plan::Mark(marked) = plan(
            resource("apps", "v1", "replicasets"),
            &live,
            &options,
            now(),
        ) else {
            panic!("not marked")
        };
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        let background = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        let then = plan(
            resource("apps", "v1", "replicasets"),
            &marked,
            &background,
            now(),
        );
        assert_eq!(then, Plan::Remove);
    }
}

#[test]
fn a_namespace_waits_for_its_contents() {
    let live = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
    let Plan::Mark(marked) = plan(
        resource("", "v1", "namespaces"),
        &live,
        &DeleteOptions::default(),
        now(),
    ) else {
        panic!("not marked")
    };
    assert_eq!(marked["status"]["phase"], "Terminating");
}

#[test]
fn grace_only_gets_shorter() {
    let live = json!({
        "metadata": {"name": "a", "deletionTimestamp": "2026-01-02T03:04:35Z", "deletionGracePeriodSeconds": 30},
        "spec": {"nodeName": "n"},
    });
    let pods = resource("", "v1", "pods");
    let with = |seconds| DeleteOptions {
        grace_seconds: seconds,
        ..DeleteOptions::default()
    };
    assert_eq!(plan(pods, &live, &with(None), now()), Plan::Wait);
    assert_eq!(plan(pods, &live, &with(Some(60)), now()), Plan::Wait);
    assert_eq!(plan(pods, &live, &with(Some(0)), now()), Plan::Remove);
    let Plan::Mark(marked) = plan(pods, &live, &with(Some(5)), now()) else {
        panic!("not marked")
    };
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:10Z"
    );
}
