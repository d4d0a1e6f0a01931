//! Custom resources through the request path: definitions, their objects in every way, and their end.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, namespace};
use crate::hook::{Hook, Reply};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRONS: &str = "/apis/example.com/v1/namespaces/default/crontabs";

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["cron"], "properties": {
            "cron": {"type": "string", "pattern": "^[*0-9 ]+$"},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "on": {"type": "boolean", "default": true}}}},
        }},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    }})
}

fn definition(plural: &str, kind: &str, versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": [&plural[..2]], "categories": ["all"]},
            "versions": versions,
        },
    })
}

fn crons() -> Value {
    definition(
        "crontabs",
        "CronTab",
        json!([{
            "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cron"}],
            "selectableFields": [{"jsonPath": ".spec.cron"}],
        }]),
    )
}

/// Waits until the definition says so of itself.
async fn until(client: &Client, name: &str, says: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{DEFINITIONS}?fieldSelector=metadata.name={name}&watch=true");
    let mut changes = client.watch(&path).await;
    loop {
        let event = changes.next().await.expect("an event");
        if event["type"] != "DELETED" && says(&event["object"]) {
            return event["object"].clone();
        }
    }
}

fn condition(definition: &Value, kind: &str) -> String {
    let list = definition["status"]["conditions"].as_array();
    let found = list.into_iter().flatten().find(|c| c["type"] == kind);
    found.map_or(String::new(), |c| {
        format!(
            "{}/{}",
            c["status"].as_str().unwrap(),
            c["reason"].as_str().unwrap()
        )
    })
}

async fn define(client: &Client, definition: &Value) -> Value {
    client.post(DEFINITIONS, definition).await.ok();
    let name = definition["metadata"]["name"].as_str().unwrap();
    until(client, name, |d| {
        condition(d, "Established").starts_with("True")
    })
    .await
}

fn cron(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn objects_are_served_like_any_other() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    namespace(&client, "default").await;
    client.get(CRONS).await.fails(404);
    let made = define(&client, &crons()).await;
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));

    let sent = cron(
        "a",
        json!({"cron": "* *", "list": [{"name": "x"}], "unknown": 1}),
    );
    let answer = client.post(CRONS, &sent).await;
    assert_eq!(
        answer.warnings(),
        ["299 - \"unknown field \\\"spec.unknown\\\"\""]
    );
    let object = answer.ok();
    assert_eq!(
        object["spec"],
        json!({"cron": "* *", "replicas": 1, "list": [{"name": "x", "on": true}]})
    );
    assert_eq!(object["metadata"]["generation"], 1);
    let strict = client
        .post(&format!("{CRONS}?fieldValidation=Strict"), &sent)
        .await
        .fails(400);
    assert_eq!(
        strict["message"],
        "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.unknown\""
    );
    let wrong = client
        .post(CRONS, &cron("b", json!({"cron": "x", "replicas": "1"})))
        .await
        .fails(422);
    let fields: Vec<&str> = wrong["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["spec.cron", "spec.replicas", ".spec.replicas"]);

    // Patches: all but the strategic one.
    let path = format!("{CRONS}/a");
    let patched = client
        .patch(&path, "merge", &json!({"spec": {"replicas": 2}}))
        .await
        .ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    client
        .patch(
            &path,
            "json",
            &json!([{"op": "replace", "path": "/spec/cron", "value": "1"}]),
        )
        .await
        .ok();
    client
        .patch(&path, "strategic", &json!({"spec": {}}))
        .await
        .fails(415);
    let applied = json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "a"},
        "spec": {"list": [{"name": "y"}]}});
    let applied = client
        .patch(&format!("{path}?fieldManager=me"), "apply", &applied)
        .await
        .ok();
    assert_eq!(applied["spec"]["list"].as_array().unwrap().len(), 2);
    let managers = applied["metadata"]["managedFields"].to_string();
    assert!(managers.contains(r#"k:{\"name\":\"y\"}"#), "{managers}");

    // Status and scale.
    let mut status = applied.clone();
    status["status"] = json!({"replicas": 2, "selector": "a=b"});
    status["spec"]["replicas"] = json!(9);
    status["metadata"]["labels"] = json!({"no": "way"});
    let status = client.put(&format!("{path}/status"), &status).await.ok();
    assert_eq!(
        (&status["status"]["replicas"], &status["spec"]["replicas"]),
        (&json!(2), &json!(2))
    );
    assert!(status["metadata"]["labels"].is_null());
    let scale = client.get(&format!("{path}/scale")).await.ok();
    assert_eq!(
        (&scale["kind"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!("a=b"))
    );
    client
        .patch(
            &format!("{path}/scale"),
            "merge",
            &json!({"spec": {"replicas": 5}}),
        )
        .await
        .ok();
    let scaled = client.get(&path).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 5);
    client
        .patch(
            &format!("{path}/scale"),
            "merge",
            &json!({"spec": {"replicas": 50}}),
        )
        .await
        .fails(422);

    // Selection, tables, metadata alone.
    client
        .post(CRONS, &cron("b", json!({"cron": "2"})))
        .await
        .ok();
    let list = client
        .get(&format!("{CRONS}?fieldSelector=spec.cron%3D2"))
        .await
        .ok();
    assert_eq!(list["kind"], "CronTabList");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    client
        .get(&format!("{CRONS}?fieldSelector=spec.other%3D2"))
        .await
        .fails(400);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = client.raw("GET", CRONS, &table, "").await.ok();
    assert_eq!(table["columnDefinitions"][1]["name"], "Cron");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "1"]));
    let partial = [(
        "accept",
        "application/vnd.kubernetes.protobuf, application/json",
    )];
    assert_eq!(
        client.raw("GET", &path, &partial, "").await.ok()["kind"],
        "CronTab"
    );
    client
        .put(&path, &cron("a", json!({"cron": "3"})))
        .await
        .fails(422);

    let removed = client.delete(CRONS).await.ok();
    assert_eq!(removed["items"].as_array().unwrap().len(), 2);
    client.get(&path).await.fails(404);
}

#[tokio::test]
async fn what_is_defined_is_discovered() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    define(&client, &crons()).await;
    let groups = client.get("/apis").await.ok();
    let found = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["name"] == "example.com");
    assert_eq!(found.unwrap()["preferredVersion"]["version"], "v1");
    client.get("/apis/example.com").await.ok();
    let resources = client.get("/apis/example.com/v1").await.ok();
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["cr"]));
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let aggregated = client.raw("GET", "/apis", &accept, "").await.ok();
    let group = aggregated["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["metadata"]["name"] == "example.com")
        .unwrap();
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "crontabs");
    let v3 = client.get("/openapi/v3").await.ok();
    let url = v3["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = client.get(url).await.ok();
    let published = &document["components"]["schemas"]["com.example.v1.CronTab"];
    assert_eq!(
        published["properties"]["spec"]["properties"]["replicas"]["default"],
        1
    );
    assert_eq!(
        published["x-kubernetes-group-version-kind"][0]["kind"],
        "CronTab"
    );
    let paths = document["paths"].as_object().unwrap();
    assert!(
        paths.contains_key("/apis/example.com/v1/namespaces/{namespace}/crontabs/{name}/scale")
    );
    let v2 = client.get("/openapi/v2").await.ok();
    assert!(v2["definitions"]["com.example.v1.CronTab"]["properties"]["spec"].is_object());

    // Its objects hold it no longer than they take to go.
    namespace(&client, "default").await;
    client
        .post(CRONS, &cron("a", json!({"cron": "1"})))
        .await
        .ok();
    let mut changes = client.watch(&format!("{DEFINITIONS}?watch=true")).await;
    client
        .delete(&format!("{DEFINITIONS}/crontabs.example.com"))
        .await
        .ok();
    while let Some(event) = changes.next().await {
        if event["type"] == "DELETED" {
            break;
        }
    }
    // The endpoints go when the definition has gone; what was made of them goes with them.
    loop {
        if client.get("/apis/example.com/v1").await.code == 404 {
            break;
        }
        tokio::task::yield_now().await;
    }
    client.get("/apis/example.com").await.fails(404);
    assert!(client.get("/openapi/v3").await.ok()["paths"]["apis/example.com/v1"].is_null());
}

#[tokio::test]
async fn definitions_are_judged_and_keep_their_promises() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    let mut bad = crons();
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] =
        json!("");
    let refused = client.post(DEFINITIONS, &bad).await.fails(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"),
        "{message}"
    );
    for (path, value, expected) in [
        (
            "/metadata/name",
            json!("x.example.com"),
            "metadata.name: Invalid value",
        ),
        (
            "/spec/group",
            json!("nodots"),
            "should be a domain with at least one dot",
        ),
        (
            "/spec/versions/0/storage",
            json!(false),
            "must have exactly one version marked as storage version",
        ),
        (
            "/spec/versions/0/additionalPrinterColumns/0/jsonPath",
            json!("spec"),
            "must be a simple json path starting with .",
        ),
        (
            "/spec/versions/0/selectableFields/0/jsonPath",
            json!(".spec.list"),
            "must point to a field of type string, boolean or integer",
        ),
        (
            "/spec/versions/0/subresources/scale/specReplicasPath",
            json!(".x"),
            "should be a json path under .spec",
        ),
        (
            "/spec/scope",
            json!("World"),
            "spec.scope: Unsupported value",
        ),
        (
            "/spec/names/plural",
            json!("Crons"),
            "a DNS-1035 label must consist of",
        ),
        (
            "/spec/conversion",
            json!({"strategy": "Webhook"}),
            "spec.conversion.webhookClientConfig: Required value",
        ),
    ] {
        let mut bad = crons();
        match bad.pointer_mut(path) {
            Some(place) => *place = value,
            None => bad["spec"]["conversion"] = value,
        }
        let refused = client.post(DEFINITIONS, &bad).await.fails(422);
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(expected), "{path}: {message}");
    }
    define(&client, &crons()).await;
    let path = format!("{DEFINITIONS}/crontabs.example.com");
    for patch in [
        json!({"spec": {"scope": "Cluster"}}),
        json!({"spec": {"names": {"kind": "Other"}}}),
        json!({"spec": {"names": {"plural": "others"}}}),
    ] {
        let refused = client.patch(&path, "merge", &patch).await.fails(422);
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains("field is immutable"),
            "{refused}"
        );
    }
    // A second one that wants the same kind waits for it.
    let mut second = definition("crons", "CronTab", crons()["spec"]["versions"].clone());
    second["spec"]["names"]["shortNames"] = json!([]);
    client.post(DEFINITIONS, &second).await.ok();
    let name = "crons.example.com";
    until(&client, name, |d| {
        condition(d, "NamesAccepted") == "False/ListKindConflict"
    })
    .await;
    client.delete(&path).await.ok();
    until(&client, name, |d| {
        condition(d, "Established").starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn versions_rest_in_one_and_old_objects_see_new_schemas() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    namespace(&client, "default").await;
    let mut first = crons();
    define(&client, &first).await;
    client
        .post(CRONS, &cron("a", json!({"cron": "1"})))
        .await
        .ok();
    // A second version becomes the one that objects rest in; a new field has a default.
    let mut second = first["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["added"] =
        json!({"type": "string", "default": "new"});
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("list");
    first["spec"]["versions"][0]["storage"] = json!(false);
    first["spec"]["versions"][0]["deprecated"] = json!(true);
    let patch = json!({"spec": {"versions": [first["spec"]["versions"][0], second]}});
    let path = format!("{DEFINITIONS}/crontabs.example.com");
    let patched = client.patch(&path, "merge", &patch).await.ok();
    assert_eq!(patched["status"]["storedVersions"], json!(["v1", "v2"]));
    let v2 = CRONS.replace("/v1/", "/v2/");
    loop {
        if client.get(&v2).await.code == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let old = client.get(&format!("{v2}/a")).await.ok();
    assert_eq!(
        (&old["apiVersion"], &old["spec"]["added"]),
        (&json!("example.com/v2"), &json!("new"))
    );
    let answer = client.get(&format!("{CRONS}/a")).await;
    assert_eq!(
        answer.warnings(),
        ["299 - \"example.com/v1 CronTab is deprecated; use example.com/v2 CronTab\""]
    );
    assert!(answer.ok()["spec"]["added"].is_null());
    let mut watch = client.watch(&format!("{CRONS}?watch=true")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["apiVersion"], "example.com/v1");
    // What was stored may not be taken away while objects may rest in it.
    let only = json!({"spec": {"versions": [patched["spec"]["versions"][1]]}});
    let refused = client.patch(&path, "merge", &only).await.fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("v1 was previously a storage version")
    );
    let moved = json!({"status": {"storedVersions": ["v2"]}});
    client
        .patch(&format!("{path}/status"), "merge", &moved)
        .await
        .ok();
    client.patch(&path, "merge", &only).await.ok();
}

#[tokio::test]
async fn a_definition_goes_after_its_objects_and_comes_back_after_a_restart() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    namespace(&client, "default").await;
    define(&client, &crons()).await;
    let mut held = cron("held", json!({"cron": "1"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    client.post(CRONS, &held).await.ok();
    let Cluster {
        server, store, dir, ..
    } = cluster;
    server.end_watches();
    drop((client, server));
    store.close().await;
    drop(store);
    let cluster = Cluster::start_in(dir).await;
    let client = cluster.admin();
    let object = client.get(&format!("{CRONS}/held")).await.ok();
    assert_eq!(object["spec"]["replicas"], 1);
    let list = client
        .get(&format!("{CRONS}?fieldSelector=spec.cron%3D1"))
        .await
        .ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let path = format!("{DEFINITIONS}/crontabs.example.com");
    let going = client.delete(&path).await.ok();
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    let name = "crontabs.example.com";
    until(&client, name, |d| {
        condition(d, "Terminating") == "True/InstanceDeletionInProgress"
    })
    .await;
    let refused = client
        .post(CRONS, &cron("late", json!({"cron": "1"})))
        .await
        .fails(403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("create not allowed while custom resource definition is terminating")
    );
    let mut changes = client.watch(&format!("{DEFINITIONS}?watch=true")).await;
    client
        .patch(
            &format!("{CRONS}/held"),
            "merge",
            &json!({"metadata": {"finalizers": null}}),
        )
        .await
        .ok();
    loop {
        if changes.next().await.expect("an event")["type"] == "DELETED" {
            break;
        }
    }
    // Made again, it has no objects.
    define(&client, &crons()).await;
    let list = client.get(CRONS).await.ok();
    assert_eq!(list["items"], json!([]));
}

/// Splits `hostPort` for v2 and joins it for v1, as upstream's example does.
fn split_or_join(review: &Value) -> Value {
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap();
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = json!(wanted);
        if wanted.ends_with("/v2") {
            let joined = object["hostPort"].as_str().unwrap_or(":").to_owned();
            let (host, port) = joined.split_once(':').unwrap_or((&joined, ""));
            object["host"] = json!(host);
            object["port"] = json!(port);
            object.as_object_mut().unwrap().remove("hostPort");
        } else {
            let part = |name: &str| object[name].as_str().unwrap_or("").to_owned();
            let joined = format!("{}:{}", part("host"), part("port"));
            object["hostPort"] = json!(joined);
            object
                .as_object_mut()
                .unwrap()
                .retain(|key, _| key != "host" && key != "port");
        }
        object
    };
    let objects: Vec<Value> = review["request"]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(convert)
        .collect();
    json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

#[tokio::test]
async fn a_webhook_converts_and_fields_are_selected_as_they_are_served() {
    let hook = Hook::start(|path, review| {
        if path.starts_with("/broken") {
            return Reply::Json(json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"],
                "response": {"uid": review["request"]["uid"], "result": {"status": "Failed", "message": "no way"}}}));
        }
        Reply::Json(split_or_join(review))
    })
    .await;
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    namespace(&client, "default").await;
    let version = |name: &str, storage: bool, fields: &[&str]| {
        let properties: serde_json::Map<String, Value> = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!({"type": "string"})))
            .collect();
        let selectable: Vec<Value> = fields
            .iter()
            .map(|field| json!({"jsonPath": format!(".{field}")}))
            .collect();
        json!({"name": name, "served": true, "storage": storage, "selectableFields": selectable,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    let versions = json!([
        version("v1", true, &["hostPort"]),
        version("v2", false, &["host", "port"])
    ]);
    let mut places = definition("places", "Place", versions);
    places["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hook.client_config("/convert"), "conversionReviewVersions": ["v1", "v1beta1"]}});
    define(&client, &places).await;
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/places");
    let mut watch = client
        .watch(&format!("{}?watch=true&fieldSelector=host%3Da", path("v2")))
        .await;
    for (name, host) in [("one", "a"), ("two", "b")] {
        let object = json!({"apiVersion": "example.com/v2", "kind": "Place", "metadata": {"name": name},
            "host": host, "port": "80"});
        let made = client.post(&path("v2"), &object).await.ok();
        assert_eq!(
            (&made["host"], &made["hostPort"]),
            (&json!(host), &Value::Null)
        );
    }
    let event = watch.next().await.unwrap();
    assert_eq!(
        (
            &event["object"]["metadata"]["name"],
            &event["object"]["port"]
        ),
        (&json!("one"), &json!("80"))
    );
    let rest = client.get(&format!("{}/one", path("v1"))).await.ok();
    assert_eq!(rest["hostPort"], "a:80");
    let asked = hook.asked.lock().len();
    let list = client.get(&path("v2")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    // Once for the whole list.
    assert_eq!(hook.asked.lock().len(), asked + 1);
    for (version, selector, expected) in [
        ("v2", "host%3Db", vec!["two"]),
        ("v2", "host%3Da,port%3D81", vec![]),
        ("v1", "hostPort%3Da:80", vec!["one"]),
    ] {
        let list = client
            .get(&format!("{}?fieldSelector={selector}", path(version)))
            .await
            .ok();
        let names: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{version} {selector}");
    }
    let mut changed = client.get(&format!("{}/one", path("v2"))).await.ok();
    changed["host"] = json!("c");
    client
        .put(&format!("{}/one", path("v2")), &changed)
        .await
        .ok();
    assert_eq!(watch.line().await, "DELETED one");

    let broken = json!({"spec": {"conversion": {"webhook": {"clientConfig": hook.client_config("/broken")}}}});
    client
        .patch(
            &format!("{DEFINITIONS}/places.example.com"),
            "merge",
            &broken,
        )
        .await
        .ok();
    loop {
        let answer = client.get(&format!("{}/two", path("v2"))).await;
        if answer.code == 500 {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(
                message
                    .contains("conversion webhook for example.com/v1, Kind=Place failed: no way"),
                "{message}"
            );
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn rules_of_a_schema_are_judged_with_it_and_hold_for_objects() {
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    namespace(&client, "default").await;
    let with = |rule: Value| {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"}},
            "x-kubernetes-validations": [rule, {"rule": "self.max <= oldSelf.max", "message": "may not grow"}]}}});
        definition(
            "ranges",
            "Range",
            json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]),
        )
    };
    let refused = client
        .post(DEFINITIONS, &with(json!({"rule": "self.min < self.most"})))
        .await
        .fails(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value:")
            && message.contains("compilation failed: ERROR: <input>:1:16: undefined field 'most'"),
        "{message}"
    );
    define(&client, &with(json!({"rule": "self.min <= self.max"}))).await;
    let ranges = "/apis/example.com/v1/namespaces/default/ranges";
    let range = |min: i64, max: i64| {
        json!({"apiVersion": "example.com/v1", "kind": "Range", "metadata": {"name": "r"},
            "spec": {"min": min, "max": max}})
    };
    let wrong = client.post(ranges, &range(3, 2)).await.fails(422);
    assert_eq!(
        wrong["message"],
        "Range.example.com \"r\" is invalid: spec: Invalid value: failed rule: self.min <= self.max"
    );
    let made = client.post(ranges, &range(1, 2)).await.ok();
    let mut grown = made.clone();
    grown["spec"]["max"] = json!(3);
    let wrong = client.put(&format!("{ranges}/r"), &grown).await.fails(422);
    assert_eq!(
        wrong["message"],
        "Range.example.com \"r\" is invalid: spec: Invalid value: may not grow"
    );
}
