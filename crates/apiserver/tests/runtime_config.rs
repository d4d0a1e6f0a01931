//! Which versions are served.

use serde_json::Value;

use crate::harness::{Client, Cluster};

async fn served(settings: &[&str], dir: tempfile::TempDir) -> Cluster {
    let configure = |config: &mut apiserver::Config| {
        config.runtime_config = settings.iter().map(|s| (*s).to_owned()).collect();
    };
    Cluster::start_with(dir, configure).await.unwrap()
}

async fn names(client: &Client, path: &str, place: &str, field: &str) -> Vec<String> {
    let list = client.get(path).await.ok();
    let names = list.pointer(place).and_then(Value::as_array).unwrap();
    let name = |value: &Value| value.pointer(field).unwrap().as_str().unwrap().to_owned();
    names.iter().map(name).collect()
}

#[tokio::test]
async fn stable_versions_alone_unless_asked() {
    let cluster = served(&[], tempfile::tempdir().unwrap()).await;
    let admin = cluster.admin();
    admin
        .get("/apis/resource.k8s.io/v1/deviceclasses")
        .await
        .ok();
    let beta = "/apis/resource.k8s.io/v1beta1/deviceclasses";
    admin.get(beta).await.fails(404);
    admin.get("/apis/resource.k8s.io/v1beta1").await.fails(404);
    admin
        .get("/apis/internal.apiserver.k8s.io")
        .await
        .fails(404);
    for path in ["/apis", "/openapi/v2", "/openapi/v3", "/"] {
        let text = admin.get(path).await.ok().to_string();
        assert!(!text.contains("resource.k8s.io/v1beta1"), "{path}");
        assert!(text.contains("resource.k8s.io/v1"), "{path}");
    }
    admin
        .get("/openapi/v3/apis/resource.k8s.io/v1beta1")
        .await
        .fails(404);
}

#[tokio::test]
async fn what_is_asked_for_is_served_and_what_is_no_longer_goes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["resource.k8s.io/v1beta1", "batch/v1/cronjobs=false"];
    let cluster = served(&settings, dir).await;
    let admin = cluster.admin();
    let class = serde_json::json!({"apiVersion": "resource.k8s.io/v1beta1", "kind": "DeviceClass",
        "metadata": {"name": "a"}, "spec": {}});
    admin
        .post("/apis/resource.k8s.io/v1beta1/deviceclasses", &class)
        .await
        .ok();
    let stable = admin
        .get("/apis/resource.k8s.io/v1/deviceclasses/a")
        .await
        .ok();
    assert_eq!(stable["apiVersion"], "resource.k8s.io/v1");
    let batch = names(&admin, "/apis/batch/v1", "/resources", "/name").await;
    assert_eq!(batch, ["jobs", "jobs/status"]);
    let versions = names(&admin, "/apis/resource.k8s.io", "/versions", "/version").await;
    assert_eq!(versions, ["v1", "v1beta1"]);
    admin
        .get("/openapi/v3/apis/resource.k8s.io/v1beta1")
        .await
        .ok();
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.resource.k8s.io";
    admin.get(service).await.ok();

    let Cluster {
        server, store, dir, ..
    } = cluster;
    server.end_watches();
    store.close().await;
    drop((server, store, admin));
    let cluster = served(&[], dir).await;
    let admin = cluster.admin();
    admin.get(service).await.fails(404);
    // Objects are what they were, in the version that is left.
    admin
        .get("/apis/resource.k8s.io/v1/deviceclasses/a")
        .await
        .ok();
}

#[tokio::test]
async fn what_there_is_not_is_refused_at_start() {
    let configure = |config: &mut apiserver::Config| {
        config.runtime_config = vec!["apps/v1beta1=true".to_owned()];
    };
    let dir = tempfile::tempdir().unwrap();
    let Err(error) = Cluster::start_with(dir, configure).await else {
        panic!("it started");
    };
    let text = error.to_string();
    assert!(
        text.contains("apps/v1beta1") && text.contains("it has v1"),
        "{text}"
    );
}
