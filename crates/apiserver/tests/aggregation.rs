//! A group that another server serves, through an API server made for the test.

use std::convert::Infallible;

use apiserver::http::listen::tls_config;
use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Client, Cluster};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

async fn answer(
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let all = request.headers().get_all(name).iter();
        all.map(|v| v.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let path = request.uri().path().to_owned();
    let resource = json!({"resource": "flunders", "singularResource": "flunder", "scope": "Namespaced",
        "responseKind": {"group": "", "version": "", "kind": "Flunder"}, "verbs": ["get", "list"]});
    let (kind, body) = match path.as_str() {
        "/apis" => (
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [
                {"metadata": {"name": "wardle.example.com"}, "versions": [
                    {"version": "v1alpha1", "resources": [resource], "freshness": "Current"}]}]}),
        ),
        "/openapi/v2" => (
            "application/json",
            json!({"paths": {"/apis/wardle.example.com/v1alpha1/flunders": {"get": {"schema": {"$ref": "#/definitions/Flunder"}}}},
                "definitions": {"Flunder": {"type": "object"}}}),
        ),
        "/apis/wardle.example.com/v1alpha1/redirected" => {
            let response = Response::builder().status(302).header("location", "/x");
            return Ok(response.body(Full::default()).unwrap());
        }
        _ => (
            "application/json",
            json!({"path": request.uri().to_string(), "user": header("x-remote-user"), "groups": header("x-remote-group"),
                "authorization": header("authorization"), "method": request.method().to_string()}),
        ),
    };
    let response = Response::builder().header("content-type", kind);
    Ok(response.body(Full::from(body.to_string())).unwrap())
}

/// Starts the other server; gives its port and the authority of its certificate.
async fn backend(cluster: &Cluster) -> (u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let now = jiff::Timestamp::now();
    let authority = apiserver::pki::Authority::generate("backend", now).unwrap();
    let identity = authority
        .issue_server("x", &["backend.default.svc".to_owned()], now)
        .unwrap();
    let front = cluster.pki.front_proxy_authority.certificate_pem();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls_config(&identity, front).unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let shown = stream.get_ref().1.peer_certificates().map(<[_]>::len);
            assert_eq!(
                shown,
                Some(1),
                "the API server proves that it may speak for users"
            );
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer)),
            );
        }
    });
    (port, authority.certificate_pem().to_owned())
}

fn api_service(port: u16, bundle: &str) -> Value {
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1alpha1.wardle.example.com"},
        "spec": {"group": "wardle.example.com", "version": "v1alpha1", "caBundle": bundle,
            "service": {"name": "backend", "namespace": "default", "port": port},
            "groupPriorityMinimum": 2000, "versionPriority": 200}})
}

/// Waits until the APIService's condition has this reason; gives its message.
async fn until(admin: &Client, reason: &str) -> String {
    let mut watch = admin
        .watch(&format!(
            "{SERVICES}?watch=1&fieldSelector=metadata.name%3Dv1alpha1.wardle.example.com"
        ))
        .await;
    loop {
        let event = watch.next().await.expect("an event");
        let condition = &event["object"]["status"]["conditions"][0];
        if condition["reason"] == reason {
            return condition["message"].as_str().unwrap().to_owned();
        }
    }
}

/// Waits until the group's path answers so: requests follow the APIService's status a moment later.
async fn answers(admin: &Client, code: u16) {
    let asking = async {
        while admin.get(FLUNDERS).await.code != code {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    let asked = tokio::time::timeout(patience, asking).await;
    asked.expect("the answer within 20 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_served_by_another_server() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (port, bundle) = backend(&cluster).await;
    admin.post(SERVICES, &api_service(port, &bundle)).await.ok();
    let message = until(&admin, "ServiceNotFound").await;
    assert_eq!(message, "service/backend in \"default\" is not present");
    admin.get(FLUNDERS).await.fails(503);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"}});
    let services = "/api/v1/namespaces/default/services";
    admin.post(services, &service).await.ok();
    assert_eq!(until(&admin, "Passed").await, "all checks passed");
    answers(&admin, 200).await;

    let seen = admin
        .raw(
            "POST",
            &format!("{FLUNDERS}?a=%2F"),
            &[
                ("x-remote-user", "somebody-else"),
                ("authorization", "Bearer x"),
            ],
            "{}",
        )
        .await
        .ok();
    assert_eq!(
        seen,
        json!({"path": format!("{FLUNDERS}?a=%2F"), "method": "POST", "authorization": [],
            "user": ["kubernetes-admin"], "groups": ["system:masters", "system:authenticated"]})
    );
    cluster.user("jane", &[]).get(FLUNDERS).await.fails(403);
    let version = "/apis/wardle.example.com/v1alpha1";
    assert_eq!(admin.get(version).await.ok()["path"], version);
    admin.get(&format!("{version}/redirected")).await.fails(502);

    let groups = admin.get("/apis").await.ok();
    let groups = groups["groups"].as_array().unwrap();
    let last = groups.last().unwrap();
    assert_eq!(last["name"], "wardle.example.com");
    assert_eq!(last["preferredVersion"]["version"], "v1alpha1");
    let group = admin.get("/apis/wardle.example.com").await.ok();
    assert_eq!(group["kind"], "APIGroup");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = admin.raw("GET", "/apis", &[("accept", accept)], "").await;
    let all = all.ok();
    let last = all["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["versions"][0]["resources"][0]["resource"], "flunders");
    let openapi = admin.get("/openapi/v2").await.ok();
    assert_eq!(openapi["definitions"]["Flunder"]["type"], "object");
    assert!(openapi["definitions"]["io.k8s.api.core.v1.Pod"].is_object());

    admin.delete(&format!("{services}/backend")).await.ok();
    until(&admin, "ServiceNotFound").await;
    answers(&admin, 503).await;
    admin
        .delete(&format!("{SERVICES}/v1alpha1.wardle.example.com"))
        .await
        .ok();
    answers(&admin, 404).await;
    admin.get("/apis/wardle.example.com").await.fails(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_foreign_certificate_is_not_believed() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (port, _) = backend(&cluster).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"}});
    admin
        .post("/api/v1/namespaces/default/services", &service)
        .await
        .ok();
    let object = api_service(port, cluster.pki.ca_pem());
    admin.post(SERVICES, &object).await.ok();
    let message = until(&admin, "FailedDiscoveryCheck").await;
    assert!(
        message.contains("certificate signed by unknown authority"),
        "{message}"
    );
    admin.get(FLUNDERS).await.fails(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_here_is_local_and_available() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let list = admin.get(SERVICES).await.ok();
    let find = |name: &str| {
        let items = list["items"].as_array().unwrap();
        let found = items.iter().find(|i| i["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    for name in ["v1.", "v1.apps", "v2.autoscaling"] {
        let condition = &find(name)["status"]["conditions"][0];
        assert_eq!(condition["type"], "Available");
        assert_eq!(condition["status"], "True");
        assert_eq!(condition["reason"], "Local");
    }
    let table = admin
        .raw(
            "GET",
            &format!("{SERVICES}/v1.apps"),
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
            "",
        )
        .await
        .ok();
    assert_eq!(table["rows"][0]["cells"][1], "Local");
    assert_eq!(table["rows"][0]["cells"][2], "True");
    let data = admin
        .get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
        .await
        .ok();
    assert_eq!(
        data["data"]["requestheader-client-ca-file"],
        cluster.pki.front_proxy_authority.certificate_pem()
    );
    assert_eq!(
        data["data"]["requestheader-allowed-names"],
        "[\"front-proxy-client\"]"
    );

    // Custom resources have theirs while they are defined.
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "walkers.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "walkers", "singular": "walker", "kind": "Walker", "listKind": "WalkerList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let mut watch = admin
        .watch(&format!(
            "{SERVICES}?watch=1&labelSelector=kube-aggregator.kubernetes.io/automanaged=true"
        ))
        .await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    admin.post(definitions, &definition).await.ok();
    let made = watch.next().await.unwrap();
    assert_eq!(made["type"], "ADDED");
    assert_eq!(made["object"]["metadata"]["name"], "v1.example.com");
    assert_eq!(made["object"]["spec"]["groupPriorityMinimum"], 1000);
    admin
        .delete(&format!("{definitions}/walkers.example.com"))
        .await
        .ok();
    assert_eq!(watch.next().await.unwrap()["type"], "DELETED");
}
