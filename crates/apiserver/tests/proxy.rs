//! Requests that a kubelet answers, through a kubelet made for the test.

use std::convert::Infallible;
use std::sync::Arc;

use apiserver::http::listen::tls_config;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Cluster, namespace, pod};
use crate::tls::{Served, serve};

/// Answers logs with the path it was asked for, and echoes upgraded connections.
async fn kubelet(cluster: &Cluster) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = cluster
        .pki
        .issue_server(
            "system:node:n",
            &["127.0.0.1".to_owned()],
            jiff::Timestamp::now(),
        )
        .unwrap();
    let acceptor =
        tokio_rustls::TlsAcceptor::from(tls_config(&identity, cluster.pki.ca_pem()).unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let client = stream.get_ref().1.peer_certificates().map(<[_]>::len);
                assert_eq!(client, Some(1), "the API server shows who it is");
                let service = hyper::service::service_fn(answer);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
    port
}

async fn answer(
    mut request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri().to_string();
    assert!(request.headers().get("authorization").is_none());
    if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut bytes = [0u8; 64];
            loop {
                match io.read(&mut bytes).await {
                    Ok(count) if count > 0 => io.write_all(&bytes[..count]).await.unwrap(),
                    _ => break,
                }
            }
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", "v5.channel.k8s.io");
        return Ok(response.body(Full::default()).unwrap());
    }
    if uri.contains("previous=true") {
        let mut response = Response::new(Full::from(
            "previous terminated container \"c\" in pod \"p\" not found",
        ));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    Ok(Response::new(Full::from(uri)))
}

async fn prepared() -> (Cluster, u16) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    namespace(&admin, "default").await;
    let port = kubelet(&cluster).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    admin.post("/api/v1/nodes", &node).await.ok();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    admin
        .patch("/api/v1/nodes/n/status", "merge", &status)
        .await
        .ok();
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n".into();
    admin
        .post("/api/v1/namespaces/default/pods", &bound)
        .await
        .ok();
    admin
        .post("/api/v1/namespaces/default/pods", &pod("nowhere"))
        .await
        .ok();
    (cluster, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_kubelet() {
    let (cluster, _) = prepared().await;
    let admin = cluster.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let text = |answer: crate::harness::Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let log = admin
        .get(&format!("{pods}/p/log?tailLines=5&follow=true&junk=1"))
        .await;
    assert_eq!(
        text(log),
        "/containerLogs/default/p/c?follow=true&tailLines=5"
    );
    let refused = admin
        .get(&format!("{pods}/p/log?previous=true"))
        .await
        .fails(400);
    assert_eq!(
        refused["message"],
        "previous terminated container \"c\" in pod \"p\" not found"
    );
    admin
        .get(&format!("{pods}/p/log?container=x"))
        .await
        .fails(400);
    assert_eq!(admin.get(&format!("{pods}/nowhere/log")).await.code, 204);
    let node = admin
        .get("/api/v1/nodes/n/proxy/stats/summary?only=cpu")
        .await;
    assert_eq!(text(node), "/stats/summary?only=cpu");
    cluster
        .user("jane", &[])
        .get(&format!("{pods}/p/log"))
        .await
        .fails(403);
}

async fn admin_connection(
    cluster: &Cluster,
    served: &Served,
) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let identity = cluster
        .pki
        .issue_client("admin", &["system:masters"], jiff::Timestamp::now())
        .unwrap();
    let tls = apiserver::proxy::client_tls(&identity, cluster.pki.ca_pem()).unwrap();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

fn websocket(path: &str, protocol: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", protocol)
        .body(Full::default())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_watches_come_over_websocket_too() {
    let (cluster, _) = prepared().await;
    let served = serve(&cluster).await;
    let log = "/api/v1/namespaces/default/pods/p/log";
    for (protocol, expected) in [
        (
            "binary.k8s.io",
            &b"\x82\x00\x82\x1a/containerLogs/default/p/c\x88\x02\x03\xe8"[..],
        ),
        (
            "base64.binary.k8s.io",
            b"\x81\x00\x81\x24L2NvbnRhaW5lckxvZ3MvZGVmYXVsdC9wL2M=\x88\x02\x03\xe8",
        ),
    ] {
        let mut sender = admin_connection(&cluster, &served).await;
        let mut response = sender.send_request(websocket(log, protocol)).await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let mut found = Vec::new();
        io.read_to_end(&mut found).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(expected)
        );
    }
    let mut sender = admin_connection(&cluster, &served).await;
    let refused = sender.send_request(websocket(log, "other")).await.unwrap();
    assert_eq!(refused.status(), 403);

    let watch = "/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3Ddefault";
    let mut request = websocket(watch, "");
    request.headers_mut().remove("sec-websocket-protocol");
    let mut sender = admin_connection(&cluster, &served).await;
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    assert_eq!(io.read_u16().await.unwrap(), 0x817e);
    let length = io.read_u16().await.unwrap();
    let mut event = vec![0; length.into()];
    io.read_exact(&mut event).await.unwrap();
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "default");
    drop(io);
    served.shutdown.cancel();
    served.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_serve_needs_no_proof_and_its_links_stay_within() {
    let (cluster, _) = prepared().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Signed by nobody whom the server knows.
    let stranger = apiserver::pki::Authority::generate("stranger", jiff::Timestamp::now()).unwrap();
    let identity = stranger
        .issue_server("x", &["example.com".to_owned()], jiff::Timestamp::now())
        .unwrap();
    let acceptor =
        tokio_rustls::TlsAcceptor::from(tls_config(&identity, cluster.pki.ca_pem()).unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let client = stream.get_ref().1.peer_certificates().map(<[_]>::len);
            assert_eq!(
                client, None,
                "the API server shows its identity to kubelets alone"
            );
            let service = hyper::service::service_fn(|request: Request<_>| {
                let _: &hyper::body::Incoming = request.body();
                let page = format!(
                    "<a href='/x'>{} {} {}</a>",
                    request.method(),
                    request.uri(),
                    request.headers()["x-forwarded-uri"].to_str().unwrap(),
                );
                let response = Response::builder().header("content-type", "text/html");
                async move { Ok::<_, Infallible>(response.body(Full::<Bytes>::from(page)).unwrap()) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    let admin = cluster.admin();
    let proxy = format!("/api/v1/nodes/https:n:{port}/proxy");
    for method in ["GET", "OPTIONS"] {
        let answer = admin
            .raw(method, &format!("{proxy}/a%20b/?q=%2F"), &[], "")
            .await;
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            format!("<a href='{proxy}/x'>{method} /a%20b/?q=%2F {proxy}/a%20b/</a>")
        );
    }
    let moved = admin.get(&proxy).await;
    assert_eq!(moved.code, 301);
    assert_eq!(moved.headers["location"], format!("{proxy}/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_passed_through() {
    let (cluster, _) = prepared().await;
    let served = serve(&cluster).await;
    let mut sender = admin_connection(&cluster, &served).await;
    let request =
        Request::get("/api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true&stdout=true")
            .header("host", "localhost")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", "v5.channel.k8s.io")
            .body(Full::<Bytes>::default())
            .unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(
        response.headers()["sec-websocket-protocol"],
        "v5.channel.k8s.io"
    );
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut back = [0u8; 5];
    io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    drop(io);
    served.shutdown.cancel();
    served.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_proof_sees_health_and_version_alone() {
    let cluster = Cluster::start().await;
    let served = serve(&cluster).await;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in cluster_ca(&cluster) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (path, token, expected) in [
        ("/version", "", 200),
        ("/healthz", "", 200),
        ("/api", "", 401),
        ("/api/v1/pods", "wrong", 401),
        ("/apis/authentication.k8s.io/v1", "bootstrap-secret", 200),
        ("/api/v1/pods", "bootstrap-secret", 403),
    ] {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls.clone()))
            .connect(name, stream)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", "localhost");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = sender
            .send_request(request.body(Full::<Bytes>::default()).unwrap())
            .await
            .unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(code, expected, "{path}: {}", String::from_utf8_lossy(&body));
    }
    served.shutdown.cancel();
    served.task.await.unwrap();
}

fn cluster_ca(cluster: &Cluster) -> Vec<rustls_pki_types::CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::pem_slice_iter(cluster.pki.ca_pem().as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}
