//! What the audit log tells of requests, by the policy.

use std::path::Path;

use apiserver::audit::AuditConfig;
use apiserver::authentication::Peer;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, namespace, pod};

async fn cluster(rules: &str) -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.yaml");
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    std::fs::write(&policy, text).unwrap();
    let log = dir.path().join("audit.log");
    let configure = move |config: &mut apiserver::Config| {
        config.audit = AuditConfig {
            policy_file: Some(policy),
            log_path: Some(log),
            ..AuditConfig::default()
        };
    };
    Cluster::start_with(dir, configure).await.unwrap()
}

fn events(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The events of a user, once all that was recorded is written.
async fn told(cluster: &Cluster, user: &str) -> Vec<Value> {
    cluster.server.flush_audit().await;
    let mut all = events(cluster.dir.path());
    all.retain(|event| event["user"]["username"] == user);
    all
}

fn stages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|e| e["stage"].as_str().unwrap())
        .collect()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn masters(cluster: &Cluster, name: &str) -> Client {
    cluster.user(name, &["system:masters"])
}

#[tokio::test]
async fn a_policy_says_how_much_is_told() {
    let cluster = cluster(
        "omitStages: [RequestReceived]\nrules:\n\
         - {level: None, users: [quiet]}\n\
         - {level: RequestResponse, verbs: [create], resources: [{resources: [configmaps]}], omitManagedFields: true}\n\
         - {level: Request, verbs: [patch]}\n\
         - {level: Metadata, resources: [{}]}\n",
    )
    .await;
    let loud = masters(&cluster, "loud");
    masters(&cluster, "quiet").get(MAPS).await.ok();
    loud.post(MAPS, &config_map("a")).await.ok();
    loud.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"b": "2"}}))
        .await
        .ok();
    loud.get(&format!("{MAPS}/none?pretty=true"))
        .await
        .fails(404);
    loud.get("/version").await.ok();
    loud.delete(&format!("{MAPS}/a")).await.ok();

    assert_eq!(told(&cluster, "quiet").await.len(), 0);
    let told = told(&cluster, "loud").await;
    assert_eq!(stages(&told), ["ResponseComplete"; 4]);
    let [create, patch, get, delete] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(create["kind"], "Event");
    assert_eq!(create["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(create["level"], "RequestResponse");
    assert_eq!(create["verb"], "create");
    assert_eq!(create["requestURI"], MAPS);
    let reference =
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"});
    assert_eq!(create["objectRef"], reference);
    assert_eq!(
        create["responseStatus"],
        json!({"metadata": {}, "code": 201})
    );
    assert_eq!(create["requestObject"]["data"], json!({"a": "1"}));
    assert!(create["responseObject"]["metadata"]["uid"].is_string());
    assert!(create["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(
        create["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
    assert_eq!(patch["requestObject"], json!({"data": {"b": "2"}}));
    assert!(patch["responseObject"].is_null());
    assert_eq!(get["requestURI"], format!("{MAPS}/none?pretty=true"));
    assert_eq!(get["responseStatus"]["reason"], "NotFound");
    assert_eq!(get["responseStatus"]["code"], 404);
    assert_eq!(delete["level"], "Metadata");
    assert_eq!(delete["responseStatus"]["status"], "Success");
    assert!(delete["requestObject"].is_null() && delete["responseObject"].is_null());
}

#[tokio::test]
async fn a_watch_is_told_of_when_it_begins_and_when_it_ends() {
    let cluster = cluster("rules: [{level: Metadata}]").await;
    let client = masters(&cluster, "watcher");
    let mut watch = client
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=100"
        ))
        .await;
    masters(&cluster, "other")
        .post(MAPS, &config_map("a"))
        .await
        .ok();
    watch.next().await.unwrap();
    assert_eq!(
        stages(&told(&cluster, "watcher").await),
        ["RequestReceived", "ResponseStarted"]
    );
    drop(watch);
    let told = told(&cluster, "watcher").await;
    assert_eq!(
        stages(&told),
        ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    );
    assert!(
        told.iter()
            .all(|event| event["auditID"] == told[0]["auditID"])
    );
}

#[tokio::test]
async fn who_really_asks_is_told_with_whom_they_act_as() {
    let cluster =
        cluster("rules: [{level: Metadata, users: [real], omitStages: [RequestReceived]}]").await;
    let client = masters(&cluster, "real");
    let headers = [
        ("impersonate-user", "other"),
        ("audit-id", "mine"),
        ("x-forwarded-for", "192.0.2.7, 192.0.2.8"),
        ("user-agent", "test/1"),
    ];
    let answer = client.raw("GET", MAPS, &headers, "").await;
    answer.fails(403);
    assert_eq!(answer.headers["audit-id"], "mine");
    let told = told(&cluster, "real").await;
    assert_eq!(told.len(), 1);
    let event = &told[0];
    assert_eq!(event["impersonatedUser"]["username"], "other");
    assert_eq!(event["auditID"], "mine");
    assert_eq!(event["sourceIPs"], json!(["192.0.2.7", "192.0.2.8"]));
    assert_eq!(event["userAgent"], "test/1");
    assert_eq!(
        event["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    let message = event["responseStatus"]["message"].as_str().unwrap();
    assert!(message.contains("cannot list resource"), "{message}");
}

#[tokio::test]
async fn who_proved_nothing_is_told_of_too() {
    let cluster = cluster("rules: [{level: Metadata}]").await;
    let body = http_body_util::Full::new(bytes::Bytes::new());
    let request = http::Request::get(MAPS)
        .header("authorization", "Bearer nonsense")
        .body(apiserver::http::body::boxed(body))
        .unwrap();
    let peer = Peer::Remote {
        address: "192.0.2.1:1".parse().unwrap(),
        certificate: None,
        speaks_for_others: false,
    };
    let answer = cluster.server.handle(request, peer).await;
    assert_eq!(answer.status(), 401);
    cluster.server.flush_audit().await;
    let mut told = events(cluster.dir.path());
    told.retain(|event| event["responseStatus"]["code"] == 401);
    assert_eq!(stages(&told), ["ResponseStarted"]);
    assert_eq!(told[0]["user"], json!({}));
    assert_eq!(told[0]["sourceIPs"], json!(["192.0.2.1"]));
}

#[tokio::test]
async fn a_wrong_policy_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.yaml");
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\n").unwrap();
    let configure = |config: &mut apiserver::Config| config.audit.policy_file = Some(policy);
    let Err(error) = Cluster::start_with(dir, configure).await else {
        panic!("it started");
    };
    assert!(
        error.to_string().contains("policy.yaml: it has no rules"),
        "{error}"
    );
}

#[tokio::test]
async fn admission_adds_its_notes() {
    let cluster = cluster("rules: [{level: Metadata, omitStages: [RequestReceived]}]").await;
    let client = masters(&cluster, "maker");
    namespace(&client, "default").await;
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}});
    client
        .patch("/api/v1/namespaces/default", "merge", &labels)
        .await
        .ok();
    client
        .post("/api/v1/namespaces/default/pods", &pod("a"))
        .await
        .ok();
    let told = told(&cluster, "maker").await;
    let notes = &told.last().unwrap()["annotations"];
    assert_eq!(
        notes["pod-security.kubernetes.io/enforce-policy"],
        "privileged:latest"
    );
    let found = notes["pod-security.kubernetes.io/audit-violations"]
        .as_str()
        .unwrap();
    assert!(
        found.starts_with("would violate PodSecurity \"restricted:latest\": "),
        "{found}"
    );
}
