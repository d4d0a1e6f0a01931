//! Volumes and environment come from the API and follow it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Cluster, container, until, waiting_reason};

fn mounts(cluster: &Cluster) -> std::collections::HashMap<String, std::path::PathBuf> {
    let id = cluster.runtime.container_id("c");
    let state = cluster.runtime.state.lock();
    let config = &state.containers[&id].config;
    config
        .mounts
        .iter()
        .map(|m| (m.container_path.clone(), m.host_path.clone().into()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn config_maps_are_mounted_and_followed() {
    let cluster = Cluster::start().await;
    cluster.config_map("settings", json!({"a": "1"})).await;
    let spec = json!({
        "volumes": [
            {"name": "v", "configMap": {"name": "settings"}},
            {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "e", "emptyDir": {}}
        ],
        "containers": [{"name": "c", "image": "run", "volumeMounts": [
            {"name": "v", "mountPath": "/v"}, {"name": "d", "mountPath": "/d"},
            {"name": "e", "mountPath": "/e", "subPath": "below"}
        ]}]
    });
    cluster.create("mounted", spec).await;
    cluster.ready("mounted").await;
    let mounts = mounts(&cluster);
    assert_eq!(
        std::fs::read_to_string(mounts["/v"].join("a")).unwrap(),
        "1"
    );
    assert_eq!(
        std::fs::read_to_string(mounts["/d"].join("labels")).unwrap(),
        "app=\"mounted\""
    );
    assert!(mounts["/e"].ends_with("below") && mounts["/e"].is_dir());
    let hosts = std::fs::read_to_string(&mounts["/etc/hosts"]).unwrap();
    assert!(hosts.contains("\tmounted\n"), "{hosts}");

    let api: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "default");
    let patch = json!({"data": {"a": "2"}});
    api.patch("settings", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    until(|| std::fs::read_to_string(mounts["/v"].join("a")).unwrap() == "2").await;
    let patch = json!({"metadata": {"labels": {"new": "x"}}});
    cluster
        .pods()
        .patch("mounted", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    until(|| {
        std::fs::read_to_string(mounts["/d"].join("labels"))
            .unwrap()
            .contains("new=")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_account_token_is_there() {
    let cluster = Cluster::start().await;
    cluster
        .config_map("kube-root-ca.crt", json!({"ca.crt": "PEM"}))
        .await;
    let spec = json!({"automountServiceAccountToken": true,
        "containers": [{"name": "c", "image": "run"}]});
    cluster.create("account", spec).await;
    cluster.ready("account").await;
    let dir = mounts(&cluster)["/var/run/secrets/kubernetes.io/serviceaccount"].clone();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(read("token").split('.').count(), 3, "a token is a JWS");
    assert_eq!(
        (read("namespace").as_str(), read("ca.crt").as_str()),
        ("default", "PEM")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_volume_lacks_is_told_and_waited_for() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "volumes": [{"name": "v", "configMap": {"name": "later"}}],
        "containers": [{"name": "c", "image": "run", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]
    });
    cluster.create("patient", spec).await;
    let text = "MountVolume.SetUp failed for volume \"v\" : configmap \"later\" not found";
    cluster.events("patient", &[("FailedMount", text)]).await;
    let pod = cluster
        .pod_that("patient", |p| {
            waiting_reason(p, "c").as_deref() == Some("ContainerCreating")
        })
        .await;
    assert!(container(&pod, "c").unwrap().container_id.is_none());
    cluster.config_map("later", json!({"a": "1"})).await;
    cluster.ready("patient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_complete_or_says_what_it_lacks() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "run",
    "command": ["run", "$(NAME)"],
    "env": [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "vars", "key": "x"}}}
    ]}]});
    cluster.create("env", spec).await;
    let pod = cluster
        .pod_that("env", |p| {
            waiting_reason(p, "c").as_deref() == Some("CreateContainerConfigError")
        })
        .await;
    let message = container(&pod, "c")
        .unwrap()
        .state
        .clone()
        .unwrap()
        .waiting
        .unwrap()
        .message;
    assert_eq!(message.as_deref(), Some("configmap \"vars\" not found"));
    cluster.config_map("vars", json!({"x": "y"})).await;
    let pod = cluster.ready("env").await;
    let id = cluster.runtime.container_id("c");
    let state = cluster.runtime.state.lock();
    let config = &state.containers[&id].config;
    let env = |name: &str| {
        let found = config.envs.iter().find(|e| e.key == name).unwrap();
        String::from_utf8(found.value.clone()).unwrap()
    };
    assert_eq!((env("NAME").as_str(), env("X").as_str()), ("env", "y"));
    assert_eq!(Some(env("IP")), pod.status.unwrap().pod_ip);
    assert!(!env("KUBERNETES_SERVICE_HOST").is_empty());
    assert_eq!(config.command, ["run", "env"]);
}
