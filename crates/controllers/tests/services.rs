//! Mirrored slices, load balancers on node addresses, autoscaling without and with metrics.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn endpoints_written_by_hand_are_mirrored() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}});
    cluster.create::<Service>("default", service).await;
    let endpoints = json!({"metadata": {"name": "db"}, "subsets": [
        {"addresses": [{"ip": "10.9.0.1"}], "ports": [{"port": 5432}]}]});
    cluster.create::<Endpoints>("default", endpoints).await;
    let addresses = |all: &[EndpointSlice]| -> Vec<String> {
        let ours = all
            .iter()
            .filter(|slice| slice.metadata.generate_name.as_deref() == Some("db-"));
        ours.flat_map(|slice| slice.endpoints.clone().unwrap_or_default())
            .flat_map(|endpoint| endpoint.addresses)
            .collect()
    };
    cluster
        .wait("default", |all: &[EndpointSlice]| {
            addresses(all) == ["10.9.0.1"]
        })
        .await;
    let api = cluster.api::<Endpoints>("default");
    let change =
        json!({"subsets": [{"addresses": [{"ip": "10.9.0.2"}], "ports": [{"port": 5432}]}]});
    api.patch("db", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    cluster
        .wait("default", |all: &[EndpointSlice]| {
            addresses(all) == ["10.9.0.2"]
        })
        .await;
    api.delete("db", &Default::default()).await.unwrap();
    cluster
        .wait("default", |all: &[EndpointSlice]| {
            !all.iter()
                .any(|slice| slice.metadata.generate_name.as_deref() == Some("db-"))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_load_balancer_is_at_the_nodes() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let address =
        json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}});
    nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(address))
        .await
        .unwrap();
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    cluster.create::<Service>("default", service).await;
    let ingress = |all: &[Service]| -> Vec<String> {
        let web = all
            .iter()
            .find(|one| one.metadata.name.as_deref() == Some("web"));
        let status = web.and_then(|web| web.status.clone()).unwrap_or_default();
        let ingress = status
            .load_balancer
            .unwrap_or_default()
            .ingress
            .unwrap_or_default();
        ingress.into_iter().filter_map(|one| one.ip).collect()
    };
    cluster
        .wait("default", |all: &[Service]| ingress(all) == ["192.0.2.9"])
        .await;
    let api = cluster.api::<Service>("default");
    let change = json!({"spec": {"type": "ClusterIP"}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    let services = cluster
        .wait("default", |all: &[Service]| {
            let web = all
                .iter()
                .find(|one| one.metadata.name.as_deref() == Some("web"));
            ingress(all).is_empty() && web.is_some_and(|web| web.metadata.finalizers.is_none())
        })
        .await;
    assert!(!services.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn an_autoscaler_keeps_bounds_and_says_that_there_are_no_metrics() {
    let cluster = Cluster::start().await;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    let spec =
        json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    cluster
        .create::<Deployment>(
            "default",
            json!({"metadata": {"name": "web"}, "spec": spec}),
        )
        .await;
    let metric = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    let spec = json!({"minReplicas": 2, "maxReplicas": 4, "metrics": [metric],
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    cluster
        .create::<HorizontalPodAutoscaler>(
            "default",
            json!({"metadata": {"name": "web"}, "spec": spec}),
        )
        .await;
    cluster
        .wait("default", |all: &[Deployment]| {
            all[0].spec.as_ref().unwrap().replicas == Some(2)
        })
        .await;
    // Touched, so that it is looked at before its period is over.
    let api = cluster.api::<HorizontalPodAutoscaler>("default");
    let change = json!({"spec": {"maxReplicas": 5}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    let all = cluster
        .wait("default", |all: &[HorizontalPodAutoscaler]| {
            let status = all[0].status.clone().unwrap_or_default();
            status
                .conditions
                .iter()
                .flatten()
                .any(|one| one.type_ == "ScalingActive")
        })
        .await;
    let conditions = all[0].status.clone().unwrap().conditions.unwrap();
    let active = conditions
        .iter()
        .find(|one| one.type_ == "ScalingActive")
        .unwrap();
    assert_eq!(active.reason.as_deref(), Some("FailedGetResourceMetric"));
    let message = active.message.as_deref().unwrap();
    assert!(
        message.ends_with("unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"),
        "{message}"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn the_authority_is_published() {
    let cluster = Cluster::start().await;
    let bundles = cluster
        .wait("", |all: &[ClusterTrustBundle]| !all.is_empty())
        .await;
    let name = bundles[0].metadata.name.as_deref().unwrap();
    assert!(
        name.starts_with("kubernetes.io:kube-apiserver-serving:"),
        "{name}"
    );
    cluster.stop().await;
}
