//! How pods find the server: the Service `kube-system/kube-dns` and this node's EndpointSlice of it.
//!
//! The service has no selector; each node that runs a server adds a slice with its own listening
//! address, and pods of nodes that run none are answered by one of those.

use std::net::{IpAddr, SocketAddr};

use client::backoff::Backoff;
use client::random::Seeded;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// Namespace of the service.
pub const NAMESPACE: &str = "kube-system";
/// Name of the service.
pub const NAME: &str = "kube-dns";
const MANAGER: &str = "corten-dns";

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Address of the service.
    pub service_ip: IpAddr,
    /// This node.
    pub node_name: String,
    /// Where this node's server listens.
    pub listen: SocketAddr,
}

fn service(publication: &Publication) -> Value {
    let port =
        |name, protocol| json!({"name": name, "port": 53, "protocol": protocol, "targetPort": 53});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": publication.service_ip,
            "clusterIPs": [publication.service_ip],
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    })
}

fn slice(publication: &Publication, node_uid: Option<&str>) -> Value {
    let port = |name, protocol| json!({"name": name, "port": publication.listen.port(), "protocol": protocol});
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{NAME}-{}", publication.node_name),
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": NAME,
                "endpointslice.kubernetes.io/managed-by": "corten-dns",
            },
        },
        "addressType": if publication.listen.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{
            "addresses": [publication.listen.ip()],
            "nodeName": publication.node_name,
            "conditions": {"ready": true, "serving": true, "terminating": false},
        }],
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
    });
    if let Some(uid) = node_uid {
        // So that the slice goes with its node.
        slice["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": publication.node_name, "uid": uid}]);
    }
    slice
}

/// Makes the service when it is not there, and makes this node's slice what it should be. A service
/// with a selector is somebody else's DNS and left alone with everything of it.
pub async fn ensure_service(
    client: &kube::Client,
    publication: &Publication,
) -> Result<(), kube::Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let existing = match services.get_opt(NAME).await? {
        Some(existing) => existing,
        None => {
            let wanted: Service =
                serde_json::from_value(service(publication)).map_err(kube::Error::SerdeError)?;
            match services.create(&PostParams::default(), &wanted).await {
                Ok(made) => made,
                // Another node was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => services.get(NAME).await?,
                Err(error) => return Err(error),
            }
        }
    };
    let spec = existing.spec.unwrap_or_default();
    if spec.selector.is_some_and(|selector| !selector.is_empty()) {
        tracing::info!("service {NAMESPACE}/{NAME} selects pods: it is left to them");
        return Ok(());
    }
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        // As it was made when every node had a server of its own.
        let patch = Patch::Merge(json!({"spec": {"internalTrafficPolicy": "Cluster"}}));
        services
            .patch(NAME, &PatchParams::default(), &patch)
            .await?;
    }
    let address = publication.service_ip.to_string();
    if spec.cluster_ip.as_deref() != Some(address.as_str()) {
        tracing::warn!(
            has = spec.cluster_ip,
            wanted = address,
            "service {NAMESPACE}/{NAME} has another address than the one pods are told"
        );
    }
    let nodes: Api<Node> = Api::all(client.clone());
    let uid = nodes
        .get_opt(&publication.node_name)
        .await
        .ok()
        .flatten()
        .and_then(|node| node.metadata.uid);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let wanted = slice(publication, uid.as_deref());
    let name = format!("{NAME}-{}", publication.node_name);
    if slices.get_opt(&name).await?.is_some() {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        slices.patch(&name, &params, &Patch::Merge(&wanted)).await?;
    } else {
        let wanted: EndpointSlice =
            serde_json::from_value(wanted).map_err(kube::Error::SerdeError)?;
        slices.create(&PostParams::default(), &wanted).await?;
    }
    Ok(())
}

/// [`ensure_service`] until it succeeds: at the first start the namespace may come after the server.
pub(super) async fn keep_trying(client: kube::Client, publication: Publication) {
    let random = Seeded::from_system();
    let mut attempt = 0;
    while let Err(error) = ensure_service(&client, &publication).await {
        let wait = Backoff::CONNECTION.delay(attempt, &random);
        if attempt == 3 {
            tracing::warn!(%error, "cannot publish the DNS service yet");
        }
        attempt = attempt.saturating_add(1);
        tokio::time::sleep(wait).await;
    }
}
