//! Objects a cluster has from its first start: namespaces, the default RBAC policy, priority
//! classes, the `kubernetes` Service. Made where missing at every start, through the same create
//! and update as everybody's.

pub mod follow;
pub mod policy;

use std::sync::Arc;

use api::object::Object;
use api::strategy::Part;
use serde_json::{Value, json};

use crate::aggregation;
use crate::authentication::front_proxy;
use crate::flow;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, create, update};
use crate::server::{ApiServer, StartError};
use crate::service_addresses;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes what is missing.
pub async fn ensure(server: &Arc<ApiServer>) -> Result<(), StartError> {
    for name in NAMESPACES {
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        missing(server, ("", "v1", "namespaces"), "", name, value).await?;
    }
    // The whole policy in one go: writes that arrive together share one sync.
    let rbac = "rbac.authorization.k8s.io";
    let policy: Vec<_> = policy::objects();
    let writes = policy.into_iter().map(|object| async move {
        let path = (rbac, "v1", object.plural);
        reconcile(server, path, object.namespace, object.name, object.value).await
    });
    futures::future::try_join_all(writes).await?;
    for (name, value, description) in [
        (
            "system-node-critical",
            2_000_001_000i64,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        });
        missing(
            server,
            ("scheduling.k8s.io", "v1", "priorityclasses"),
            "",
            name,
            class,
        )
        .await?;
    }
    let authentication = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": server.config.client_ca,
            "requestheader-allowed-names": format!("[{:?}]", front_proxy::ALLOWED),
            "requestheader-client-ca-file": server.config.front_proxy.as_ref().map_or("", |f| &f.ca),
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        },
    });
    let name = "extension-apiserver-authentication";
    ensure_same(
        server,
        ("", "v1", "configmaps"),
        "kube-system",
        name,
        authentication,
        &["data"],
    )
    .await?;
    flow::objects::ensure(server).await?;
    aggregation::registration::ensure(server).await?;
    service_network(server).await?;
    service_addresses::repair(server).await?;
    kubernetes_service(server).await
}

/// The ServiceCIDR that Services have addresses from unless others are added: the network the server
/// was configured with. One that exists is left as it is, as upstream does.
async fn service_network(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let path = ("networking.k8s.io", "v1", "servicecidrs");
    let name = "kubernetes";
    let network = server.addresses.network().to_string();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": name}, "spec": {"cidrs": [network]},
    });
    missing(server, path, "", name, object).await?;
    let Some(live) = server.objects.value(path.0, path.2, "", name) else {
        return Ok(());
    };
    if live.texts("spec.cidrs").next() != Some(&network) {
        tracing::warn!(
            configured = network,
            "the default ServiceCIDR has another network"
        );
        return Ok(());
    }
    if api::meta::condition(&live, "Ready").is_some() || api::meta::is_terminating(&live) {
        return Ok(());
    }
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": api::clock::rfc3339(server.clock.now()),
    });
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(move |live| {
            let mut object = live.cloned().unwrap_or_default();
            object.set("status.conditions", json!([condition]));
            Ok(object)
        }),
    };
    update(&call(server, path, "")?, name, change, &options())
        .await
        .map(|_| ())
        .map_err(|status| StartError::Bootstrap {
            what: format!("status of {} {name}", path.2),
            reason: status.message,
        })
}

pub(crate) type Path<'a> = (&'a str, &'a str, &'a str);

fn options() -> WriteOptions {
    WriteOptions {
        field_manager: "corten-apiserver".to_owned(),
        ..WriteOptions::default()
    }
}

fn call(server: &Arc<ApiServer>, path: Path<'_>, namespace: &str) -> Result<Call, StartError> {
    let endpoint = server
        .endpoints
        .get(path.0, path.1, path.2)
        .ok_or_else(|| StartError::Bootstrap {
            what: path.2.to_owned(),
            reason: "it is not served".to_owned(),
        })?;
    Ok(Call::internal(server, endpoint, namespace))
}

/// Creates the object where there is none of its name.
pub(crate) async fn missing(
    server: &Arc<ApiServer>,
    path: Path<'_>,
    namespace: &str,
    name: &str,
    value: Value,
) -> Result<(), StartError> {
    if server
        .objects
        .entry(path.0, path.2, namespace, name)
        .is_some()
    {
        return Ok(());
    }
    let call = call(server, path, namespace)?;
    match create(&call, value, &options()).await {
        Ok(_) => Ok(()),
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        Err(status) => Err(StartError::Bootstrap {
            what: format!("{} {name}", path.2),
            reason: status.message,
        }),
    }
}

/// `missing`; an object that is there is given these fields where they differ.
pub(crate) async fn ensure_same(
    server: &Arc<ApiServer>,
    path: Path<'_>,
    namespace: &str,
    name: &str,
    value: Value,
    fields: &[&str],
) -> Result<(), StartError> {
    let Some(live) = server.objects.value(path.0, path.2, namespace, name) else {
        return missing(server, path, namespace, name, value).await;
    };
    if fields.iter().all(|field| live.at(field) == value.at(field)) {
        return Ok(());
    }
    let call = call(server, path, namespace)?;
    let change = Change {
        part: Part::Main,
        subresource: "",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let mut object = live.cloned().unwrap_or_else(|| value.clone());
            fields
                .iter()
                .for_each(|field| object.restore(field, &value));
            Ok(object)
        }),
    };
    update(&call, name, change, &options())
        .await
        .map(|_| ())
        .map_err(|status| StartError::Bootstrap {
            what: format!("{} {name}", path.2),
            reason: status.message,
        })
}

/// A role or binding of the default policy: made where missing; one that is marked for automatic
/// update gets back the rules and subjects it lacks, and keeps what was added to it.
async fn reconcile(
    server: &Arc<ApiServer>,
    path: Path<'_>,
    namespace: &str,
    name: &str,
    value: Value,
) -> Result<(), StartError> {
    let Some(live) = server.objects.value(path.0, path.2, namespace, name) else {
        return missing(server, path, namespace, name, value).await;
    };
    let auto = "rbac.authorization.kubernetes.io/autoupdate";
    if api::meta::annotation(&live, auto) == Some("false") || value.has("aggregationRule") {
        return Ok(());
    }
    let field = if value.has("rules") {
        "rules"
    } else {
        "subjects"
    };
    let mut merged = live.list(field).to_vec();
    for item in value.list(field) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    if merged.len() == live.list(field).len() {
        return Ok(());
    }
    let mut whole = Value::clone(&live);
    whole.set(field, merged);
    ensure_same(server, path, namespace, name, whole, &[field]).await
}

/// The Service by which pods reach this server, and its endpoints.
async fn kubernetes_service(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let config = &server.config;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": server.addresses.first().to_string(),
            "sessionAffinity": "None",
            "ports": [{
                "name": "https", "protocol": "TCP", "port": 443, "targetPort": config.advertise_port,
            }],
        },
    });
    missing(
        server,
        ("", "v1", "services"),
        "default",
        "kubernetes",
        service,
    )
    .await?;
    if config.advertise_address.is_loopback() || config.advertise_address.is_unspecified() {
        // Endpoints of such addresses are refused, and would lead pods to themselves.
        tracing::warn!(address = %config.advertise_address, "pods cannot reach the API server: it is not advertised under an address of the network");
        return Ok(());
    }
    let address = config.advertise_address.to_string();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": config.advertise_port, "protocol": "TCP"}],
        }],
    });
    let path = ("", "v1", "endpoints");
    ensure_same(
        server,
        path,
        "default",
        "kubernetes",
        endpoints,
        &["subsets"],
    )
    .await?;
    let family = if config.advertise_address.is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": config.advertise_port, "protocol": "TCP"}],
    });
    let path = ("discovery.k8s.io", "v1", "endpointslices");
    ensure_same(
        server,
        path,
        "default",
        "kubernetes",
        slice,
        &["endpoints", "ports"],
    )
    .await
}
