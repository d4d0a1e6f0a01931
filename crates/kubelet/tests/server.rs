//! What the kubelet's server answers, and to whom.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::harness::Cluster;

/// Asks the kubelet over TLS, as somebody or as nobody.
async fn get(cluster: &Cluster, user: Option<(&str, &[&str])>, path: &str) -> (u16, String) {
    let node = cluster.node_ready().await;
    let port = node
        .status
        .unwrap()
        .daemon_endpoints
        .unwrap()
        .kubelet_endpoint
        .unwrap()
        .port;
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(cluster.pki.ca_pem().as_bytes()) {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match user {
        None => builder.with_no_client_auth(),
        Some((name, groups)) => {
            let identity = cluster
                .pki
                .issue_client(name, groups, jiff::Timestamp::now())
                .unwrap();
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port as u16))
        .await
        .unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", "127.0.0.1")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

const API_SERVER: Option<(&str, &[&str])> = Some(("kube-apiserver-kubelet-client", &[]));

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_is_answered() {
    let cluster = Cluster::start().await;
    assert_eq!(get(&cluster, None, "/pods").await.0, 401);
    assert_eq!(get(&cluster, Some(("somebody", &[])), "/pods").await.0, 403);
    assert_eq!(
        get(&cluster, API_SERVER, "/healthz").await,
        (200, "ok".to_owned())
    );
    assert_eq!(
        get(&cluster, Some(("me", &["system:masters"])), "/pods")
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_right_run() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "run"}]});
    cluster.create("talker", spec).await;
    cluster.ready("talker").await;
    let logs = |query: &str| format!("/containerLogs/default/talker/c{query}");
    let (status, body) = get(&cluster, API_SERVER, &logs("")).await;
    assert_eq!((status, body.as_str()), (200, "c says hello\n"));
    let (_, body) = get(&cluster, API_SERVER, &logs("?timestamps=true")).await;
    assert_eq!(body, "2026-01-01T00:00:00Z c says hello\n");
    let (status, body) = get(&cluster, API_SERVER, &logs("?previous=true")).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        "previous terminated container \"c\" in pod \"talker\" not found"
    );
    let (status, _) = get(&cluster, API_SERVER, "/containerLogs/default/nobody/c").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_container() {
    let cluster = Cluster::start().await;
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "run"}]});
    cluster.create("tale", spec).await;
    cluster.ready("tale").await;
    let id = cluster.runtime.container_id("c");
    let (log, runtime) = {
        let state = cluster.runtime.state.lock();
        (state.containers[&id].log.clone(), cluster.runtime.clone())
    };
    let following = get(
        &cluster,
        API_SERVER,
        "/containerLogs/default/tale/c?follow=true",
    );
    let telling = async {
        use std::io::Write as _;
        // Rotated on the way: both files are read.
        let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(b"2026-01-01T00:00:01Z stdout F two\n")
            .unwrap();
        std::fs::rename(&log, log.with_extension("log.20260101-000000")).unwrap();
        std::fs::write(&log, b"2026-01-01T00:00:02Z stdout F three\n").unwrap();
        runtime.exit(&id, 0, "Completed");
    };
    let ((status, body), ()) = tokio::join!(following, telling);
    assert_eq!(status, 200);
    assert!(body.ends_with("three\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_given() {
    let cluster = Cluster::start().await;
    let (status, body) = get(&cluster, API_SERVER, "/stats/summary").await;
    let summary: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, summary["node"]["nodeName"].as_str()),
        (200, Some("n1"))
    );
    let (_, body) = get(&cluster, API_SERVER, "/configz").await;
    let config: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(config["kubeletconfig"]["maxPods"], 110);
    let (_, body) = get(&cluster, API_SERVER, "/metrics").await;
    assert!(body.contains("kubelet_running_pods"), "{body}");
    let (_, body) = get(&cluster, API_SERVER, "/metrics/resource").await;
    assert!(body.contains("node_cpu_usage_seconds_total "), "{body}");
}
