//! Admission plugins that look beyond the object.

use serde_json::json;

use crate::harness::{Cluster, namespace, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_and_refuses() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "1", "requests.cpu": "1"}}});
    admin.post(quotas, &quota).await.ok();
    let status = json!({"status": {"hard": {"pods": "1", "requests.cpu": "1"}, "used": {"pods": "0", "requests.cpu": "0"}}});
    admin
        .patch(&format!("{quotas}/q/status"), "merge", &status)
        .await
        .ok();
    let refused = admin.post(PODS, &pod("a")).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let mut asking = pod("a");
    asking["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "300m"}});
    admin
        .post(&format!("{PODS}?dryRun=All"), &asking)
        .await
        .ok();
    admin.post(PODS, &asking).await.ok();
    let used = admin.get(&format!("{quotas}/q")).await.ok()["status"]["used"].clone();
    assert_eq!(used, json!({"pods": "1", "requests.cpu": "300m"}));
    asking["metadata"]["name"] = "b".into();
    let refused = admin.post(PODS, &asking).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_enforces_a_standard() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let labels = json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}}});
    admin
        .patch("/api/v1/namespaces/default", "merge", &labels)
        .await
        .ok();
    let mut bad = pod("a");
    bad["spec"]["hostNetwork"] = true.into();
    let refused = admin.post(PODS, &bad).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let plain = admin.post(PODS, &pod("b")).await;
    assert!(plain.warnings()[0].contains(
        "would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false"
    ));
    plain.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_classes_fill_in_pods() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": {"limits": [{
        "type": "Container", "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "32Mi"},
        "max": {"memory": "128Mi"}}]}});
    admin
        .post("/api/v1/namespaces/default/limitranges", &range)
        .await
        .ok();
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7});
    admin
        .post("/apis/scheduling.k8s.io/v1/priorityclasses", &class)
        .await
        .ok();
    let mut wanted = pod("a");
    wanted["spec"]["priorityClassName"] = "high".into();
    let made = admin.post(PODS, &wanted).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}})
    );
    assert_eq!(made["spec"]["priority"], 7);
    let mut large = pod("b");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "1Gi"}});
    let refused = admin.post(PODS, &large).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: maximum memory usage per Container is 128Mi, but limit is 1Gi"
    );
    let mut classless = pod("c");
    classless["spec"]["priorityClassName"] = "none".into();
    let refused = admin.post(PODS, &classless).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"c\" is forbidden: no PriorityClass with name none was found"
    );
}
