//! Autoscalers with metrics of every type, which a server behind APIServices measures.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use apiserver::http::listen::tls_config;
use base64::Engine as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::Cluster;

/// Who asked for what.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// What is measured: of every pod 300m CPU and 300Mi in its container `c`, and 30 of everything else.
async fn measure(pods: &Api<Pod>, path: &str, query: &str) -> Value {
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let at = api::clock::rfc3339(later);
    let selector = query
        .split('&')
        .find_map(|part| part.strip_prefix("labelSelector="))
        .unwrap_or_default()
        .replace("%3D", "=");
    let names = async || {
        let chosen = pods.list(&ListParams::default().labels(&selector)).await;
        let names = chosen.unwrap().items.into_iter();
        names
            .filter_map(|pod| pod.metadata.name)
            .collect::<Vec<_>>()
    };
    let list = |group: &str, kind: &str, items: Vec<Value>| json!({"apiVersion": group, "kind": kind, "metadata": {}, "items": items});
    match path.strip_prefix("/apis/").unwrap_or_default() {
        "metrics.k8s.io/v1beta1/namespaces/default/pods" => {
            let pod = |name: String| {
                json!({"metadata": {"name": name, "namespace": "default"}, "timestamp": at, "window": "30s",
                    "containers": [{"name": "c", "usage": {"cpu": "300m", "memory": "300Mi"}}]})
            };
            let items = names().await.into_iter().map(pod).collect();
            list("metrics.k8s.io/v1beta1", "PodMetricsList", items)
        }
        "custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/rate" => {
            let value = |name: String| {
                json!({"describedObject": {"kind": "Pod", "name": name}, "metric": {"name": "rate"},
                    "timestamp": at, "value": "30"})
            };
            let items = names().await.into_iter().map(value).collect();
            list("custom.metrics.k8s.io/v1beta2", "MetricValueList", items)
        }
        "custom.metrics.k8s.io/v1beta2/namespaces/default/services/front/hits" => {
            let value = json!({"describedObject": {"kind": "Service", "name": "front"},
                "metric": {"name": "hits"}, "timestamp": at, "value": "30"});
            list(
                "custom.metrics.k8s.io/v1beta2",
                "MetricValueList",
                vec![value],
            )
        }
        "external.metrics.k8s.io/v1beta1/namespaces/default/queue" => {
            let value =
                |value: &str| json!({"metricName": "queue", "timestamp": at, "value": value});
            let items = vec![value("20"), value("10")];
            list(
                "external.metrics.k8s.io/v1beta1",
                "ExternalMetricValueList",
                items,
            )
        }
        version => {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": []})
        }
    }
}

/// Starts the server of metrics and registers its groups.
async fn serve(cluster: &Cluster) -> Asked {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let now = jiff::Timestamp::now();
    let authority = apiserver::pki::Authority::generate("metrics", now).unwrap();
    let names = ["metrics.default.svc".to_owned()];
    let identity = authority.issue_server("x", &names, now).unwrap();
    let front = cluster.pki.front_proxy_authority.certificate_pem();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls_config(&identity, front).unwrap());
    let asked = Asked::default();
    let (pods, noted) = (cluster.api::<Pod>("default"), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let (pods, noted) = (pods.clone(), noted.clone());
            let answer = move |request: Request<Incoming>| {
                let (pods, noted) = (pods.clone(), noted.clone());
                async move {
                    let user = request.headers().get("x-remote-user");
                    let user = user.map_or("", |user| user.to_str().unwrap()).to_owned();
                    let (path, query) = (request.uri().path(), request.uri().query());
                    noted.lock().unwrap().push((user, path.to_owned()));
                    let body = measure(&pods, path, query.unwrap_or_default()).await;
                    let response = Response::builder().header("content-type", "application/json");
                    let body = Full::<Bytes>::from(body.to_string());
                    Ok::<_, Infallible>(response.body(body).unwrap())
                }
            };
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer)),
            );
        }
    });
    let service = json!({"metadata": {"name": "metrics"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"}});
    cluster.create::<Service>("default", service).await;
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority.certificate_pem());
    for (group, version) in [
        ("metrics.k8s.io", "v1beta1"),
        ("custom.metrics.k8s.io", "v1beta2"),
        ("external.metrics.k8s.io", "v1beta1"),
    ] {
        let service = json!({"name": "metrics", "namespace": "default", "port": port});
        let object = json!({"metadata": {"name": format!("{version}.{group}")},
            "spec": {"group": group, "version": version, "caBundle": bundle, "service": service,
                "groupPriorityMinimum": 100, "versionPriority": 10}});
        cluster.create::<APIService>("", object).await;
    }
    cluster
        .wait::<APIService>("", |all| {
            let passed = all.iter().filter(|one| {
                let conditions = one.status.clone().and_then(|status| status.conditions);
                let mut conditions = conditions.iter().flatten();
                conditions.any(|one| one.reason.as_deref() == Some("Passed"))
            });
            passed.count() == 3
        })
        .await;
    asked
}

fn status_of(all: &[HorizontalPodAutoscaler], name: &str) -> HorizontalPodAutoscalerStatus {
    let found = all
        .iter()
        .find(|one| one.metadata.name.as_deref() == Some(name));
    found
        .and_then(|found| found.status.clone())
        .unwrap_or_default()
}

fn reason(status: &HorizontalPodAutoscalerStatus, type_: &str) -> String {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|one| one.type_ == type_);
    found
        .and_then(|found| found.reason.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_every_type_come_from_the_servers_that_registered_them() {
    let cluster = Cluster::start().await;
    let asked = serve(&cluster).await;
    let resource =
        |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let percent = |percent: i32| json!({"type": "Utilization", "averageUtilization": percent});
    let average = |value: &str| json!({"type": "AverageValue", "averageValue": value});
    let value = |value: &str| json!({"type": "Value", "value": value});
    let object = |target: Value| {
        json!({"type": "Object", "object": {"metric": {"name": "hits"}, "target": target,
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "front"}}})
    };
    let external = |target: Value| {
        json!({"type": "External", "external": {"metric": {"name": "queue",
            "selector": {"matchLabels": {"topic": "a"}}}, "target": target}})
    };
    // All of them measure three times what they should.
    let cases = [
        ("utilization", resource(percent(100))),
        ("usage", resource(average("100m"))),
        (
            "container",
            json!({"type": "ContainerResource", "containerResource": {"name": "memory",
                "container": "c", "target": percent(100)}}),
        ),
        (
            "pods",
            json!({"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": average("10")}}),
        ),
        ("object-value", object(value("10"))),
        ("object-average", object(average("10"))),
        ("external-value", external(value("10"))),
        ("external-average", external(average("10"))),
        ("tolerant", resource(percent(100))),
    ];
    for (name, _) in &cases {
        let container = json!({"name": "c", "image": "a",
            "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}});
        let template =
            json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        cluster.create::<Deployment>("default", object).await;
    }
    let ready = |all: &[Deployment]| {
        let ready = |one: &&Deployment| one.status.as_ref().unwrap().ready_replicas == Some(1);
        all.iter().filter(ready).count() == cases.len()
    };
    cluster.wait("default", ready).await;
    for (name, metric) in &cases {
        let mut object = json!({"metadata": {"name": name}, "spec": {"maxReplicas": 3, "metrics": [metric],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}});
        if *name == "tolerant" {
            object["spec"]["behavior"] = json!({"scaleUp": {"tolerance": "2500m"}});
        }
        cluster
            .create::<HorizontalPodAutoscaler>("default", object)
            .await;
    }
    let wanted = |name: &str| if name == "tolerant" { 1 } else { 3 };
    let all = cluster
        .wait("default", |all: &[HorizontalPodAutoscaler]| {
            cases.iter().all(|(name, _)| {
                let status = status_of(all, name);
                status.desired_replicas == wanted(name) && status.current_metrics.is_some()
            })
        })
        .await;
    for (name, metric) in &cases {
        let status = status_of(&all, name);
        assert_eq!(
            reason(&status, "ScalingActive"),
            "ValidMetricFound",
            "{name}"
        );
        let able = match *name {
            "tolerant" => "ReadyForNewScale",
            _ => "SucceededRescale",
        };
        assert_eq!(reason(&status, "AbleToScale"), able, "{name}");
        let current = serde_json::to_value(status.current_metrics.unwrap()).unwrap();
        assert_eq!(current[0]["type"], metric["type"], "{name}");
    }
    let current = |name: &str, of: &str| {
        let status = status_of(&all, name);
        let metrics = serde_json::to_value(status.current_metrics.unwrap()).unwrap();
        metrics[0][of]["current"].clone()
    };
    let utilization = json!({"averageUtilization": 300, "averageValue": "300m"});
    assert_eq!(current("utilization", "resource"), utilization);
    assert_eq!(
        current("container", "containerResource")["averageUtilization"],
        300
    );
    assert_eq!(current("pods", "pods")["averageValue"], "30");
    assert_eq!(current("object-value", "object")["value"], "30");
    assert_eq!(
        current("external-average", "external")["averageValue"],
        "30"
    );
    let counted = cluster.metrics();
    let prefix = "horizontal_pod_autoscaler_controller_";
    for line in [
        format!("{prefix}reconciliations_total{{action=\"scale_up\",error=\"none\"}} 8\n"),
        format!(
            "{prefix}metric_computation_total{{action=\"scale_up\",error=\"none\",metric_type=\"External\"}}"
        ),
        "workqueue_adds_total{name=\"horizontalpodautoscaler\"}".to_owned(),
        "workqueue_adds_total{name=\"deployment\"}".to_owned(),
    ] {
        assert!(counted.contains(&line), "{line} in {counted}");
    }
    let asked = asked.lock().unwrap().clone();
    let account = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
    let mut measured = asked
        .iter()
        .filter(|(_, path)| path.contains("/namespaces/"));
    assert!(measured.all(|(user, _)| user == account), "{asked:?}");
    cluster.stop().await;
}
