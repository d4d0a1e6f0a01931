//! Managed fields and server-side apply on built-in kinds.

use schema::{
    Value,
    managed::{self, ApplyError, Manager, Operation},
};
use serde_json::json;

use crate::roundtrip::TABLE;

fn manager(name: &str, operation: Operation, time: &str) -> Manager {
    Manager {
        name: name.to_owned(),
        operation,
        api_version: "apps/v1".to_owned(),
        subresource: String::new(),
        time: time.to_owned(),
    }
}

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";
const T3: &str = "2026-01-01T00:00:03Z";

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
           "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

fn apply(
    live: Option<&Value>,
    applied: &Value,
    name: &str,
    time: &str,
    force: bool,
) -> Result<Value, ApplyError> {
    let ty = TABLE.id("apps.v1.Deployment").unwrap();
    let who = manager(name, Operation::Apply, time);
    let mut object = managed::apply(&TABLE, ty, live, applied, &who, force)?;
    // What the server gives an object when it creates it.
    object["metadata"]["uid"] = "1-2-3".into();
    Ok(object)
}

fn update(live: Option<&Value>, new: &mut Value, name: &str, time: &str) {
    let ty = TABLE.id("apps.v1.Deployment").unwrap();
    managed::update(
        &TABLE,
        ty,
        live,
        new,
        &manager(name, Operation::Update, time),
    );
    new["metadata"]["uid"] = "1-2-3".into();
}

fn fields(object: &Value, name: &str) -> Value {
    entry(object, name)["fieldsV1"].clone()
}

fn entry(object: &Value, name: &str) -> Value {
    object["metadata"]["managedFields"]
        .as_array()
        .unwrap_or(&Vec::new())
        .iter()
        .find(|entry| entry["manager"] == name)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_create_notes_every_field_as_upstream_does() {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{
                        "name": "c", "image": "nginx", "resources": {},
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    }],
                    "securityContext": {},
                    "volumes": [{"name": "v", "emptyDir": {}}],
                }}},
        "status": {"replicas": 1},
    });
    update(None, &mut object, "kubectl-create", T1);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1",
            "time": T1, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:containers": {
                                "k:{\"name\":\"c\"}": {
                                    ".": {}, "f:image": {}, "f:name": {},
                                    "f:ports": {
                                        ".": {},
                                        "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                                            ".": {}, "f:containerPort": {}, "f:protocol": {}}},
                                    "f:resources": {}}},
                            "f:securityContext": {},
                            "f:volumes": {
                                ".": {},
                                "k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}}}}}},
        }])
    );
}

#[test]
fn an_update_takes_what_it_changes_and_no_more() {
    let mut live = deployment(json!({"replicas": 1, "paused": true}));
    update(None, &mut live, "a", T1);
    let mut new = live.clone();
    new["spec"]["replicas"] = 3.into();
    update(Some(&live), &mut new, "b", T2);
    assert_eq!(fields(&new, "a"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(fields(&new, "b"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(entry(&new, "a")["time"], T1);

    // A write that changes nothing leaves all entries and times.
    let mut same = new.clone();
    update(Some(&new), &mut same, "c", T3);
    assert_eq!(same, new);

    // What is removed is nobody's.
    let mut removed = new.clone();
    removed["spec"].as_object_mut().unwrap().remove("paused");
    update(Some(&new), &mut removed, "b", T3);
    assert_eq!(entry(&removed, "a"), Value::Null);
}

#[test]
fn entries_that_a_client_drops_are_kept_and_an_empty_list_drops_them() {
    let mut live = deployment(json!({"replicas": 1}));
    update(None, &mut live, "a", T1);
    let mut new = live.clone();
    new["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    update(Some(&live), &mut new, "b", T2);
    assert_eq!(fields(&new, "a"), json!({"f:spec": {"f:replicas": {}}}));
    let mut reset = live.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    update(Some(&live), &mut reset, "b", T2);
    assert_eq!(reset["metadata"].get("managedFields"), None);
}

#[test]
fn status_writes_and_object_writes_do_not_meet() {
    let ty = TABLE.id("apps.v1.Deployment").unwrap();
    let mut live = deployment(json!({"replicas": 1}));
    update(None, &mut live, "a", T1);
    let mut new = live.clone();
    new["status"] = json!({"replicas": 1});
    new["spec"]["replicas"] = 7.into();
    let mut who = manager("controller", Operation::Update, T2);
    who.subresource = "status".to_owned();
    managed::update(&TABLE, ty, Some(&live), &mut new, &who);
    assert_eq!(
        fields(&new, "controller"),
        json!({"f:status": {"f:replicas": {}}})
    );
    assert_eq!(entry(&new, "controller")["subresource"], "status");
    assert_eq!(fields(&new, "a"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn old_writers_are_joined_when_there_are_too_many() {
    let mut live = deployment(json!({"replicas": 0}));
    update(None, &mut live, "w0", "2026-01-01T00:00:00Z");
    for i in 1..14 {
        let mut new = live.clone();
        new["metadata"]["annotations"][format!("a{i}")] = "x".into();
        update(
            Some(&live),
            &mut new,
            &format!("w{i}"),
            &format!("2026-01-01T00:00:{i:02}Z"),
        );
        live = new;
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), managed::MAX_UPDATE_MANAGERS);
    let ancient = entry(&live, "ancient-changes");
    assert_eq!(ancient["time"], "2026-01-01T00:00:04Z");
    assert_eq!(ancient["fieldsV1"]["f:spec"], json!({"f:replicas": {}}));
    assert_eq!(
        ancient["fieldsV1"]["f:metadata"]["f:annotations"]["f:a4"],
        json!({})
    );
    assert_eq!(entry(&live, "w5")["time"], "2026-01-01T00:00:05Z");
}

#[test]
fn apply_creates_and_applying_again_changes_nothing() {
    let config = deployment(json!({"replicas": 2, "template": {"spec": {"containers": [
        {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]}}}));
    let live = apply(None, &config, "a", T1, false).unwrap();
    assert_eq!(
        entry(&live, "a"),
        json!({"manager": "a", "operation": "Apply", "apiVersion": "apps/v1", "time": T1,
               "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {
                   "f:replicas": {},
                   "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                       ".": {}, "f:image": {}, "f:name": {},
                       "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                           {".": {}, "f:containerPort": {}}}}}}}}}})
    );
    assert_eq!(apply(Some(&live), &config, "a", T2, false).unwrap(), live);
}

#[test]
fn another_managers_value_is_a_conflict_until_forced() {
    let live = apply(None, &deployment(json!({"replicas": 2})), "a", T1, false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 5.into();
    update(Some(&live), &mut scaled, "hpa", T2);
    assert_eq!(entry(&scaled, "a"), Value::Null);
    let config = deployment(json!({"replicas": 3, "paused": true}));
    let error = apply(Some(&scaled), &config, "b", T3, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas"
    );
    let ApplyError::Conflicts(conflicts) = error else {
        panic!("{error}");
    };
    assert_eq!(
        conflicts[0].message(),
        "conflict with \"hpa\" using apps/v1"
    );
    assert_eq!(conflicts[0].field, ".spec.replicas");
    let forced = apply(Some(&scaled), &config, "b", T3, true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(entry(&forced, "hpa"), Value::Null);
    assert_eq!(
        fields(&forced, "b"),
        json!({"f:spec": {"f:paused": {}, "f:replicas": {}}})
    );
}

#[test]
fn equal_values_are_owned_together_and_go_with_the_last_owner() {
    let first = apply(None, &deployment(json!({"replicas": 2})), "a", T1, false).unwrap();
    let both = apply(
        Some(&first),
        &deployment(json!({"replicas": 2})),
        "b",
        T2,
        false,
    )
    .unwrap();
    assert_eq!(fields(&both, "a"), fields(&both, "b"));
    let left = apply(
        Some(&both),
        &deployment(json!({"paused": true})),
        "a",
        T3,
        false,
    )
    .unwrap();
    assert_eq!(left["spec"], json!({"paused": true, "replicas": 2}));
    assert_eq!(fields(&left, "b"), json!({"f:spec": {"f:replicas": {}}}));
    let none = apply(
        Some(&left),
        &deployment(json!({"minReadySeconds": 1})),
        "b",
        T3,
        false,
    )
    .unwrap();
    assert_eq!(none["spec"], json!({"minReadySeconds": 1, "paused": true}));
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let live = apply(
        None,
        &deployment(json!({"replicas": 2, "paused": true})),
        "a",
        T1,
        false,
    )
    .unwrap();
    let config = deployment(json!({"replicas": 3, "paused": false}));
    let error = apply(Some(&live), &config, "b", T2, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas"
    );
}

fn containers(list: Value) -> Value {
    deployment(json!({"template": {"spec": {"containers": list}}}))
}

fn names(object: &Value) -> Vec<&str> {
    object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect()
}

#[test]
fn lists_merge_by_key_and_keep_both_orders() {
    let named = |names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| json!({"name": name, "image": "i"}))
            .collect::<Vec<_>>()
            .into()
    };
    for (live, applied, expected) in [
        (&["a", "b"][..], &["c"][..], &["a", "b", "c"][..]),
        (&["a", "b"], &["b", "c"], &["a", "b", "c"]),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b", "c"], &["x", "b"], &["a", "x", "b", "c"]),
        (&["a", "b", "c", "d"], &["d", "b"], &["a", "c", "d", "b"]),
    ] {
        let first = apply(None, &containers(named(live)), "a", T1, false).unwrap();
        let second = apply(Some(&first), &containers(named(applied)), "b", T2, false).unwrap();
        assert_eq!(names(&second), expected, "{live:?} {applied:?}");
    }
}

#[test]
fn an_element_that_is_applied_no_more_goes_unless_another_has_it() {
    let two = containers(json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]));
    let one = containers(json!([{"name": "a", "image": "i"}]));
    let live = apply(None, &two, "x", T1, false).unwrap();
    let pruned = apply(Some(&live), &one, "x", T2, false).unwrap();
    assert_eq!(names(&pruned), ["a"]);

    // A field within it does not hold the element; the element itself does.
    let mut touched = live.clone();
    touched["spec"]["template"]["spec"]["containers"][1]["workingDir"] = "/".into();
    update(Some(&live), &mut touched, "other", T2);
    let gone = apply(Some(&touched), &one, "x", T3, false).unwrap();
    assert_eq!(names(&gone), ["a"]);

    let theirs = containers(json!([{"name": "b", "workingDir": "/"}]));
    let shared = apply(Some(&live), &theirs, "other", T2, false).unwrap();
    let kept = apply(Some(&shared), &one, "x", T3, false).unwrap();
    assert_eq!(names(&kept), ["a", "b"]);
    assert_eq!(
        kept["spec"]["template"]["spec"]["containers"][1],
        json!({"name": "b", "workingDir": "/"})
    );
}

#[test]
fn keys_that_are_not_given_count_with_their_default() {
    let port = |extra: Value| {
        let mut port = json!({"containerPort": 80});
        port.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        containers(json!([{"name": "a", "ports": [port]}]))
    };
    let live = apply(None, &port(json!({"protocol": "TCP"})), "x", T1, false).unwrap();
    let merged = apply(Some(&live), &port(json!({"name": "http"})), "y", T2, false).unwrap();
    assert_eq!(
        merged["spec"]["template"]["spec"]["containers"][0]["ports"],
        json!([{"containerPort": 80, "protocol": "TCP", "name": "http"}])
    );
}

#[test]
fn sets_and_atomic_lists() {
    let with = |finalizers: &[&str], args: &[&str]| {
        let mut object = containers(json!([{"name": "c", "args": args}]));
        object["metadata"]["finalizers"] = json!(finalizers);
        object
    };
    let live = apply(None, &with(&["f/a"], &["1"]), "x", T1, false).unwrap();
    let error = apply(Some(&live), &with(&["f/b"], &["2"]), "y", T2, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"x\": .spec.template.spec.containers[name=\"c\"].args"
    );
    let forced = apply(Some(&live), &with(&["f/b"], &["2"]), "y", T2, true).unwrap();
    assert_eq!(forced["metadata"]["finalizers"], json!(["f/a", "f/b"]));
    assert_eq!(
        forced["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["2"])
    );
    assert_eq!(
        fields(&forced, "y")["f:metadata"]["f:finalizers"],
        json!({"v:\"f/b\"": {}})
    );
    let pruned = apply(Some(&forced), &with(&[], &["2"]), "x", T3, false).unwrap();
    assert_eq!(pruned["metadata"]["finalizers"], json!(["f/b"]));
}

#[test]
fn objects_from_before_the_first_apply_belong_to_somebody() {
    let mut live = deployment(json!({"replicas": 1}));
    live["metadata"]["uid"] = "1-2-3".into();
    let mut new = live.clone();
    new["spec"]["paused"] = true.into();
    update(Some(&live), &mut new, "late", T1);
    assert_eq!(new["metadata"].get("managedFields"), None);
    let error = apply(
        Some(&new),
        &deployment(json!({"replicas": 2})),
        "a",
        T1,
        false,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    let owned = apply(
        Some(&new),
        &deployment(json!({"replicas": 1})),
        "a",
        T1,
        false,
    )
    .unwrap();
    assert_eq!(
        fields(&owned, "before-first-apply"),
        json!({"f:spec": {"f:paused": {}, "f:replicas": {}}})
    );
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let config = deployment(json!({"replicas": 1}));
    let mut live = config.clone();
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": config.to_string()});
    update(None, &mut live, "kubectl-client-side-apply", T1);
    let changed = deployment(json!({"replicas": 2}));
    assert!(apply(Some(&live), &changed, "someone", T2, false).is_err());
    let object = apply(Some(&live), &changed, "kubectl", T2, false).unwrap();
    assert_eq!(object["spec"]["replicas"], 2);
    let renewed =
        &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(renewed.as_str().unwrap(), format!("{changed}\n"));
}

#[test]
fn a_configuration_that_cannot_be_merged_is_refused() {
    let live = apply(None, &deployment(json!({"replicas": 1})), "a", T1, false).unwrap();
    let twice = containers(json!([{"name": "c"}, {"name": "c"}]));
    assert_eq!(
        apply(Some(&live), &twice, "a", T2, false).unwrap_err(),
        ApplyError::Untyped(
            ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]".to_owned()
        )
    );
    let managed = json!({"metadata": {"managedFields": []}});
    assert_eq!(
        apply(Some(&live), &managed, "a", T2, false)
            .unwrap_err()
            .to_string(),
        "metadata.managedFields must be nil"
    );
}
