//! What upstream's suite sees of the request path: strict decoding, refused shapes, selectors by
//! version, evictions, tokens that expire.

use serde_json::{Value, json};

use crate::harness::{Cluster, config_map, namespace, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn strict_decoding_tells_in_the_order_of_the_document() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},
        "foo":1,"data":{"a":"1","a":"2"},"bar":1}"#;
    let json_type = [("content-type", "application/json")];
    let refused = admin
        .raw(
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            &json_type,
            body,
        )
        .await
        .fails(400);
    let text = refused["message"].as_str().unwrap();
    assert!(
        text.ends_with(
            r#"strict decoding error: unknown field "foo", duplicate field "data.a", unknown field "bar""#
        ),
        "{text}"
    );
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nfoo: 1\ndata:\n  a: '1'\n  a: '2'\n";
    let refused = admin
        .raw(
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            &[("content-type", "application/yaml")],
            yaml,
        )
        .await
        .fails(400);
    let text = refused["message"].as_str().unwrap();
    assert!(
        text.ends_with("line 8: key \"a\" already set in map, unknown field \"foo\""),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_that_name_a_field_twice_are_told_of() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.post(MAPS, &config_map("a")).await.ok();
    let path = format!("{MAPS}/a");
    let send = async |kind: &str, query: &str, body: &'static str| {
        let kind = format!("application/{kind}");
        let headers = [("content-type", kind.as_str())];
        admin
            .raw("PATCH", &format!("{path}{query}"), &headers, body)
            .await
    };
    let twice = r#"{"data":{"x":"1","x":"2"},"odd":1}"#;
    for kind in ["merge-patch+json", "strategic-merge-patch+json"] {
        let refused = send(kind, "?fieldValidation=Strict", twice)
            .await
            .fails(422);
        let text = refused["message"].as_str().unwrap();
        assert!(
            text.ends_with(
                r#"strict decoding error: duplicate field "data.x", unknown field "odd""#
            ),
            "{text}"
        );
        assert_eq!(send(kind, "", twice).await.warnings().len(), 2);
    }
    let operations = r#"[{"op":"add","path":"/data/y","value":"1","extra":1}]"#;
    let refused = send("json-patch+json", "?fieldValidation=Strict", operations)
        .await
        .fails(422);
    let text = refused["message"].as_str().unwrap();
    assert!(
        text.ends_with(r#"json patch unknown field "[0].extra""#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_have_no_tables() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let headers = |accept: &'static str| [("content-type", "application/json"), ("accept", accept)];
    admin
        .raw(
            "POST",
            path,
            &headers("application/json;as=Table;v=v1;g=meta.k8s.io"),
            review.to_string(),
        )
        .await
        .fails(406);
    let fallback = headers("application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let answered = admin
        .raw("POST", path, &fallback, review.to_string())
        .await
        .ok();
    assert_eq!(answered["kind"], "SelfSubjectAccessReview");
    let made = admin
        .raw(
            "POST",
            MAPS,
            &headers("application/json;as=Table;v=v1;g=meta.k8s.io"),
            config_map("a").to_string(),
        )
        .await
        .ok();
    assert_eq!(made["kind"], "Table");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_selected_by_the_names_of_their_version() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    for (name, reason) in [("a", "Started"), ("b", "Killing")] {
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
            "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "example.com/c",
            "reportingInstance": "i", "action": "Do", "reason": reason, "type": "Normal",
            "regarding": {"kind": "Pod", "name": format!("{name}-pod"), "namespace": "default"}});
        admin.post(events, &event).await.ok();
    }
    for (path, selector, count) in [
        (events, "reportingController=example.com/c", 2),
        (
            events,
            "reportingController=example.com/c,reason=Killing",
            1,
        ),
        (events, "regarding.name=a-pod,type=Normal", 1),
        (
            "/api/v1/namespaces/default/events",
            "involvedObject.name=a-pod",
            1,
        ),
    ] {
        let selector = selector.replace('=', "%3D");
        let list = admin
            .get(&format!("{path}?fieldSelector={selector}"))
            .await
            .ok();
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{selector}");
    }
    for (path, selector) in [
        (events, "involvedObject.name%3Da"),
        (
            "/api/v1/namespaces/default/events",
            "regarding.name%3Da-pod",
        ),
    ] {
        admin
            .get(&format!("{path}?fieldSelector={selector}"))
            .await
            .fails(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_pod_says_why_it_goes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let mut held = pod("p");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = admin.post(PODS, &held).await.ok();
    let path = format!("{PODS}/p/eviction");
    let eviction = |options: Value| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "p"}, "deleteOptions": options})
    };
    admin
        .post(
            &format!("{path}?dryRun=All"),
            &eviction(json!({"dryRun": ["All"]})),
        )
        .await
        .ok();
    let live = admin.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(
        live["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    admin
        .post(&path, &eviction(json!({"preconditions": {"uid": "x"}})))
        .await
        .fails(409);
    admin.post(&path, &eviction(json!({}))).await.ok();
    let live = admin.get(&format!("{PODS}/p")).await.ok();
    assert!(live["metadata"]["deletionTimestamp"].is_string());
    let condition = &live["status"]["conditions"][0];
    assert_eq!(condition["type"], "DisruptionTarget");
    assert_eq!(condition["status"], "True");
    assert_eq!(condition["reason"], "EvictionByEvictionAPI");
    assert_eq!(condition["message"], "Eviction API: evicting");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_brings_one_to_go_on_by() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d"] {
        admin.post(MAPS, &config_map(name)).await.ok();
    }
    let first = admin.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    admin.post(MAPS, &config_map("e")).await.ok();
    cluster
        .store
        .compact(cluster.store.revision())
        .await
        .unwrap();
    let path = format!("{MAPS}?limit=2&continue={token}");
    let expired = admin.get(&path).await.fails(410);
    assert_eq!(expired["reason"], "Expired");
    let token = expired["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = admin
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .ok();
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    assert_ne!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = admin
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .ok();
    assert_eq!(names(&last), ["e"]);
    assert_eq!(
        last["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_their_flow_and_come_in_the_forms_asked_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.post(MAPS, &config_map("a")).await.ok();
    let answer = admin.get(&format!("{MAPS}/a")).await;
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    for (header, path) in [
        ("x-kubernetes-pf-flowschema-uid", "flowschemas/exempt"),
        (
            "x-kubernetes-pf-prioritylevel-uid",
            "prioritylevelconfigurations/exempt",
        ),
    ] {
        let object = admin.get(&format!("{flow}/{path}")).await.ok();
        assert_eq!(
            answer.headers[header],
            *object["metadata"]["uid"].as_str().unwrap()
        );
    }
    let mut watch = admin
        .watch(&format!(
            "{flow}/flowschemas?watch=1&fieldSelector=metadata.name%3Dglobal-default"
        ))
        .await;
    loop {
        let event = watch.next().await.unwrap();
        let condition = &event["object"]["status"]["conditions"][0];
        if condition["type"] == "Dangling" {
            assert_eq!(condition["status"], "False");
            assert_eq!(condition["reason"], "Found");
            break;
        }
    }
    for (accept, kind) in [
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "Table"),
        (
            "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io",
            "PartialObjectMetadataList",
        ),
    ] {
        let shown = admin.raw("GET", MAPS, &[("accept", accept)], "").await.ok();
        assert_eq!(shown["kind"], kind);
        assert_eq!(shown["apiVersion"], "meta.k8s.io/v1beta1");
    }
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let openapi = admin
        .raw("GET", "/openapi/v2", &[("accept", accept)], "")
        .await;
    assert_eq!(
        openapi.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert!(openapi.body.starts_with(b"\x0a\x032.0\x12"));
    let endpoints = "/api/v1/namespaces/default/endpoints";
    assert_eq!(
        admin.get(endpoints).await.warnings(),
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""]
    );
    admin
        .get(&format!("{MAPS}?sendInitialEvents=true"))
        .await
        .fails(422);
    let metrics = admin.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains(
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"exempt\",priority_level=\"exempt\"}"
    ));
    assert!(
        metrics.contains("apiserver_flowcontrol_nominal_limit_seats{priority_level=\"node-high\"}")
    );
}

/// A list is written in several ways, of which some make its items one at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_same_items_in_every_form() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // One kind as it rests, and one that is converted for the version asked for.
    let scalers = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    for name in ["a", "b", "c"] {
        admin.post(MAPS, &config_map(name)).await.ok();
        let scaler = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "maxReplicas": 3, "targetCPUUtilizationPercentage": 70,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            },
        });
        admin.post(scalers, &scaler).await.ok();
    }
    for path in [MAPS, scalers] {
        let one = admin.get(&format!("{path}/b")).await.ok();
        let selected = format!("{path}?fieldSelector=metadata.name%21%3Dkube-root-ca.crt");
        let newest = admin.get(&selected).await.ok();
        // Other objects change meanwhile.
        let at = newest["metadata"]["resourceVersion"].as_str().unwrap();
        let selected = format!("{selected}&resourceVersion={at}&resourceVersionMatch=Exact");
        let list = admin.get(&selected).await.ok();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        for field in ["metadata", "spec", "data"] {
            assert_eq!(items[1][field], one[field], "{path} {field}");
        }
        let pretty = admin.get(&format!("{selected}&pretty=true")).await;
        assert_eq!(pretty.ok(), list);
        let in_form = async |accept: &str| {
            let headers = [("accept", accept)];
            admin.raw("GET", &selected, &headers, "").await
        };
        let yaml = in_form("application/yaml").await.body;
        let yaml: Value = serde_saphyr::from_slice(&yaml).unwrap();
        assert_eq!(yaml, list);
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let partial = in_form(partial).await.ok();
        assert_eq!(partial["metadata"], list["metadata"]);
        assert_eq!(partial["items"].as_array().unwrap().len(), 3);
        assert_eq!(partial["items"][2]["metadata"], items[2]["metadata"]);
        let table = in_form("application/json;as=Table;g=meta.k8s.io;v=v1")
            .await
            .ok();
        assert_eq!(table["metadata"], list["metadata"]);
        let cells = |row: usize| &table["rows"][row]["cells"][0];
        assert_eq!([cells(0), cells(1), cells(2)], ["a", "b", "c"]);
        assert!(table["columnDefinitions"].is_array());
        assert_eq!(table["rows"][0]["object"]["metadata"], items[0]["metadata"]);
    }
    let gone = admin.delete(scalers).await.ok();
    assert_eq!(gone["kind"], "HorizontalPodAutoscalerList");
    assert_eq!(gone["items"].as_array().unwrap().len(), 3);
}
