//! Who may do what: RBAC, nodes, ServiceAccount tokens, impersonation, reviews.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, namespace, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !ready().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not come true"
        );
        tokio::task::yield_now().await;
    }
}

async fn bind(admin: &Client, role: &str, subject: Value) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"generateName": "b-"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    admin.post(path, &binding).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_come_from_bindings() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let jane = cluster.user("jane", &["devs"]);
    let refused = jane.get(MAPS).await.fails(403);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let refused = jane.get("/metrics").await.fails(403);
    assert_eq!(
        refused["message"],
        "forbidden: User \"jane\" cannot get path \"/metrics\""
    );
    let subject = json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "devs"});
    bind(&admin, "edit", subject).await;
    until("the binding counts", async || {
        jane.get(MAPS).await.code == 200
    })
    .await;
    jane.post(MAPS, &config_map("a")).await.ok();
    jane.get("/api/v1/namespaces/kube-system/configmaps")
        .await
        .fails(403);
    // Nobody gives out what they do not have.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    jane.post(roles, &role).await.fails(403);
    bind(
        &admin,
        "admin",
        json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}),
    )
    .await;
    until("the binding counts", async || {
        jane.get(roles).await.code == 200
    })
    .await;
    let refused = jane.post(roles, &role).await.fails(403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("is attempting to grant RBAC permissions not currently held"),
        "{refused}"
    );

    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "resource": "configmaps", "namespace": "default"}}});
    let answer = jane
        .post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &review,
        )
        .await
        .ok();
    assert_eq!(answer["status"]["allowed"], true);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "joe", "resourceAttributes": {"verb": "delete", "resource": "configmaps", "namespace": "default"}}});
    let answer = admin
        .post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &review,
        )
        .await
        .ok();
    assert_eq!(answer["status"]["allowed"], false);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let answer = jane
        .post(
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            &review,
        )
        .await
        .ok();
    assert!(answer["status"]["resourceRules"].as_array().unwrap().len() > 10);
    let answer = jane
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &json!({}),
        )
        .await
        .ok();
    assert_eq!(answer["status"]["userInfo"]["username"], "jane");
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_needs_the_right() {
    let cluster = Cluster::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = [
        ("impersonate-user", "joe"),
        ("impersonate-group", "g"),
        ("content-type", "application/json"),
    ];
    let answer = cluster.admin().raw("POST", path, &headers, "{}").await.ok();
    let user = &answer["status"]["userInfo"];
    assert_eq!(user["username"], "joe");
    assert_eq!(user["groups"], json!(["g", "system:authenticated"]));
    let refused = cluster
        .user("jane", &[])
        .raw("POST", path, &headers, "{}")
        .await
        .fails(403);
    assert_eq!(
        refused["message"],
        "users \"joe\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_what_its_pods_need() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let node = cluster.user("system:node:n1", &["system:nodes"]);
    let object =
        |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let made = node.post("/api/v1/nodes", &object("n1")).await.ok();
    assert_eq!(
        made["spec"]["taints"][0]["key"],
        "node.kubernetes.io/not-ready"
    );
    node.post("/api/v1/nodes", &object("n2")).await.fails(403);
    admin.post(MAPS, &config_map("used")).await.ok();
    admin.post(MAPS, &config_map("other")).await.ok();
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    bound["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "used"}}]);
    let bound = admin.post(PODS, &bound).await.ok();
    node.get(&format!("{MAPS}/used")).await.ok();
    let refused = node.get(&format!("{MAPS}/other")).await.fails(403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("no relationship found between node 'n1' and this object"),
        "{refused}"
    );
    node.get(MAPS).await.fails(403);
    node.get("/api/v1/pods").await.fails(403);
    node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
        .await
        .ok();
    node.get("/api/v1/nodes/n1").await.ok();
    let token = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    node.post(path, &token(json!({"audiences": []})))
        .await
        .fails(403);
    let reference =
        json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": bound["metadata"]["uid"]});
    node.post(
        path,
        &token(json!({"audiences": [], "boundObjectRef": reference})),
    )
    .await
    .ok();
    node.patch(
        &format!("{PODS}/p/status"),
        "strategic",
        &json!({"status": {"phase": "Running"}}),
    )
    .await
    .ok();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}});
    node.post(
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
        &lease,
    )
    .await
    .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_what_it_is_bound_to() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let made = admin.post(PODS, &pod("p")).await.ok();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let reference =
        json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]});
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600, "boundObjectRef": reference}});
    let token = admin.post(path, &request).await.ok()["status"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let review = async |token: &str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        admin
            .post("/apis/authentication.k8s.io/v1/tokenreviews", &review)
            .await
            .ok()["status"]
            .clone()
    };
    let status = review(&token).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:default:default"
    );
    assert_eq!(
        status["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["p"])
    );
    assert!(
        review("abc").await["error"]
            .as_str()
            .unwrap()
            .starts_with("invalid bearer token")
    );
    admin
        .delete_with(&format!("{PODS}/p"), &json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    assert!(review(&token).await.get("authenticated").is_none());
    let short = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 5}});
    admin.post(path, &short).await.fails(422);
}
