//! Admission webhooks, with a server on loopback at the other end.

use base64::Engine;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Cluster, config_map, namespace, pod};
use crate::hook::{Hook, Reply};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

fn reply(review: &Value, response: Value) -> Reply {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    Reply::Json(json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response,
    }))
}

fn allow(review: &Value) -> Reply {
    reply(review, json!({"allowed": true}))
}

fn change(review: &Value, patch: &Value) -> Reply {
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    let response = json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"});
    reply(review, response)
}

fn rule(resources: &[&str]) -> Value {
    json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}])
}

fn webhook(hook: &Hook, name: &str, path: &str) -> Value {
    json!({
        "name": format!("{name}.test.example"), "clientConfig": hook.client_config(path),
        "rules": rule(&["configmaps"]), "sideEffects": "None", "admissionReviewVersions": ["v1"],
    })
}

/// Writes a configuration and waits until the server heeds it: its last webhook refuses objects that
/// are labelled so, and the server at the other end answers `/marker` with a refusal.
async fn configure(client: &Client, hook: &Hook, kind: &str, name: &str, mut webhooks: Vec<Value>) {
    let mut marker = webhook(hook, &format!("marker-{name}"), "/marker");
    marker["objectSelector"] = json!({"matchLabels": {"marker": name}});
    webhooks.push(marker);
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": webhooks});
    let plural = format!("{}s", kind.to_lowercase());
    client
        .post(&format!("{CONFIGURATIONS}/{plural}"), &object)
        .await
        .ok();
    let mut map = config_map("marker");
    map["metadata"]["labels"]["marker"] = name.into();
    for _ in 0..1000 {
        let answer = client.post(&format!("{MAPS}?dryRun=All"), &map).await;
        if answer.code == 418 {
            hook.asked.lock().clear();
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the configuration {name} is not heeded");
}

fn marked(path: &str, review: &Value) -> Option<Reply> {
    path.starts_with("/marker").then(|| {
        reply(
            review,
            json!({"status": {"code": 418, "message": "marked"}}),
        )
    })
}

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    (cluster, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_about_every_operation_and_refuses() {
    let (_cluster, admin) = cluster().await;
    let hook = Hook::start(|path, review| {
        marked(path, review).unwrap_or_else(|| {
            let object = &review["request"]["object"];
            if object["data"]["bad"].is_null() {
                reply(review, json!({"allowed": true, "warnings": ["take care"]}))
            } else {
                let status = json!({"code": 451, "reason": "Secret", "message": "not this"});
                reply(review, json!({"allowed": false, "status": status}))
            }
        })
    })
    .await;
    let hooks = vec![webhook(&hook, "judge", "/judge")];
    configure(
        &admin,
        &hook,
        "ValidatingWebhookConfiguration",
        "judge",
        hooks,
    )
    .await;

    let made = admin.post(MAPS, &config_map("a")).await;
    assert_eq!(made.warnings(), ["299 - \"take care\""]);
    let mut changed = made.ok();
    changed["data"]["a"] = "2".into();
    let one = format!("{MAPS}/a");
    admin.put(&one, &changed).await.ok();
    admin
        .patch(&one, "merge", &json!({"data": {"a": "3"}}))
        .await
        .ok();
    let refused = admin
        .patch(&one, "merge", &json!({"data": {"bad": "1"}}))
        .await
        .fails(451);
    assert_eq!(
        refused["message"],
        "admission webhook \"judge.test.example\" denied the request: not this"
    );
    assert_eq!(refused["reason"], "Secret");
    admin.raw("DELETE", MAPS, &[], "").await.ok();

    let asked = hook.asked.lock();
    let requests: Vec<&Value> = asked.iter().map(|(_, review)| &review["request"]).collect();
    let brief = |request: &&Value| {
        let data = |field: &str| {
            request[field]["data"]["a"]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        format!(
            "{} {} {} {} {}",
            request["operation"].as_str().unwrap(),
            request["options"]["kind"].as_str().unwrap(),
            request["name"].as_str().unwrap(),
            data("object"),
            data("oldObject"),
        )
    };
    assert_eq!(
        requests.iter().map(brief).collect::<Vec<_>>(),
        [
            "CREATE CreateOptions a 1 -",
            "UPDATE UpdateOptions a 2 1",
            "UPDATE PatchOptions a 3 2",
            "UPDATE PatchOptions a 3 3",
            "DELETE DeleteOptions a - 3",
        ]
    );
    let first = requests[0];
    assert_eq!(
        first["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        first["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(first["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(first["namespace"], "default");
    assert_eq!(first["dryRun"], false);
    assert_eq!(first["object"]["kind"], "ConfigMap");
    assert_eq!(asked[0].0, "/judge?timeout=10s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_object_is_completed() {
    let (_cluster, admin) = cluster().await;
    let hook = Hook::start(|path, review| {
        marked(path, review).unwrap_or_else(|| {
            change(
                review,
                &json!([
                    {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "i"}},
                    {"op": "add", "path": "/metadata/uid", "value": "forged"},
                    {"op": "add", "path": "/status", "value": {"phase": "Running"}},
                    {"op": "add", "path": "/spec/unknown", "value": 1},
                ]),
            )
        })
    })
    .await;
    let mut inject = webhook(&hook, "inject", "/inject");
    inject["rules"] = rule(&["pods"]);
    let hooks = vec![inject];
    configure(
        &admin,
        &hook,
        "MutatingWebhookConfiguration",
        "inject",
        hooks,
    )
    .await;
    let made = admin
        .post("/api/v1/namespaces/default/pods", &pod("a"))
        .await
        .ok();
    let side = &made["spec"]["containers"][1];
    assert_eq!(side["name"], "side");
    assert_eq!(side["imagePullPolicy"], "Always");
    assert_eq!(made["status"]["phase"], "Pending");
    assert_ne!(made["metadata"]["uid"], "forged");
    assert!(made["spec"].get("unknown").is_none());
    // The ServiceAccount plugin ran again, for the container that was not there before.
    assert_eq!(side["volumeMounts"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_see_what_the_others_did() {
    let (_cluster, admin) = cluster().await;
    let hook = Hook::start(|path, review| {
        if let Some(reply) = marked(path, review) {
            return reply;
        }
        let data = &review["request"]["object"]["data"];
        match path {
            path if path.starts_with("/first") => {
                let seen = if data["second"].is_null() {
                    "alone"
                } else {
                    "both"
                };
                change(
                    review,
                    &json!([{"op": "add", "path": "/data/first", "value": seen}]),
                )
            }
            path if path.starts_with("/second") => change(
                review,
                &json!([{"op": "add", "path": "/data/second", "value": "yes"}]),
            ),
            _ => allow(review),
        }
    })
    .await;
    let mut first = webhook(&hook, "first", "/first");
    first["reinvocationPolicy"] = "IfNeeded".into();
    let hooks = vec![first, webhook(&hook, "second", "/second")];
    configure(
        &admin,
        &hook,
        "MutatingWebhookConfiguration",
        "chain",
        hooks,
    )
    .await;
    let made = admin.post(MAPS, &config_map("a")).await.ok();
    assert_eq!(
        made["data"],
        json!({"a": "1", "first": "both", "second": "yes"})
    );
    let paths: Vec<String> = hook.asked.lock().iter().map(|(p, _)| p.clone()).collect();
    assert_eq!(
        paths,
        [
            "/first?timeout=10s",
            "/second?timeout=10s",
            "/first?timeout=10s"
        ]
    );
}

fn wrong(path: &str, review: &Value) -> Reply {
    match path.split('?').next().unwrap_or_default() {
        "/hang" => Reply::Hang,
        "/close" => Reply::Close,
        "/garbage" => Reply::Raw(200, "<html>".into()),
        "/huge" => Reply::Raw(200, vec![b' '; 40 << 20].into()),
        "/500" => Reply::Raw(500, "broken".into()),
        "/patch" => change(review, &json!({"op": "add"})),
        "/empty" => {
            Reply::Json(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}))
        }
        _ => allow(review),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_webhook_stops_a_request_or_is_passed_over() {
    let (_cluster, admin) = cluster().await;
    let hook =
        Hook::start(|path, review| marked(path, review).unwrap_or_else(|| wrong(path, review)))
            .await;
    let cases = [
        ("hang", "context deadline exceeded"),
        ("close", "EOF"),
        ("garbage", "json parse error"),
        ("huge", "larger than"),
        (
            "500",
            "an error on the server (\"broken\") has prevented the request from succeeding",
        ),
        ("patch", "received undecodable patch in webhook response"),
        (
            "empty",
            "received invalid webhook response: webhook response was absent",
        ),
    ];
    let hooks = cases.iter().map(|(name, _)| {
        let mut failing = webhook(&hook, name, &format!("/{name}"));
        failing["objectSelector"] = json!({"matchLabels": {"want": format!("x{name}")}});
        failing["timeoutSeconds"] = if *name == "hang" { 1 } else { 20 }.into();
        failing
    });
    let hooks: Vec<Value> = hooks.collect();
    let passed_over = hooks.iter().map(|failing| {
        let mut failing = failing.clone();
        failing["failurePolicy"] = "Ignore".into();
        let label = failing["objectSelector"]["matchLabels"]["want"]
            .as_str()
            .unwrap();
        failing["objectSelector"] = json!({"matchLabels": {"want": format!("ignore-{label}")}});
        failing
    });
    let passed_over: Vec<Value> = passed_over.collect();
    configure(
        &admin,
        &hook,
        "MutatingWebhookConfiguration",
        "strict",
        hooks,
    )
    .await;
    configure(
        &admin,
        &hook,
        "MutatingWebhookConfiguration",
        "lenient",
        passed_over,
    )
    .await;
    for (name, why) in cases {
        let mut map = config_map(&format!("m{name}"));
        map["metadata"]["labels"]["want"] = format!("x{name}").into();
        let refused = admin.post(MAPS, &map).await.fails(500);
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!(
                "Internal error occurred: failed calling webhook \"{name}.test.example\": "
            )) && message.contains(why),
            "{message}"
        );
        map["metadata"]["labels"]["want"] = format!("ignore-x{name}").into();
        admin.post(MAPS, &map).await.ok();
    }
    let metrics = admin.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("apiserver_admission_webhook_rejection_count{name=\"close.test.example\",type=\"admit\",operation=\"CREATE\",error_type=\"calling_webhook_error\",rejection_code=\"503\"} 1"), "{text}");
    assert!(text.contains(
        "apiserver_admission_webhook_fail_open_count{name=\"close.test.example\",type=\"admit\"} 1"
    ));
}

async fn refused(answer: Answer) -> String {
    answer.fails(400)["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_connections_and_other_versions_are_asked_about() {
    let (_cluster, admin) = cluster().await;
    let hook = Hook::start(|path, review| {
        marked(path, review).unwrap_or_else(|| {
            let request = &review["request"];
            let text = |path: &str| request.pointer(path).cloned().unwrap_or_default();
            let message = format!(
                "{} {} {} {} {} {}",
                request["operation"].as_str().unwrap(),
                request["kind"]["kind"].as_str().unwrap(),
                text("/kind/version").as_str().unwrap(),
                text("/requestKind/version").as_str().unwrap(),
                text("/subResource").as_str().unwrap_or("-"),
                text("/object/apiVersion").as_str().unwrap(),
            );
            reply(
                review,
                json!({"allowed": false, "status": {"message": message}}),
            )
        })
    })
    .await;
    let pods = "/api/v1/namespaces/default/pods";
    admin.post(pods, &pod("a")).await.ok();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    admin.post(deployments, &deployment).await.ok();
    let mut judge = webhook(&hook, "judge", "/judge");
    judge["rules"] = json!([
        {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
            "resources": ["pods/exec", "pods/eviction", "pods/binding", "pods/status", "deployments/scale"]},
        {"operations": ["*"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
            "resources": ["horizontalpodautoscalers"]},
        {"operations": ["*"], "apiGroups": ["authorization.k8s.io"], "apiVersions": ["v1"],
            "resources": ["selfsubjectaccessreviews"]},
    ]);
    let mut exact = judge.clone();
    exact["name"] = "exact.test.example".into();
    exact["matchPolicy"] = "Exact".into();
    exact["rules"] = json!([{"operations": ["*"], "apiGroups": ["policy"], "apiVersions": ["v1"],
        "resources": ["pods"]}]);
    let hooks = vec![judge, exact];
    configure(
        &admin,
        &hook,
        "ValidatingWebhookConfiguration",
        "judge",
        hooks,
    )
    .await;
    let said =
        |text: &str| format!("admission webhook \"judge.test.example\" denied the request: {text}");
    let exec = admin
        .post(&format!("{pods}/a/exec?command=ls&stdout=true"), &json!({}))
        .await;
    assert_eq!(
        refused(exec).await,
        said("CONNECT PodExecOptions v1 v1 exec v1")
    );
    {
        let asked = hook.asked.lock();
        let (_, review) = asked.last().unwrap();
        assert_eq!(
            review["request"]["object"],
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "command": ["ls"]})
        );
    }
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let answer = admin.post(&format!("{pods}/a/eviction"), &eviction).await;
    assert_eq!(
        refused(answer).await,
        said("CREATE Eviction v1 v1 eviction policy/v1")
    );
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n"}});
    let answer = admin.post(&format!("{pods}/a/binding"), &binding).await;
    assert_eq!(
        refused(answer).await,
        said("CREATE Binding v1 v1 binding v1")
    );
    let status = json!({"status": {"message": "hi"}});
    let answer = admin
        .patch(&format!("{pods}/a/status"), "merge", &status)
        .await;
    assert_eq!(refused(answer).await, said("UPDATE Pod v1 v1 status v1"));
    let scale = json!({"spec": {"replicas": 3}});
    let answer = admin
        .patch(&format!("{deployments}/d/scale"), "merge", &scale)
        .await;
    assert_eq!(
        refused(answer).await,
        said("UPDATE Scale v1 v1 scale autoscaling/v1")
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(
        refused(admin.post(reviews, &review).await).await,
        said("CREATE SelfSubjectAccessReview v1 v1 - authorization.k8s.io/v1")
    );
    // Asked for v1, sent as v2.
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    assert_eq!(
        refused(admin.post(scalers, &scaler).await).await,
        said("CREATE HorizontalPodAutoscaler v1 v2 - autoscaling/v1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_themselves_and_other_namespaces_are_left_alone() {
    let (_cluster, admin) = cluster().await;
    namespace(&admin, "free").await;
    let hook = Hook::start(|path, review| {
        marked(path, review).unwrap_or_else(|| reply(review, json!({"allowed": false})))
    })
    .await;
    let mut all = webhook(&hook, "all", "/all");
    all["rules"] = rule(&["*/*"]);
    all["objectSelector"] =
        json!({"matchExpressions": [{"key": "marker", "operator": "DoesNotExist"}]});
    all["namespaceSelector"] = json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["free"]}]});
    let hooks = vec![all];
    configure(
        &admin,
        &hook,
        "ValidatingWebhookConfiguration",
        "all",
        hooks,
    )
    .await;
    assert_eq!(
        refused(admin.post(MAPS, &config_map("a")).await).await,
        "admission webhook \"all.test.example\" denied the request without explanation"
    );
    admin
        .post("/api/v1/namespaces/free/configmaps", &config_map("a"))
        .await
        .ok();
    let missing = admin
        .post("/api/v1/namespaces/missing/configmaps", &config_map("a"))
        .await
        .fails(404);
    assert_eq!(missing["message"], "namespaces \"missing\" not found");
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    refused(admin.post("/api/v1/namespaces", &other).await).await;
    let named = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/all";
    admin.delete(named).await.ok();
}
