//! Objects through create, get, list, watch, update, patch and delete.

use serde_json::json;

use crate::harness::{Cluster, config_map, namespace, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_create_to_delete() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut watch = admin
        .watch(&format!("{MAPS}?watch=1&resourceVersion=0"))
        .await;
    let made = admin.post(MAPS, &config_map("a")).await;
    assert_eq!(made.code, 201);
    let made = made.json();
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "test");
    assert!(!made["metadata"]["uid"].as_str().unwrap().is_empty());
    assert_eq!(
        admin.post(MAPS, &config_map("a")).await.fails(409)["reason"],
        "AlreadyExists"
    );
    let path = format!("{MAPS}/a");
    assert_eq!(admin.get(&path).await.ok(), made);

    let patches = [
        ("merge", json!({"data": {"b": "2"}})),
        ("strategic", json!({"data": {"c": "3"}})),
        (
            "json",
            json!([{"op": "add", "path": "/data/d", "value": "4"}]),
        ),
    ];
    for (kind, patch) in patches {
        admin.patch(&path, kind, &patch).await.ok();
    }
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"e": "5"}});
    let applied = admin
        .patch(&format!("{path}?fieldManager=me"), "apply", &apply)
        .await
        .ok();
    assert_eq!(
        applied["data"],
        json!({"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"})
    );

    let list = admin.get(MAPS).await.ok();
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let gone = admin.delete(&path).await.ok();
    assert_eq!(gone["status"], "Success");
    assert_eq!(
        admin.get(&path).await.fails(404)["message"],
        "configmaps \"a\" not found"
    );

    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(watch.line().await);
    }
    assert_eq!(
        seen,
        [
            "ADDED a",
            "MODIFIED a",
            "MODIFIED a",
            "MODIFIED a",
            "MODIFIED a",
            "DELETED a"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_leaves_managers_out_for_those_who_say_so() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    for kind in ["application/json", metadata] {
        let path = format!("{MAPS}?watch=1&resourceVersion=0");
        let mut full = admin.watch_with(&path, &[("accept", kind)]).await;
        let without = [("accept", kind), ("corten-without-managers", "true")];
        let mut short = admin.watch_with(&path, &without).await;
        admin.post(MAPS, &config_map("a")).await;
        let change = json!({"metadata": {"annotations": {"a": "\"managedFields\":["}}});
        admin.patch(&format!("{MAPS}/a"), "merge", &change).await;
        admin.delete(&format!("{MAPS}/a")).await.ok();
        for _ in 0..3 {
            let mut event = full.next().await.unwrap();
            let metadata = event["object"]["metadata"].as_object_mut().unwrap();
            let managers = metadata.remove("managedFields").unwrap();
            assert_eq!(managers[0]["manager"], "test");
            assert_eq!(short.next().await.unwrap(), event);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_its_account_and_waits_for_its_kubelet() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    assert_eq!(
        admin.post(PODS, &pod("a")).await.fails(403)["reason"],
        "Forbidden"
    );
    namespace(&admin, "default").await;
    let made = admin.post(PODS, &pod("a")).await.ok();
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert!(
        made["spec"]["volumes"][0]["name"]
            .as_str()
            .unwrap()
            .starts_with("kube-api-access-")
    );
    assert_eq!(made["spec"]["dnsPolicy"], "ClusterFirst");
    assert_eq!(made["status"]["phase"], "Pending");

    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/a");
    admin.post(&format!("{path}/binding"), &binding).await.ok();
    assert_eq!(
        admin.post(&format!("{path}/binding"), &binding).await.code,
        409
    );
    assert_eq!(admin.get(&path).await.ok()["spec"]["nodeName"], "n");
    let listed = admin
        .get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn")
        .await
        .ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    let status = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "other"}});
    let patched = admin
        .patch(&format!("{path}/status"), "strategic", &status)
        .await
        .ok();
    assert_eq!(patched["status"]["phase"], "Running");
    assert_eq!(patched["spec"]["nodeName"], "n");

    let going = admin.delete(&path).await.ok();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    admin.get(&path).await.ok();
    admin
        .delete_with(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    admin.get(&path).await.fails(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_request_says_who_really_asks() {
    const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let request = base64(&request.pem().unwrap());
    let cluster = Cluster::start().await;
    let asker = cluster.user("someone", &["system:masters"]);
    let made = asker
        .post(
            REQUESTS,
            &json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "mine"},
                "spec": {
                    "request": request, "signerName": "example.com/any", "usages": ["client auth"],
                    "username": "system:node:other", "groups": ["system:nodes"],
                },
            }),
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.json());
    let made = made.json();
    assert_eq!(made["spec"]["username"], "someone", "{made}");
    assert!(
        !made["spec"]["groups"].to_string().contains("system:nodes"),
        "{made}"
    );
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_owns_what_a_kind_adds_of_its_own() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let by = format!("{jobs}?fieldManager=kubectl-client-side-apply");
    let made = admin.post(&by, &job).await.ok();
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(owned["f:template"]["f:spec"]["f:containers"].is_object());
    assert!(owned["f:selector"].is_null(), "{owned}");
    assert!(owned["f:template"]["f:metadata"].is_null(), "{owned}");
    // So the same manager may apply it again, and what the kind added stays.
    let mut handed_over = made["metadata"]["managedFields"].clone();
    handed_over[0]["manager"] = "kubectl".into();
    handed_over[0]["operation"] = "Apply".into();
    let migrate = json!({"metadata": {"managedFields": handed_over}});
    admin
        .patch(&format!("{jobs}/once"), "merge", &migrate)
        .await
        .ok();
    let applied = admin
        .patch(&format!("{jobs}/once?fieldManager=kubectl"), "apply", &job)
        .await
        .ok();
    assert_eq!(applied["spec"]["selector"], made["spec"]["selector"]);
}
