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

#[tokio::test(flavor = "multi_thread")]
async fn certificates_need_a_right_on_their_signer() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = |organization: &str| {
        use base64::Engine;
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let name = rcgen::DnType::OrganizationName;
        params.distinguished_name.push(name, organization);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "csr"}, "spec": {"request": pem, "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client"}})
    };
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let refused = admin
        .post(requests, &request("system:masters"))
        .await
        .fails(403);
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"csr\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    admin.post(requests, &request("people")).await.ok();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = |name: &str, rules: serde_json::Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules})
    };
    let writes = json!({"apiGroups": ["certificates.k8s.io"], "verbs": ["*"],
        "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"]});
    let signers = json!({"apiGroups": ["certificates.k8s.io"], "verbs": ["approve"],
        "resources": ["signers"], "resourceNames": ["kubernetes.io/*"]});
    for (user, rules) in [("ann", json!([writes])), ("bob", json!([writes, signers]))] {
        let roles = format!("{rbac}/clusterroles");
        admin.post(&roles, &role(user, rules)).await.ok();
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        let bindings = format!("{rbac}/clusterrolebindings");
        admin.post(&bindings, &binding).await.ok();
    }
    let approval =
        json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
    let path = format!("{requests}/csr/approval");
    for user in ["ann", "bob"] {
        let client = cluster.user(user, &["system:authenticated"]);
        // The rules are followed from the store.
        let mut answer = client.patch(&path, "merge", &approval).await;
        while answer.code == 403 && !String::from_utf8_lossy(&answer.body).contains("signerName") {
            tokio::task::yield_now().await;
            answer = client.patch(&path, "merge", &approval).await;
        }
        if user == "ann" {
            assert_eq!(
                answer.fails(403)["message"],
                "certificatesigningrequests.certificates.k8s.io \"csr\" is forbidden: user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""
            );
        } else {
            answer.ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_labelled_with_the_place_of_their_node() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n",
        "labels": {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "x": "y"}}});
    admin.post("/api/v1/nodes", &node).await.ok();
    admin.post(PODS, &pod("a")).await.ok();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n"}});
    admin
        .post(&format!("{PODS}/a/binding"), &binding)
        .await
        .ok();
    let bound = admin.get(&format!("{PODS}/a")).await.ok();
    let labels = json!({"app": "a", "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(bound["metadata"]["labels"], labels);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_grow_where_their_class_lets_them() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    for (name, grows) in [("fixed", false), ("elastic", true)] {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name}, "provisioner": "x.example.com", "allowVolumeExpansion": grows});
        admin
            .post("/apis/storage.k8s.io/v1/storageclasses", &class)
            .await
            .ok();
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let bound = json!({"status": {"phase": "Bound"}});
    for (class, expected) in [
        (
            "fixed",
            Some(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ),
        ),
        ("elastic", None),
    ] {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": class},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"], "volumeName": "v",
                "resources": {"requests": {"storage": "1Gi"}}}});
        admin.post(claims, &claim).await.ok();
        let one = format!("{claims}/{class}");
        let early = admin.patch(&one, "merge", &larger).await;
        assert!(early.code >= 400, "a claim that is not bound cannot grow");
        admin
            .patch(&format!("{one}/status"), "merge", &bound)
            .await
            .ok();
        let answer = admin.patch(&one, "merge", &larger).await;
        match expected {
            Some(why) => {
                let message = answer.fails(403)["message"].as_str().unwrap().to_owned();
                assert!(message.ends_with(why), "{message}");
            }
            None => {
                answer.ok();
            }
        }
    }
}


#[tokio::test]
async fn a_pod_waits_for_the_account_of_a_new_namespace() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let new = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    admin.post("/api/v1/namespaces", &new).await.ok();
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    // The pod asks first: only then is the account made, as a controller would.
    let (pods, accounts) = (
        "/api/v1/namespaces/new/pods",
        "/api/v1/namespaces/new/serviceaccounts",
    );
    let asking = pod("early");
    let (created, _) = tokio::join!(admin.post(pods, &asking), admin.post(accounts, &account));
    assert_eq!(created.ok()["spec"]["serviceAccountName"], "default");

    let mut other = pod("other");
    other["spec"]["serviceAccountName"] = "absent".into();
    let refused = admin.post(pods, &other).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"other\" is forbidden: error looking up service account new/absent: serviceaccount \"absent\" not found"

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_pod_grows_within_what_its_node_has_and_can_do() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    admin.post("/api/v1/nodes", &node).await.ok();
    let status = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    admin
        .patch("/api/v1/nodes/n/status", "merge", &status)
        .await
        .ok();
    let mut bound = pod("a");
    bound["spec"]["nodeName"] = "n".into();
    bound["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
    bound["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "1", "memory": "1Mi"}});
    admin.post(PODS, &bound).await.ok();
    let resize = format!("{PODS}/a/resize");
    let grown = |cpu: &str, memory: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
    let refused = admin
        .patch(&resize, "strategic", &grown("1", "2Gi"))
        .await
        .fails(403);
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: node didn't have enough allocatable resources: memory, requested: 2147483648, allocatable: 1073741824"
    );
    assert_eq!(
        refused["details"]["causes"],
        json!([{"reason": "NodeCapacity"}])
    );
    admin
        .patch(&resize, "strategic", &grown("1", "512Mi"))
        .await
        .ok();

    let whole = json!({"spec": {"resources": {"requests": {"cpu": "1500m"}}}});
    let refused = admin.patch(&resize, "strategic", &whole).await.fails(403);
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node \"n\""
    );
    let able = json!({"status": {"declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling"]}});
    admin
        .patch("/api/v1/nodes/n/status", "merge", &able)
        .await
        .ok();
    admin.patch(&resize, "strategic", &whole).await.ok();

    let windows = json!({"metadata": {"labels": {"kubernetes.io/os": "windows"}}});
    admin.patch("/api/v1/nodes/n", "merge", &windows).await.ok();
    let refused = admin
        .patch(&resize, "strategic", &grown("1", "256Mi"))
        .await
        .fails(403);
    assert_eq!(
        refused["details"]["causes"],
        json!([{"reason": "UnsupportedPlatform"}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_pods_follows_a_template_that_is_there() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let groups = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups";
    let group = |template: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": template},
            "spec": {"podGroupTemplateRef": {"workload": {"workloadName": "w", "podGroupTemplateName": template}},
                "schedulingPolicy": {"gang": {"minCount": 2}}}})
    };
    let refused = admin.post(groups, &group("one")).await.fails(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.ends_with("PodGroup rejected: Workload \"w\" not found"),
        "{message}"
    );
    let workload = json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload", "metadata": {"name": "w"},
        "spec": {"podGroupTemplates": [{"name": "one", "schedulingPolicy": {"gang": {"minCount": 2}}}]}});
    admin
        .post(
            "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/workloads",
            &workload,
        )
        .await
        .ok();
    let refused = admin.post(groups, &group("two")).await.fails(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("PodGroupTemplate \"two\" not found in Workload \"w\""),
        "{message}"
    );
    admin.post(groups, &group("one")).await.ok();

    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 2,
        "template": {"spec": {"restartPolicy": "Never", "schedulingGroup": {"podGroupName": "one"},
            "containers": [{"name": "c", "image": "i"}]}}}});
    admin.post(jobs, &job).await.ok();
    let more = json!({"spec": {"parallelism": 3}});
    let refused = admin
        .patch(&format!("{jobs}/j"), "merge", &more)
        .await
        .fails(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("gang-scheduled PodGroup \"one\""),
        "{message}"

    );
}
