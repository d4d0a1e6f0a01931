//! Strategic merge patches on built-in kinds.

use schema::{Value, patch};
use serde_json::json;

use crate::roundtrip::TABLE;

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn patched(doc: &Value, change: Value) -> Result<Value, String> {
    let ty = TABLE.id("core.v1.Pod").unwrap();
    patch::strategic(&TABLE, ty, doc, &change).map_err(|error| error.to_string())
}

/// `(what, spec, patch of the spec, spec afterwards)`.
#[test]
fn directives_and_merging() {
    let two = json!({"containers": [
        {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "2"}]});
    for (what, spec, change, expected) in [
        (
            "elements merge by key, new ones come as the patch has them",
            two.clone(),
            json!({"containers": [{"name": "b", "image": "3"}, {"name": "c"}]}),
            json!({"containers": [
                {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
                {"name": "b", "image": "3"}, {"name": "c"}]}),
        ),
        (
            "nested lists merge",
            two.clone(),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]}]}),
            json!({"containers": [
                {"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]},
                {"name": "b", "image": "2"}]}),
        ),
        (
            "an element is deleted",
            two.clone(),
            json!({"containers": [{"$patch": "delete", "name": "a"}]}),
            json!({"containers": [{"name": "b", "image": "2"}]}),
        ),
        (
            "a list is replaced",
            two.clone(),
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
            json!({"containers": [{"name": "z"}]}),
        ),
        (
            "a map is replaced",
            json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
            json!({"securityContext": {"$patch": "replace", "runAsGroup": 3}}),
            json!({"securityContext": {"runAsGroup": 3}}),
        ),
        (
            "a map is emptied",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            "null deletes, and means nothing in what is new",
            json!({"nodeName": "n", "nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeName": null, "nodeSelector": {"a": null}, "securityContext": {"runAsUser": null, "fsGroup": 1}}),
            json!({"nodeSelector": {"b": "2"}, "securityContext": {"fsGroup": 1}}),
        ),
        (
            "retained keys push out the others",
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        ),
        (
            "lists without a strategy are replaced",
            json!({"tolerations": [{"key": "a"}, {"key": "b"}]}),
            json!({"tolerations": [{"key": "c"}]}),
            json!({"tolerations": [{"key": "c"}]}),
        ),
        (
            "the order directive orders what both have",
            json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
            json!({
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "a", "image": "1"}]}),
            json!({"containers": [{"name": "b"}, {"name": "c"}, {"name": "a", "image": "1"}]}),
        ),
        (
            "the order directive alone",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            "ordering with a deletion and an addition",
            json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "s"}]}),
            json!({
                "$setElementOrder/containers": [{"name": "b"}, {"name": "n"}],
                "containers": [{"name": "n", "image": "1"}, {"$patch": "delete", "name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "n", "image": "1"}, {"name": "s"}]}),
        ),
        (
            "a list that was not there",
            json!({"nodeName": "n"}),
            json!({
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "image": "1"}]}),
            json!({"nodeName": "n", "containers": [{"name": "a", "image": "1"}]}),
        ),
    ] {
        assert_eq!(
            patched(&pod(spec), json!({"spec": change})),
            Ok(pod(expected)),
            "{what}"
        );
    }
}

#[test]
fn lists_of_scalars_merge() {
    let doc = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let finalizers = |change: Value| {
        patched(&doc, json!({"metadata": change}))
            .map(|object| object["metadata"]["finalizers"].clone())
    };
    assert_eq!(
        finalizers(json!({"finalizers": ["d", "a"]})),
        Ok(json!(["d", "a", "b", "c"]))
    );
    assert_eq!(
        finalizers(json!({"$deleteFromPrimitiveList/finalizers": ["b"]})),
        Ok(json!(["a", "c"]))
    );
    assert_eq!(
        finalizers(json!({
            "$deleteFromPrimitiveList/finalizers": ["b"],
            "$setElementOrder/finalizers": ["c", "d", "a"],
            "finalizers": ["d"]})),
        Ok(json!(["c", "d", "a"]))
    );
}

#[test]
fn malformed_patches_are_refused_in_upstreams_words() {
    let doc = pod(json!({"containers": [{"name": "a"}]}));
    for (change, expected) in [
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"$patch": "explode"}}),
            "unknown patch type: explode in map: map[]",
        ),
        (
            json!({"spec": {"$retainKeys": ["a"], "nodeName": "x"}}),
            "invalid patch format of retainKeys",
        ),
        (
            json!({"spec": {"containers": [{"$patch": "merge", "name": "a"}]}}),
            "merging lists cannot yet be specified in the patch",
        ),
    ] {
        assert_eq!(patched(&doc, change), Err(expected.to_owned()));
    }
    let out_of_order = json!({"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a"}, {"name": "b"}]}});
    let error = patched(&doc, out_of_order).unwrap_err();
    assert!(error.starts_with("The order in patch list:\n"), "{error}");
}
