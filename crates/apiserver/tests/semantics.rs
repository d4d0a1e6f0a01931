//! The finer points of writes, lists and watches.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Cluster, config_map, namespace, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_warned_of_refused_or_ignored() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("a");
    object["foo"] = 1.into();
    let refused = admin
        .post(&format!("{MAPS}?fieldValidation=Strict"), &object)
        .await
        .fails(400);
    assert_eq!(
        refused["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\""
    );
    let warned = admin.post(MAPS, &object).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"foo\\\"\""]);
    assert!(warned.ok().get("foo").is_none());
    object["metadata"]["name"] = "b".into();
    let ignored = admin
        .post(&format!("{MAPS}?fieldValidation=Ignore"), &object)
        .await;
    assert!(ignored.warnings().is_empty());
    admin
        .post(&format!("{MAPS}?fieldValidation=Maybe"), &object)
        .await
        .fails(422);
    let twice = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","a":"2"}}"#;
    let json_type = [("content-type", "application/json")];
    let warned = admin.raw("POST", MAPS, &json_type, twice).await;
    assert_eq!(
        warned.warnings(),
        ["299 - \"duplicate field \\\"data.a\\\"\""]
    );
    let wrong = admin
        .raw("POST", MAPS, &json_type, r#"{"metadata":{"name":1}}"#)
        .await
        .fails(400);
    assert!(wrong["message"].as_str().unwrap().starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field"), "{wrong}");
    admin.raw("POST", MAPS, &json_type, "{").await.fails(400);
    admin
        .raw("POST", MAPS, &[("content-type", "text/csv")], "a")
        .await
        .fails(415);
    admin
        .raw("GET", MAPS, &[("accept", "text/html")], "")
        .await
        .fails(406);
    admin
        .raw("POST", MAPS, &json_type, vec![b' '; 4 << 20])
        .await
        .fails(413);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: why\ndata:\n  a: 'x'\n";
    let made = admin
        .raw("POST", MAPS, &[("content-type", "application/yaml")], yaml)
        .await
        .ok();
    assert_eq!(made["data"]["a"], "x");
    let shown = admin
        .raw(
            "GET",
            &format!("{MAPS}/why"),
            &[("accept", "application/yaml")],
            "",
        )
        .await;
    assert!(String::from_utf8_lossy(&shown.body).contains("kind: ConfigMap\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_write_is_a_conflict_and_a_dry_run_leaves_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = admin.post(MAPS, &config_map("a")).await.ok();
    let path = format!("{MAPS}/a");
    admin
        .patch(&path, "merge", &json!({"data": {"b": "2"}}))
        .await
        .ok();
    let refused = admin.put(&path, &first).await.fails(409);
    assert_eq!(
        refused["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let mut wrong = config_map("a");
    wrong["metadata"]["uid"] = "x".into();
    admin.put(&path, &wrong).await.fails(409);
    admin.put(&path, &config_map("a")).await.ok();
    let before = admin.get(&path).await.ok();
    let dry = admin
        .patch(
            &format!("{path}?dryRun=All"),
            "merge",
            &json!({"data": {"z": "1"}}),
        )
        .await
        .ok();
    assert_eq!(dry["data"]["z"], "1");
    admin
        .post(&format!("{MAPS}?dryRun=All"), &config_map("new"))
        .await
        .ok();
    admin.get(&format!("{MAPS}/new")).await.fails(404);
    admin.delete(&format!("{path}?dryRun=All")).await.ok();
    assert_eq!(admin.get(&path).await.ok(), before);
    admin
        .delete_with(&path, &json!({"preconditions": {"uid": "x"}}))
        .await
        .fails(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_what_is_deleted() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(MAPS, &object).await.ok();
    let path = format!("{MAPS}/a");
    let going = admin.delete(&path).await.ok();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let again = admin.delete(&path).await.ok();
    assert_eq!(revision(&again), revision(&going));
    admin
        .patch(&path, "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    admin.get(&path).await.fails(404);

    let namespaces = "/api/v1/namespaces";
    let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    let made = admin.post(namespaces, &value).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let mut going = admin.delete(&format!("{namespaces}/gone")).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = admin
        .post(&format!("{namespaces}/gone/configmaps"), &config_map("x"))
        .await
        .fails(403);
    assert_eq!(
        refused["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    going["spec"]["finalizers"] = json!([]);
    admin
        .put(&format!("{namespaces}/gone/finalize"), &going)
        .await
        .ok();
    admin.get(&format!("{namespaces}/gone")).await.fails(404);
    admin
        .delete(&format!("{namespaces}/default"))
        .await
        .fails(403);
    admin
        .post(
            &format!("{namespaces}/nowhere/configmaps"),
            &config_map("x"),
        )
        .await
        .fails(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_of_one_snapshot() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d", "e"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"half": if name < "c" { "low" } else { "high" }});
        admin.post(MAPS, &object).await.ok();
    }
    let first = admin.get(&format!("{MAPS}?limit=2")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let next = first["metadata"]["continue"].as_str().unwrap().to_owned();
    admin.delete(&format!("{MAPS}/c")).await.ok();
    let second = admin
        .get(&format!("{MAPS}?limit=2&continue={next}"))
        .await
        .ok();
    let names: Vec<&str> = second["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["c", "d"], "the snapshot of the first page");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let next = second["metadata"]["continue"].as_str().unwrap();
    let last = admin
        .get(&format!("{MAPS}?limit=2&continue={next}"))
        .await
        .ok();
    assert!(last["metadata"].get("continue").is_none());
    let high = admin
        .get(&format!("{MAPS}?labelSelector=half%3Dhigh"))
        .await
        .ok();
    assert_eq!(high["items"].as_array().unwrap().len(), 2);
    let named = admin
        .get(&format!("{MAPS}?fieldSelector=metadata.name%3Da"))
        .await
        .ok();
    assert_eq!(named["items"].as_array().unwrap().len(), 1);
    admin
        .get(&format!("{MAPS}?fieldSelector=data%3Da"))
        .await
        .fails(400);
    let now = revision(&first);
    let past = admin
        .get(&format!(
            "{MAPS}?resourceVersion={now}&resourceVersionMatch=Exact"
        ))
        .await
        .ok();
    assert_eq!(past["items"].as_array().unwrap().len(), 5);
    let future = admin
        .get(&format!("{MAPS}?resourceVersion=99999999"))
        .await
        .fails(504);
    assert_eq!(
        future["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    admin
        .get(&format!("{MAPS}?resourceVersionMatch=Exact"))
        .await
        .fails(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_selects_and_marks_its_beginning() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut labelled = config_map("a");
    labelled["metadata"]["labels"] = json!({"on": "1"});
    let first = admin.post(MAPS, &labelled).await.ok();
    let mut watch = admin
        .watch(&format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=on"))
        .await;
    assert_eq!(watch.line().await, "ADDED a");
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    admin.post(MAPS, &config_map("b")).await.ok();
    let path = format!("{MAPS}/a");
    admin
        .patch(&path, "merge", &json!({"data": {"x": "1"}}))
        .await
        .ok();
    assert_eq!(watch.line().await, "MODIFIED a");
    let left = admin
        .patch(&path, "merge", &json!({"metadata": {"labels": null}}))
        .await
        .ok();
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["on"], "1");
    assert_eq!(revision(&event["object"]), revision(&left));

    let mut resumed = admin
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion={}",
            revision(&first)
        ))
        .await;
    for expected in ["ADDED b", "MODIFIED a", "MODIFIED a"] {
        assert_eq!(resumed.line().await, expected);
    }
    let mut single = admin
        .watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db"))
        .await;
    assert_eq!(single.line().await, "ADDED b");
    let mut ended = admin
        .watch(&format!(
            "{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}",
            revision(&left)
        ))
        .await;
    assert!(ended.next().await.is_none());
    cluster
        .store
        .compact(store::Revision(revision(&left)))
        .await
        .unwrap();
    admin
        .get(&format!("{MAPS}?watch=1&resourceVersionMatch=NotOlderThan"))
        .await
        .fails(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_owns_what_it_says() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let apply = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let path = format!("{MAPS}/a");
    let made = admin
        .patch(
            &format!("{path}?fieldManager=one"),
            "apply",
            &apply(json!({"x": "1", "y": "1"})),
        )
        .await;
    assert_eq!(made.code, 201);
    let conflict = admin
        .patch(
            &format!("{path}?fieldManager=two"),
            "apply",
            &apply(json!({"x": "2"})),
        )
        .await
        .fails(409);
    assert_eq!(
        conflict["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .data.x"
    );
    assert_eq!(
        conflict["details"]["causes"][0]["reason"],
        "FieldManagerConflict"
    );
    let forced = admin
        .patch(
            &format!("{path}?fieldManager=two&force=true"),
            "apply",
            &apply(json!({"x": "2"})),
        )
        .await
        .ok();
    assert_eq!(forced["data"], json!({"x": "2", "y": "1"}));
    let less = admin
        .patch(
            &format!("{path}?fieldManager=one"),
            "apply",
            &apply(json!({})),
        )
        .await
        .ok();
    assert_eq!(less["data"], json!({"x": "2"}));
    let again = admin
        .patch(
            &format!("{path}?fieldManager=one"),
            "apply",
            &apply(json!({})),
        )
        .await
        .ok();
    assert_eq!(revision(&again), revision(&less));
    admin
        .patch(&path, "apply", &apply(json!({})))
        .await
        .fails(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_names_do_not_collide() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}});
    let mut names = std::collections::HashSet::new();
    for _ in 0..20 {
        let made = admin.post(MAPS, &object).await.ok();
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("x-") && name.len() == 7, "{name}");
        assert!(names.insert(name));
    }
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let refused = admin.post(MAPS, &nameless).await.fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("name or generateName is required"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_scale() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let services = "/api/v1/namespaces/default/services";
    let kubernetes = admin.get(&format!("{services}/kubernetes")).await.ok();
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = admin.post(services, &service).await.ok();
    assert!(
        made["spec"]["clusterIP"]
            .as_str()
            .unwrap()
            .starts_with("10.96.")
    );
    assert!(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap() >= 30000);
    let mut taken = service.clone();
    taken["metadata"]["name"] = "t".into();
    taken["spec"]["clusterIP"] = made["spec"]["clusterIP"].clone();
    let refused = admin.post(services, &taken).await.fails(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("provided IP is already allocated"),
        "{refused}"
    );
    admin.delete(&format!("{services}/s")).await.ok();
    admin.post(services, &taken).await.ok();

    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}}});
    let made = admin.post(deployments, &deployment).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["replicas"], 1);
    let mut scale = admin.get(&format!("{deployments}/d/scale")).await.ok();
    assert_eq!(scale["status"]["selector"], "a=b");
    scale["spec"]["replicas"] = 4.into();
    admin
        .put(&format!("{deployments}/d/scale"), &scale)
        .await
        .ok();
    admin
        .patch(
            &format!("{deployments}/d/scale"),
            "merge",
            &json!({"spec": {"replicas": 5}}),
        )
        .await
        .ok();
    let scaled = admin.get(&format!("{deployments}/d")).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(scaled["metadata"]["generation"], 3);
    let status = json!({"status": {"replicas": 5}, "metadata": {"annotations": {"k": "v"}}});
    let patched = admin
        .patch(&format!("{deployments}/d/status"), "merge", &status)
        .await
        .ok();
    assert_eq!(patched["metadata"]["generation"], 3);
    assert_eq!(patched["metadata"]["annotations"]["k"], "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_asks_the_budget() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    admin.post(PODS, &pod("p")).await.ok();
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin
        .patch(&format!("{PODS}/p/status"), "strategic", &ready)
        .await
        .ok();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}});
    admin.post(budgets, &budget).await.ok();
    let status = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
    };
    admin
        .patch(&format!("{budgets}/b/status"), "merge", &status(0))
        .await
        .ok();
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = admin
        .post(&format!("{PODS}/p/eviction"), &eviction)
        .await
        .fails(429);
    assert_eq!(
        refused["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    admin
        .patch(&format!("{budgets}/b/status"), "merge", &status(1))
        .await
        .ok();
    admin
        .post(&format!("{PODS}/p/eviction"), &eviction)
        .await
        .ok();
    let left = admin.get(&format!("{budgets}/b")).await.ok();
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
    assert!(left["status"]["disruptedPods"]["p"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart_and_secrets_are_sealed() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "bWFya2VyLXRleHQ="}});
    let made = admin
        .post("/api/v1/namespaces/default/secrets", &secret)
        .await
        .ok();
    let Cluster {
        server, store, dir, ..
    } = cluster;
    server.end_watches();
    store.close().await;
    drop((admin, server, store));
    for entry in std::fs::read_dir(dir.path().join("store")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(
            !bytes.windows(16).any(|w| w == b"bWFya2VyLXRleHQ="),
            "a secret rests in plain text"
        );
    }
    let cluster = Cluster::start_in(dir).await;
    let found = cluster
        .admin()
        .get("/api/v1/namespaces/default/secrets/s")
        .await
        .ok();
    assert_eq!(found, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_keeps_the_status_it_comes_with() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}});
    let made = admin.post("/api/v1/nodes", &node).await.ok();
    assert_eq!(made["status"]["capacity"]["cpu"], "4");
    assert_eq!(made["status"]["conditions"][0]["type"], "Ready");
    let update = json!({"status": {"capacity": {"cpu": "5"}}});
    let same = admin.patch("/api/v1/nodes/n", "merge", &update).await.ok();
    assert_eq!(same["status"]["capacity"]["cpu"], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_are_none_change_nothing_and_say_why() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let one = format!("{maps}/a");
    admin.post(maps, &config_map("a")).await.ok();
    let kind = ("content-type", "application/json");
    let merge = ("content-type", "application/merge-patch+json");
    let apply = ("content-type", "application/apply-patch+yaml");
    let whole = config_map("b").to_string();
    let invalid =
        |options: &str, why: &str| format!("{options}.meta.k8s.io \"\" is invalid: {why}");
    let cases = [
        (
            "DELETE", one.clone(), kind, r#"{"dryRun":["Foo"]}"#.to_owned(), 422,
            invalid("DeleteOptions", "dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\""),
        ),
        (
            "DELETE", format!("{one}?dryRun=Foo"), kind, String::new(), 422,
            invalid("DeleteOptions", "dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\""),
        ),
        (
            "POST", format!("{maps}?dryRun=Foo&fieldValidation=Bar"), kind, whole.clone(), 422,
            invalid("CreateOptions", "[dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\", \
                fieldValidation: Unsupported value: \"Bar\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]"),
        ),
        (
            "PATCH", format!("{one}?fieldManager=a%0Ab"), merge, "{}".to_owned(), 422,
            invalid("PatchOptions", "fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)"),
        ),
        (
            "PATCH", format!("{one}?force=true"), merge, "{}".to_owned(), 422,
            invalid("PatchOptions", "force: Forbidden: may not be specified for non-apply patch"),
        ),
        (
            "PATCH", one.clone(), merge, "[]".to_owned(), 400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}".to_owned(),
        ),
        (
            "PATCH", one.clone(), merge, r#"{"data":{"a":1}}"#.to_owned(), 422,
            " \"\" is invalid: patch: Invalid value: \"{\\\"data\\\":{\\\"a\\\":1}}\": \
             json: cannot unmarshal number into Go struct field ConfigMap.data.a of type string".to_owned(),
        ),
        (
            "PATCH", one.clone(), merge, r#"{"metadata":{"uid":"x"}}"#.to_owned(), 422,
            "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable".to_owned(),
        ),
        (
            "PATCH", format!("{maps}/none?fieldManager=m"), apply,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"none","uid":"x"}}"#.to_owned(), 409,
            "Operation cannot be fulfilled on configmaps \"none\": uid mismatch: \
             the provided object specified uid x, and no existing object was found".to_owned(),
        ),
        (
            "POST", maps.to_owned(), kind, r#"{"a":"#.to_owned(), 400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
             json parse error: unexpected end of JSON input ({\"a\":)".to_owned(),
        ),
        (
            "GET", format!("{maps}?limit=x"), kind, String::new(), 400,
            "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
        ),
        (
            "GET", format!("{maps}?watch=1&timeoutSeconds=x"), kind, String::new(), 400,
            "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
        ),
        (
            "GET", format!("{maps}?labelSelector=a%20in"), kind, String::new(), 400,
            "unable to parse requirement: found '' expected: '('".to_owned(),
        ),
        (
            "PUT",
            one.clone(),
            kind,
            r#"{"data":{"a":"2"}}"#.to_owned(),
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided"
                .to_owned(),
        ),
        (
            "PUT",
            one.clone(),
            kind,
            r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"1"}}"#.to_owned(),
            400,
            "the namespace of the provided object does not match the namespace sent on the request (b != default)"
                .to_owned(),
        ),
        (
            "PUT",
            maps.to_owned(),
            kind,
            whole,
            405,
            "the server does not allow this method on the requested resource".to_owned(),
        ),
    ];
    for (method, path, kind, body, code, message) in cases {
        let answer = admin.raw(method, &path, &[kind], body).await.fails(code);
        assert_eq!(answer["message"], message, "{method} {path}");
    }
    let names = admin.get(maps).await.ok();
    let names: Vec<_> = names["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["metadata"]["name"])
        .collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_the_control_plane_are_known_by_name() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for (user, manager) in [
        ("system:kube-scheduler", "kube-scheduler"),
        (
            "system:serviceaccount:kube-system:job-controller",
            "kube-controller-manager",
        ),
        ("somebody", "unknown"),
    ] {
        // A client that says nothing of itself.
        let body = Full::new(Bytes::from(config_map(manager).to_string()));
        let request = http::Request::post(maps).body(body).unwrap();
        let client = cluster.user(user, &["system:masters"]);
        let answer = client.transport.oneshot(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let made: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(made["metadata"]["managedFields"][0]["manager"], manager);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_accepted_is_warned_of() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut old_fashioned = pod("a");
    old_fashioned["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    old_fashioned["spec"]["containers"][0]["name"] = "Not A Name".into();
    let refused = admin.post(pods, &old_fashioned).await;
    assert_eq!((refused.code, refused.warnings()), (422, Vec::new()));
    old_fashioned["spec"]["containers"][0]["name"] = "c".into();
    let made = admin.post(pods, &old_fashioned).await;
    assert_eq!((made.code, made.warnings().len()), (201, 1));
}
