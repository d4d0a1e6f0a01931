//! Deployments and what stands beside them.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update};

fn of(kind: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn selectors_that_were_odd_may_stay() {
    let odd = json!([{"key": "a", "operator": "NotIn", "values": ["-"]}]);
    let (mut old, _) = create(of("DaemonSet"));
    old.set("spec.selector", json!({"matchExpressions": odd}));
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
    let (_, errors) = create(old);
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn parts_of_huge_pages_may_stay() {
    let (mut old, _) = create(of("Deployment"));
    old.set(
        "spec.template.spec.containers",
        json!([{"name": "c", "image": "i", "resources": {
            "limits": {"cpu": "1", "hugepages-2Mi": "1Mi"}, "requests": {"cpu": "1", "hugepages-2Mi": "1Mi"}}}]),
    );
    assert_eq!(
        update(Part::Main, old.clone(), &old).1,
        Vec::<String>::new()
    );
    assert!(!create(old).1.is_empty());
}

#[test]
fn templates_of_daemon_sets_are_counted_from_what_is_sent() {
    const KEY: &str = "deprecated.daemonset.template.generation";
    let mut set = of("DaemonSet");
    set.set("metadata.annotations", json!({KEY: "4"}));
    let (set, _) = create(set);
    assert_eq!(api::meta::annotation(&set, KEY), Some("4"));
}

#[test]
fn deployments() {
    on_create(
        &of("Deployment"),
        &[(
            &[(
                "metadata.annotations",
                json!({"deprecated.deployment.rollback.to": "-1"}),
            )],
            &["spec.rollback.version: Invalid value: -1: must be greater than or equal to 0"],
        )],
    );
}

#[test]
fn replication_controllers_have_no_delay_by_default() {
    let mut controller = of("ReplicationController");
    controller.set("apiVersion", "v1");
    controller.set("spec.selector", json!({"a": "b"}));
    let (controller, errors) = create(controller);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(!controller.has("spec.minReadySeconds"));
}

#[test]
fn stateful_sets() {
    let mut set = of("StatefulSet");
    set.set(
        "spec.volumeClaimTemplates",
        json!([{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}]),
    );
    set.set("spec.updateStrategy.rollingUpdate.maxUnavailable", 2);
    let (old, _) = create(set.clone());
    assert!(!old.has("spec.updateStrategy.rollingUpdate.maxUnavailable"));
    on_create(
        &set,
        &[(
            &[("spec.template.spec.volumes", json!([{"name": ""}]))],
            &["spec.template.spec.volumes[1].name: Required value"],
        )],
    );
    let mut new = old.clone();
    new.list_mut("spec.volumeClaimTemplates")[0].set("apiVersion", "v2");
    assert!(update(Part::Main, new, &old).1.is_empty());
}

#[test]
fn revisions_hold_objects() {
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "data": {}});
    on_create(
        &revision,
        &[(
            &[("data", json!("text"))],
            &["data: Required value: data must be a valid JSON object"],
        )],
    );
    on_update(
        Part::Main,
        &revision,
        &[(&[("metadata.labels", json!({"a": "b"}))], &[])],
    );
}

#[test]
fn claims_of_stateful_sets() {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
        "spec": {"volumeClaimTemplates": [{"apiVersion": "v7", "kind": "Odd", "metadata": {"name": "c"}}]}});
    let (made, _) = create(set);
    let claim = &made.list("spec.volumeClaimTemplates")[0];
    assert_eq!(claim.text("apiVersion"), "v1");
    assert_eq!(claim.text("kind"), "PersistentVolumeClaim");
}
