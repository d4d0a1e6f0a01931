//! Probes decide about readiness and restarts.

use serde_json::json;

use crate::harness::{Cluster, condition, container, until};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_its_probe() {
    let cluster = Cluster::start().await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("check".into(), (1, "not yet".into()));
    let spec = json!({"containers": [{"name": "c", "image": "run",
        "readinessProbe": {"exec": {"command": ["check"]}, "periodSeconds": 1}}]});
    cluster.create("probed", spec).await;
    let pod = cluster
        .pod_that("probed", |p| {
            container(p, "c").is_some_and(|c| c.started == Some(true) && !c.ready)
        })
        .await;
    assert_eq!(condition(&pod, "Ready").as_deref(), Some("False"));
    cluster
        .events(
            "probed",
            &[("Unhealthy", "Readiness probe failed: not yet")],
        )
        .await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("check".into(), (0, String::new()));
    cluster.ready("probed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_liveness_probe_restarts() {
    let cluster = Cluster::start().await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("live".into(), (1, "dead".into()));
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "run",
        "livenessProbe": {"exec": {"command": ["live"]}, "periodSeconds": 1, "failureThreshold": 1}}]});
    cluster.create("dying", spec).await;
    cluster
        .pod_that("dying", |p| {
            container(p, "c").is_some_and(|c| c.restart_count > 0)
        })
        .await;
    let wanted = [
        ("Unhealthy", "Liveness probe failed: dead"),
        (
            "Killing",
            "Container c failed liveness probe, will be restarted",
        ),
    ];
    cluster.events("dying", &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_startup_probe_goes_first() {
    let cluster = Cluster::start().await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("up".into(), (1, String::new()));
    let spec = json!({"containers": [{"name": "c", "image": "run",
        "startupProbe": {"exec": {"command": ["up"]}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"exec": {"command": ["ready"]}}}]});
    cluster.create("starting", spec).await;
    until(|| cluster.runtime.count("exec up") > 1).await;
    assert_eq!(cluster.runtime.count("exec ready"), 0);
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("up".into(), (0, String::new()));
    let pod = cluster.ready("starting").await;
    assert_eq!(container(&pod, "c").unwrap().started, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_probes_ask_the_pod() {
    let cluster = Cluster::start().await;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            let found = String::from_utf8_lossy(&buffer[..read]).starts_with("GET /healthz ");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    let spec = json!({"containers": [{"name": "c", "image": "run",
        "ports": [{"name": "web", "containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "web"}}}]});
    cluster.create("asked", spec).await;
    cluster.ready("asked").await;
}
