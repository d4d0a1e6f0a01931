//! Endpoints, the one-object form of what EndpointSlices hold, for those who still read it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use serde_json::json;

use super::backends::{self, Port};
use super::trigger::{self, Triggers};
use crate::error::{Error, On};
use crate::kit::{GATHER, Kit};
use crate::{discovery, write};

/// One object holds no more than this; the rest is cut off and the annotation says so.
const CAPACITY: usize = 1_000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

struct Controller {
    kit: Kit,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    /// Services seen to go: their endpoints go with them, whoever wrote these.
    gone: Gone,
    triggers: Triggers,
}

type Gone = Arc<Mutex<HashSet<Key>>>;

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let services = kit.informers.get::<Service>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let endpoints = kit.informers.get::<Endpoints>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&services).await && kit.synced(&pods).await && kit.synced(&endpoints).await) {
        return;
    }
    kit.follow_own(&services, &queue);
    let gone = Gone::default();
    let going = gone.clone();
    kit.follow(&services, &queue, move |change: Change<Service>| {
        let key = Key::of(&**change.object());
        let mut going = going.lock();
        if change.is_deleted() {
            going.insert(key.clone());
            return Some(key);
        }
        going.remove(&key);
        None
    });
    kit.follow(&endpoints, &queue, |change: Change<Endpoints>| {
        [Key::of(&**change.object())]
    });
    let chosen = services.store().clone();
    kit.follow_within(GATHER, &pods, &queue, move |change| {
        discovery::services_of(&change, &chosen)
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        services,
        pods,
        endpoints,
        gone,
        triggers: Triggers::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let api: Api<Endpoints> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let current = self.endpoints.store().get_key(key);
        let Some(service) = self.services.store().get_key(key) else {
            // Those of other makers (leases in Endpoints, say) may never have had a Service.
            let ours = |endpoints: &Endpoints| {
                let labels = endpoints.metadata.labels.as_ref();
                labels
                    .and_then(|labels| labels.get(MANAGED_BY))
                    .is_some_and(|by| by == MANAGER)
            };
            let orphaned = self.gone.lock().contains(key);
            if let Some(current) = current.filter(|current| orphaned || ours(current)) {
                write::delete(&api, &*current, None, None).await?;
            }
            self.gone.lock().remove(key);
            self.triggers.forget(key);
            return Ok(Requeue::OnChange);
        };
        let has_selector = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.selector.is_some());
        if !has_selector || backends::is_external_name(&service) {
            return Ok(Requeue::OnChange);
        }
        let pods: Vec<_> = self
            .pods
            .store()
            .list_in(&key.namespace)
            .into_iter()
            .filter(|pod| discovery::chooses(&service, pod.metadata.labels.as_ref()))
            .collect();
        let mut wanted = wanted(&service, &pods);
        let trigger = self.triggers.look(key, &service, &pods);
        if current.is_none() {
            trigger::note(&mut wanted.metadata, trigger);
        }
        let result = match &current {
            None => api
                .create(&PostParams::default(), &wanted)
                .await
                .map(drop)
                .on("create", "endpoints", || key.clone()),
            Some(current) => match change(current, &wanted) {
                Some(mut patch) => {
                    trigger::note_in(&mut patch, &current.metadata, trigger);
                    write::merge(&api, &**current, patch).await.map(drop)
                }
                None => Ok(()),
            },
        };
        match result {
            // The cache had not seen it yet; its change brings the key back.
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {
                Ok(Requeue::OnChange)
            }
            Err(error) => {
                if !error.is_conflict() {
                    let (reason, verb) = match current {
                        None => ("FailedToCreateEndpoint", "create endpoint for service"),
                        Some(_) => ("FailedToUpdateEndpoint", "update endpoint"),
                    };
                    let message = format!("Failed to {verb} {key}: {}", error.api_message());
                    self.kit
                        .recorder
                        .on(&wanted, EventType::Warning, reason, message);
                }
                Err(error)
            }
            Ok(()) => Ok(Requeue::OnChange),
        }
    }
}

fn wanted(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let family = backends::families(service)
        .first()
        .copied()
        .unwrap_or("IPv4");
    let publish = backends::publishes_not_ready(service);
    let mut groups: BTreeMap<Vec<Port>, EndpointSubset> = BTreeMap::new();
    let portless = service
        .spec
        .as_ref()
        .is_none_or(|spec| spec.ports.as_ref().is_none_or(Vec::is_empty));
    let may_lack_ports = portless && backends::is_headless(service);
    for pod in pods
        .iter()
        .filter(|pod| backends::is_candidate(pod, publish))
    {
        let Some(ip) = backends::address(pod, family) else {
            continue;
        };
        let ports = backends::ports(pod, service);
        if ports.is_empty() && !may_lack_ports {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(backends::target(pod)),
            hostname: backends::hostname(pod, service),
        };
        let subset = groups.entry(ports).or_default();
        if publish || crate::pods::is_ready(pod) {
            subset.addresses.get_or_insert_default().push(address);
        } else {
            subset
                .not_ready_addresses
                .get_or_insert_default()
                .push(address);
        }
    }
    for subset in groups.values_mut() {
        for addresses in [&mut subset.addresses, &mut subset.not_ready_addresses]
            .into_iter()
            .flatten()
        {
            addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        }
    }
    let truncated = truncate(groups.values_mut().collect());
    let subsets: Vec<_> = groups
        .into_iter()
        .map(|(ports, subset)| {
            let ports: Vec<_> = ports
                .into_iter()
                .map(|port| EndpointPort {
                    name: port.name,
                    port: port.port,
                    protocol: Some(port.protocol),
                    app_protocol: port.app_protocol,
                })
                .collect();
            EndpointSubset {
                ports: Some(ports).filter(|ports| !ports.is_empty()),
                ..subset
            }
        })
        .collect();
    let mut labels = discovery::inherited_labels(service, &[MANAGED_BY]);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let over = truncated.then(|| (OVER_CAPACITY.to_owned(), "truncated".to_owned()));
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: over.map(|over| [over].into()),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

/// Cuts what is beyond the capacity, from each subset its part, and says whether that was so. Ready
/// addresses are cut only if there are too many of them alone.
fn truncate(mut subsets: Vec<&mut EndpointSubset>) -> bool {
    let count = |addresses: &Option<Vec<EndpointAddress>>| addresses.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|one| count(&one.addresses)).sum();
    let waiting: usize = subsets
        .iter()
        .map(|one| count(&one.not_ready_addresses))
        .sum();
    if ready + waiting <= CAPACITY {
        return false;
    }
    let cuts_ready = ready > CAPACITY;
    let (room, total) = match cuts_ready {
        true => (CAPACITY, ready),
        false => (CAPACITY - ready, waiting),
    };
    let mut left = room;
    for subset in &mut subsets {
        if cuts_ready {
            subset.not_ready_addresses = None;
        }
        let cut = match cuts_ready {
            true => &mut subset.addresses,
            false => &mut subset.not_ready_addresses,
        };
        let share = (count(cut) * room).div_ceil(total).min(left);
        if let Some(addresses) = cut {
            addresses.truncate(share);
        }
        left -= count(cut);
        *cut = cut.take().filter(|addresses| !addresses.is_empty());
    }
    true
}

/// The patch from what is there to what should be.
fn change(current: &Endpoints, wanted: &Endpoints) -> Option<serde_json::Value> {
    let mut patch = json!({});
    if current.subsets.as_deref().unwrap_or_default()
        != wanted.subsets.as_deref().unwrap_or_default()
    {
        patch["subsets"] = write::json_of(&wanted.subsets);
    }
    let labels = |endpoints: &Endpoints| {
        write::json_of(&endpoints.metadata.labels.clone().unwrap_or_default())
    };
    if let Some(change) = write::difference(&labels(current), &labels(wanted)) {
        patch["metadata"]["labels"] = change;
    }
    let over = |endpoints: &Endpoints| {
        endpoints
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(OVER_CAPACITY))
            .cloned()
    };
    if over(current) != over(wanted) {
        patch["metadata"]["annotations"] = json!({ OVER_CAPACITY: over(wanted) });
    }
    (patch != json!({})).then_some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    #[test]
    fn ready_and_unready_addresses() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.7", "selector": {"app": "web"}, "ports": [{"port": 80}]},
        }))
        .unwrap();
        let some = pods([
            "b Running ready ip=10.0.0.2",
            "a Running ready ip=10.0.0.1",
            "c Running ip=10.0.0.3",
            "d Running ready deleting ip=10.0.0.4",
            "e Failed ip=10.0.0.5",
        ]);
        let endpoints = wanted(&service, &some);
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        let ips = |addresses: &Option<Vec<EndpointAddress>>| {
            addresses
                .iter()
                .flatten()
                .map(|address| address.ip.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ips(&subset.addresses), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.0.0.3"]);
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 80);
        assert!(change(&endpoints, &endpoints).is_none());
        let empty = wanted(&service, &[]);
        assert_eq!(
            change(&endpoints, &empty).unwrap(),
            json!({"subsets": null})
        );
    }

    #[test]
    fn ready_addresses_are_cut_last() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.7", "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": "http"}]},
        }))
        .unwrap();
        // Two sets of ports, so two subsets: of so many ready and waiting addresses each.
        let many = |ready: usize, waiting: usize| -> Vec<Arc<Pod>> {
            (0..2 * (ready + waiting))
                .map(|n| {
                    let state = if n < 2 * waiting { "" } else { "ready" };
                    let text = format!("p{n} Running {state} ip=10.0.{}.{}", n / 250, n % 250);
                    let mut pod = crate::testing::pod(&text);
                    let ports =
                        json!([{"name": "http", "containerPort": 8080 + n % 2, "protocol": "TCP"}]);
                    let container = &mut pod.spec.as_mut().unwrap().containers[0];
                    container.ports = serde_json::from_value(ports).unwrap();
                    Arc::new(pod)
                })
                .collect()
        };
        let cases = [
            ((300, 200), vec![(300, 200), (300, 200)], false),
            ((400, 200), vec![(400, 100), (400, 100)], true),
            ((500, 1), vec![(500, 0), (500, 0)], true),
            ((600, 300), vec![(500, 0), (500, 0)], true),
        ];
        for ((ready, waiting), expected, truncated) in cases {
            let endpoints = wanted(&service, &many(ready, waiting));
            let count =
                |addresses: Option<Vec<EndpointAddress>>| addresses.map_or(0, |all| all.len());
            let sizes: Vec<_> = endpoints
                .subsets
                .unwrap()
                .into_iter()
                .map(|one| (count(one.addresses), count(one.not_ready_addresses)))
                .collect();
            assert_eq!(sizes, expected, "{ready} {waiting}");
            assert_eq!(endpoints.metadata.annotations.is_some(), truncated);
        }
    }

    #[test]
    fn a_headless_service_may_lack_ports_but_not_miss_them() {
        let some = pods(["a Running ready ip=10.0.0.1"]);
        for (ports, expected) in [
            (json!([]), 1),
            (json!([{"port": 80, "targetPort": "http"}]), 0),
        ] {
            let service = json!({"metadata": {"name": "web"},
                "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": ports}});
            let endpoints = wanted(&serde_json::from_value(service).unwrap(), &some);
            assert_eq!(
                endpoints.subsets.map_or(0, |all| all.len()),
                expected,
                "{ports}"
            );
        }
    }
}
