//! What the kubelet's server answers, and to whom.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::Cluster;

/// Connects to the kubelet over TLS, as somebody or as nobody.
async fn connect(cluster: &Cluster, user: Option<(&str, &[&str])>) -> TlsStream<TcpStream> {
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
    let stream = TcpStream::connect(("127.0.0.1", port as u16))
        .await
        .unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// Asks the kubelet.
async fn get(cluster: &Cluster, user: Option<(&str, &[&str])>, path: &str) -> (u16, String) {
    let stream = connect(cluster, user).await;
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

/// A streaming server that upgrades and then sends everything back.
async fn echo() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/exec/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("get /exec/token "), "{head}");
        assert!(head.contains("upgrade: websocket") && head.contains("v5.channel.k8s.io"));
        assert!(
            !head.contains("authorization"),
            "credentials stay with the kubelet"
        );
        let reply = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
            upgrade: websocket\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
        stream.write_all(reply.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_passed_on_byte_by_byte() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = Cluster::start().await;
    cluster
        .create(
            "shell",
            json!({"containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    cluster.ready("shell").await;
    let url = echo().await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("stream".into(), (0, url));
    let mut stream = connect(&cluster, API_SERVER).await;
    let request = "GET /exec/default/shell/c?command=sh&stdin=true&stdout=true HTTP/1.1\r\n\
        host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nauthorization: Bearer x\r\n\
        sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"any bytes\0at all").await.unwrap();
    let mut back = [0; 16];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"any bytes\0at all");
}
