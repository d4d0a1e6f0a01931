//! Calls from the server to others.

use std::sync::Arc;
use std::time::Duration;

use apiserver::objects::Objects;
use apiserver::outbound::{ClientConfig, Outbound, Place, Tls, Trust};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::Cluster;
use crate::hook::{Hook, Reply};

const PATIENCE: Duration = Duration::from_secs(20);

fn outbound(cluster: &Cluster) -> Outbound {
    Outbound::new(Arc::new(Objects::new(cluster.store.clone())))
}

async fn call(outbound: &Outbound, config: &Value) -> Result<Bytes, String> {
    let config = ClientConfig::read(config).map_err(|e| e.to_string())?;
    let answer = outbound.call(&config, Bytes::from_static(b"{\"a\":1}"), PATIENCE);
    answer.await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_one_call_after_another() {
    let cluster = Cluster::start().await;
    let outbound = outbound(&cluster);
    let hook = Hook::start(|_, _| Reply::Json(json!({"b": 2}))).await;
    for _ in 0..3 {
        let answer = call(&outbound, &hook.client_config("/path")).await;
        assert_eq!(answer.unwrap(), "{\"b\":2}");
        // The connection is given back when the answer was read, in a task of its own.
        tokio::task::yield_now().await;
    }
    let asked = hook.asked.lock();
    assert_eq!(asked[2], ("/path?timeout=20s".to_owned(), json!({"a": 1})));
    assert!(*hook.connections.lock() <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_under_its_name() {
    let cluster = Cluster::start().await;
    let outbound = outbound(&cluster);
    let hook = Hook::start(|_, _| Reply::Json(json!({}))).await;
    let service = |name: &str| {
        json!({"caBundle": hook.ca_bundle(), "service":
            {"namespace": "default", "name": name, "port": hook.address.port(), "path": "/x"}})
    };
    let port = hook.address.port();
    assert_eq!(
        call(&outbound, &service("hook")).await.unwrap_err(),
        format!(
            "Post \"https://hook.default.svc:{port}/x?timeout=20s\": service \"hook\" not found"
        )
    );
    for name in ["hook", "other"] {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "ExternalName", "externalName": "127.0.0.1"}});
        let services = "/api/v1/namespaces/default/services";
        // A name that is an address: validation does not mind, and it needs no DNS.
        cluster.admin().post(services, &object).await.ok();
    }
    call(&outbound, &service("hook")).await.unwrap();
    assert_eq!(hook.asked.lock()[0].0, "/x?timeout=20s");
    let error = call(&outbound, &service("other")).await.unwrap_err();
    assert!(
        error.contains("x509: certificate is valid for") && error.contains("not other.default.svc"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told() {
    let cluster = Cluster::start().await;
    let outbound = outbound(&cluster);
    let hook = Hook::start(|path, _| match path.split('?').next().unwrap_or("") {
        "/close" => Reply::Close,
        "/hang" => Reply::Hang,
        "/huge" => Reply::Raw(200, vec![b' '; 33 << 20].into()),
        "/500" => Reply::Raw(500, "boom".into()),
        "/404" => Reply::Raw(404, "".into()),
        _ => Reply::Raw(403, "{\"kind\":\"Status\",\"message\":\"not you\"}".into()),
    })
    .await;
    let other = Hook::start(|_, _| Reply::Close).await;
    let at = |path: &str| format!("Post \"https://{}{path}?timeout=20s\": ", hook.address);
    for (path, expected) in [
        ("/close", format!("{}EOF", at("/close"))),
        (
            "/huge",
            format!("{}the answer is larger than 33554432 bytes", at("/huge")),
        ),
        (
            "/500",
            "an error on the server (\"boom\") has prevented the request from succeeding"
                .to_owned(),
        ),
        (
            "/404",
            "the server could not find the requested resource".to_owned(),
        ),
        ("/status", "not you".to_owned()),
    ] {
        let error = call(&outbound, &hook.client_config(path)).await;
        assert_eq!(error.unwrap_err(), expected);
    }
    let slow = ClientConfig::read(&hook.client_config("/hang")).unwrap();
    let error = outbound.call(&slow, Bytes::new(), Duration::from_millis(300));
    assert_eq!(
        error.await.unwrap_err().to_string(),
        format!(
            "Post \"https://{}/hang?timeout=1s\": context deadline exceeded",
            hook.address
        )
    );
    let mut foreign = hook.client_config("/foreign");
    foreign["caBundle"] = other.ca_bundle().into();
    assert_eq!(
        call(&outbound, &foreign).await.unwrap_err(),
        format!(
            "{}tls: failed to verify certificate: x509: certificate signed by unknown authority",
            at("/foreign")
        )
    );
    foreign["caBundle"] = "AAAA".into();
    let error = call(&outbound, &foreign).await.unwrap_err();
    assert!(
        error.ends_with("unable to load root certificates: unable to parse bytes as PEM block"),
        "{error}"
    );
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let nobody = json!({"url": format!("https://{free}/"), "caBundle": hook.ca_bundle()});
    assert_eq!(
        call(&outbound, &nobody).await.unwrap_err(),
        format!(
            "Post \"https://{free}/?timeout=20s\": dial tcp {free}: connect: connection refused"
        )
    );
    assert_eq!(
        call(&outbound, &json!({})).await.unwrap_err(),
        "webhook configuration must have either service or URL"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_may_be_its_own_bundle() {
    let cluster = Cluster::start().await;
    let outbound = outbound(&cluster);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let (der, pem) = (certificate.der().clone(), certificate.pem());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let hook = Hook::start_with(der, key, pem, |_, _| Reply::Json(json!({}))).await;
    call(&outbound, &hook.client_config("/")).await.unwrap();
    let mut elsewhere = hook.client_config("/");
    elsewhere["url"] = format!("https://localhost:{}/", hook.address.port()).into();
    assert!(call(&outbound, &elsewhere).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_go_unchecked() {
    let cluster = Cluster::start().await;
    let outbound = outbound(&cluster);
    let hook = Hook::start(|_, _| Reply::Json(json!({"kind": "APIResourceList"}))).await;
    let place = Place::url(&format!("https://{}", hook.address)).unwrap();
    let send = async |trust: Trust| {
        let tls = Tls::new(&trust, None).unwrap();
        let body = apiserver::http::body::boxed(http_body_util::Empty::<Bytes>::new());
        let request = http::Request::get("/apis?x=1").body(body).unwrap();
        outbound.send(&place, &tls, request).await
    };
    assert_eq!(send(Trust::Unchecked).await.unwrap().status(), 200);
    assert_eq!(hook.asked.lock()[0].0, "/apis?x=1");
    assert!(send(Trust::System).await.is_err());
}
