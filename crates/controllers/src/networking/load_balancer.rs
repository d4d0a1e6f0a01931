//! Services of type LoadBalancer: a provider gives them addresses.
//!
//! [`NodeAddresses`] is the built-in provider: the addresses are those of the nodes, where the service
//! proxy answers for them. A Service that names a `loadBalancerClass` is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{
    LoadBalancerIngress, LoadBalancerStatus, Node, Service, ServiceStatus,
};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The cluster autoscaler's word that a node is about to go.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

/// Who makes load balancers.
pub(crate) trait Provider: Send + Sync + 'static {
    /// What leads to the Service, given the nodes that may take its traffic and all other Services
    /// that have a load balancer; or why nothing can.
    fn ensure(
        &self,
        service: &Service,
        nodes: &[Arc<Node>],
        others: &[Arc<Service>],
    ) -> Result<Vec<LoadBalancerIngress>, String>;
}

/// The nodes' own addresses as load balancers. A port leads to one Service only, and never to one of
/// those the nodes themselves listen on.
pub(crate) struct NodeAddresses {
    pub reserved: Vec<u16>,
}

type Port = (String, i32);

fn ports(service: &Service) -> BTreeSet<Port> {
    let spec = service.spec.as_ref();
    let ports = spec
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    ports
        .iter()
        .map(|port| {
            (
                port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port.port,
            )
        })
        .collect()
}

impl Provider for NodeAddresses {
    fn ensure(
        &self,
        service: &Service,
        nodes: &[Arc<Node>],
        others: &[Arc<Service>],
    ) -> Result<Vec<LoadBalancerIngress>, String> {
        let wanted = ports(service);
        for (protocol, port) in &wanted {
            let reserved =
                protocol == "TCP" && self.reserved.iter().any(|own| i32::from(*own) == *port);
            if reserved {
                return Err(format!("port {port}/{protocol} is the nodes' own"));
            }
        }
        for other in others.iter().filter(|other| has_ingress(other)) {
            if let Some((protocol, port)) = ports(other).intersection(&wanted).next() {
                let taken = Key::of(&**other);
                return Err(format!(
                    "port {port}/{protocol} leads to service {taken} already"
                ));
            }
        }
        let families = crate::discovery::backends::families(service);
        let mut addresses = BTreeSet::new();
        for node in nodes {
            let status = node.status.as_ref();
            let all = status
                .and_then(|status| status.addresses.as_deref())
                .unwrap_or_default();
            let of = |type_: &str| -> Vec<String> {
                let fits = all.iter().filter(|address| {
                    let family = if address.address.contains(':') {
                        "IPv6"
                    } else {
                        "IPv4"
                    };
                    address.type_ == type_ && families.contains(&family)
                });
                fits.map(|address| address.address.clone()).collect()
            };
            let external = of("ExternalIP");
            addresses.extend(if external.is_empty() {
                of("InternalIP")
            } else {
                external
            });
        }
        let ingress = |ip| LoadBalancerIngress {
            ip: Some(ip),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        };
        Ok(addresses.into_iter().map(ingress).collect())
    }
}

fn has_ingress(service: &Service) -> bool {
    let status = service.status.as_ref();
    let held = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    held.is_some_and(|ingress| !ingress.is_empty())
}

fn holds_finalizer(service: &Service) -> bool {
    service
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|name| name == FINALIZER)
}

/// Is a load balancer for it our business?
fn is_wanted(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
    }) && service.metadata.deletion_timestamp.is_none()
}

/// May the node take traffic from outside?
fn takes_traffic(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let excluded = labels.is_some_and(|labels| labels.contains_key(EXCLUDED));
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let mut taints = taints.unwrap_or_default().iter();
    let leaving = taints.any(|taint| taint.key == LEAVING);
    !excluded && !leaving && ready && node.metadata.deletion_timestamp.is_none()
}

struct Controller {
    kit: Kit,
    services: Informer<Service>,
    nodes: Informer<Node>,
    provider: Box<dyn Provider>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit, provider: Box<dyn Provider>) {
    let services = kit.informers.get::<Service>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&services).await && kit.synced(&nodes).await) {
        return;
    }
    let all = services.store().clone();
    kit.follow(&services, &queue, move |change: Change<Service>| {
        let service = change.object();
        let mut keys = Vec::new();
        if is_wanted(service) || holds_finalizer(service) {
            keys.push(Key::of(&**service));
        }
        // A port that came free may be what another waits for.
        let freed = change.is_deleted()
            || change
                .old()
                .is_some_and(|old| has_ingress(old) && !has_ingress(service));
        if freed {
            let waiting = all
                .list()
                .into_iter()
                .filter(|other| is_wanted(other) && !has_ingress(other));
            keys.extend(waiting.map(|other| Key::of(&*other)));
        }
        keys
    });
    let all = services.store().clone();
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let shown = |node: &Node| {
            let addresses = node.status.clone().unwrap_or_default().addresses;
            (takes_traffic(node), addresses)
        };
        let same = !change.is_deleted()
            && change
                .old()
                .is_some_and(|old| shown(old) == shown(change.object()));
        let concerned = all
            .list()
            .into_iter()
            .filter(|service| !same && is_wanted(service));
        concerned
            .map(|service| Key::of(&*service))
            .collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        services,
        nodes,
        provider,
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    fn tell(&self, service: &Service, kind: EventType, reason: &str, message: impl Into<String>) {
        self.kit.recorder.on(service, kind, reason, message);
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(service) = self.services.store().get_key(key) else {
            return Ok(Requeue::OnChange);
        };
        let result = if is_wanted(&service) {
            self.ensure(&service).await
        } else if holds_finalizer(&service) {
            self.remove(&service).await
        } else {
            Ok(Requeue::OnChange)
        };
        match result {
            Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
            result => result,
        }
    }

    async fn ensure(&self, service: &Service) -> Result<Requeue, Error> {
        let nodes: Vec<_> = self
            .nodes
            .store()
            .list()
            .into_iter()
            .filter(|node| takes_traffic(node))
            .collect();
        let uid = &service.metadata.uid;
        let others: Vec<_> = self
            .services
            .store()
            .list()
            .into_iter()
            .filter(|other| other.metadata.uid != *uid && is_wanted(other))
            .collect();
        let ingress = match self.provider.ensure(service, &nodes, &others) {
            Ok(ingress) => ingress,
            Err(why) => {
                let message =
                    format!("Error syncing load balancer: failed to ensure load balancer: {why}");
                self.tell(
                    service,
                    EventType::Warning,
                    "SyncLoadBalancerFailed",
                    message,
                );
                // What it had is not true any more; it is looked at again when a port comes free.
                self.write(service, Vec::new(), true).await?;
                return Ok(Requeue::OnChange);
            }
        };
        if ingress.is_empty() {
            let message = "There are no available nodes for LoadBalancer";
            self.tell(
                service,
                EventType::Warning,
                "UnAvailableLoadBalancer",
                message,
            );
        }
        let first = !has_ingress(service);
        if first && !ingress.is_empty() {
            let message = "Ensuring load balancer";
            self.tell(service, EventType::Normal, "EnsuringLoadBalancer", message);
        }
        if self.write(service, ingress, true).await? {
            let (reason, message) = match first {
                true => ("EnsuredLoadBalancer", "Ensured load balancer"),
                false => (
                    "UpdatedLoadBalancer",
                    "Updated load balancer with new hosts",
                ),
            };
            self.tell(service, EventType::Normal, reason, message);
        }
        Ok(Requeue::OnChange)
    }

    async fn remove(&self, service: &Service) -> Result<Requeue, Error> {
        let message = "Deleting load balancer";
        self.tell(service, EventType::Normal, "DeletingLoadBalancer", message);
        self.write(service, Vec::new(), false).await?;
        let message = "Deleted load balancer";
        self.tell(service, EventType::Normal, "DeletedLoadBalancer", message);
        Ok(Requeue::OnChange)
    }

    /// Writes addresses and finalizer in one go; true if the addresses changed.
    async fn write(
        &self,
        service: &Service,
        ingress: Vec<LoadBalancerIngress>,
        hold: bool,
    ) -> Result<bool, Error> {
        let Some(patch) = patch(service, ingress, hold) else {
            return Ok(false);
        };
        let key = Key::of(service);
        let api: Api<Service> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let sent = api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        sent.on("patch status of", "service", || key)?;
        Ok(!patch["status"].is_null())
    }
}

fn patch(service: &Service, ingress: Vec<LoadBalancerIngress>, hold: bool) -> Option<Value> {
    let old = service.status.clone().unwrap_or_default();
    let new = ServiceStatus {
        load_balancer: Some(LoadBalancerStatus {
            ingress: Some(ingress).filter(|ingress| !ingress.is_empty()),
        }),
        ..old.clone()
    };
    let mut patch = BTreeMap::new();
    let held = |status: &ServiceStatus| {
        let balancer = status.load_balancer.clone().unwrap_or_default();
        write::json_of(&balancer.ingress.unwrap_or_default())
    };
    if held(&old) != held(&new) {
        patch.insert(
            "status",
            json!({"loadBalancer": {"ingress": new.load_balancer.and_then(|one| one.ingress)}}),
        );
    }
    let mut meta =
        json!({"uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version});
    let changes = hold != holds_finalizer(service);
    if changes {
        let mut finalizers = service.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        if hold {
            finalizers.push(FINALIZER.to_owned());
        }
        meta["finalizers"] = json!(finalizers);
    }
    if patch.is_empty() && !changes {
        return None;
    }
    patch.insert("metadata", meta);
    Some(json!(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: i32, ingress: Option<&str>) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5", "ports": [{"port": port}]},
            "status": {"loadBalancer": {"ingress": ingress.map(|ip| vec![json!({"ip": ip})])}},
        }))
        .unwrap()
    }

    fn node(name: &str, addresses: &[(&str, &str)]) -> Arc<Node> {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(type_, address)| json!({"type": type_, "address": address}))
            .collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {
            "addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn addresses_of_nodes() {
        let provider = NodeAddresses {
            reserved: vec![6443],
        };
        let nodes = [
            node(
                "a",
                &[
                    ("InternalIP", "192.0.2.1"),
                    ("Hostname", "a"),
                    ("InternalIP", "fd00::1"),
                ],
            ),
            node(
                "b",
                &[("InternalIP", "192.0.2.2"), ("ExternalIP", "198.51.100.2")],
            ),
        ];
        let found = |service: &Service, others: &[Arc<Service>]| {
            let ingress = provider.ensure(service, &nodes, others)?;
            Ok::<_, String>(
                ingress
                    .into_iter()
                    .filter_map(|one| one.ip)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            found(&service("web", 80, None), &[]).unwrap(),
            ["192.0.2.1", "198.51.100.2"]
        );
        assert_eq!(
            found(&service("web", 6443, None), &[]).unwrap_err(),
            "port 6443/TCP is the nodes' own"
        );
        let taken = Arc::new(service("old", 80, Some("192.0.2.1")));
        assert_eq!(
            found(&service("web", 80, None), std::slice::from_ref(&taken)).unwrap_err(),
            "port 80/TCP leads to service ns/old already"
        );
        assert!(found(&service("web", 81, None), &[taken]).is_ok());
        let waiting = Arc::new(service("new", 80, None));
        assert!(
            found(&service("web", 80, None), &[waiting]).is_ok(),
            "who has it keeps it"
        );
    }

    #[test]
    fn one_write_for_addresses_and_finalizer() {
        let ingress = |ip: &str| LoadBalancerIngress {
            ip: Some(ip.to_owned()),
            ..LoadBalancerIngress::default()
        };
        let mut web = service("web", 80, None);
        let first = patch(&web, vec![ingress("192.0.2.1")], true).unwrap();
        assert_eq!(first["metadata"]["finalizers"], json!([FINALIZER]));
        assert_eq!(
            first["status"]["loadBalancer"]["ingress"][0]["ip"],
            "192.0.2.1"
        );
        web = service("web", 80, Some("192.0.2.1"));
        web.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        assert_eq!(
            patch(&web, vec![ingress("192.0.2.1")], true),
            None,
            "repeated: nothing to do"
        );
        let last = patch(&web, Vec::new(), false).unwrap();
        assert_eq!(last["metadata"]["finalizers"], json!([]));
        assert_eq!(last["status"]["loadBalancer"]["ingress"], Value::Null);
    }

    #[test]
    fn whose_business() {
        assert!(is_wanted(&service("web", 80, None)));
        let mut other = service("web", 80, None);
        other.spec.as_mut().unwrap().load_balancer_class = Some("example.com/lb".to_owned());
        assert!(!is_wanted(&other));
        let cases = [
            (json!({}), "True", "", true),
            (json!({}), "True", "node.kubernetes.io/unschedulable", true),
            (json!({EXCLUDED: ""}), "True", "", false),
            (json!({}), "False", "", false),
            (json!({}), "True", LEAVING, false),
        ];
        for (labels, ready, taint, expected) in cases {
            let taint = json!({"key": taint, "effect": "NoSchedule"});
            let node = json!({"metadata": {"labels": labels}, "spec": {"taints": [taint]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            let node = serde_json::from_value(node).unwrap();
            assert_eq!(takes_traffic(&node), expected, "{node:?}");
        }
    }
}
