//! EndpointSlices of Endpoints that somebody wrote by hand for a Service without selector, so that
//! whoever reads slices only sees these endpoints too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use kube::Api;

use super::backends::Port;
use super::packing::{self, Action, Binding, Group};
use super::{Slices, slice_label};
use crate::error::Error;
use crate::expectations::Expectations;
use crate::kit::Kit;
use crate::owner::controller_ref;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are nothing but a lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that tell of the Endpoints' own writes.
const OWN_ANNOTATIONS: [&str; 2] = [
    super::trigger::ANNOTATION,
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// Addresses of one subset that are mirrored; the rest is left out, and an event says so.
const LIMIT: usize = 1_000;

struct Controller {
    kit: Kit,
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    expectations: Expectations,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let endpoints = kit.informers.get::<Endpoints>(Scope::All);
    let services = kit.informers.get::<Service>(Scope::All);
    let slices = kit.informers.get::<EndpointSlice>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&endpoints).await && kit.synced(&services).await && kit.synced(&slices).await) {
        return;
    }
    kit.follow_own(&endpoints, &queue);
    kit.follow(&services, &queue, |change: Change<Service>| {
        // Only whether the Service has a selector counts.
        let has = |service: &Service| {
            service
                .spec
                .as_ref()
                .is_some_and(|spec| spec.selector.is_some())
        };
        let same = change
            .old()
            .is_some_and(|old| has(old) == has(change.object()));
        (!same).then(|| Key::of(&**change.object()))
    });
    kit.follow(&slices, &queue, |change: Change<EndpointSlice>| {
        super::services_of_slice(&change, MANAGER)
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        endpoints,
        services,
        slices,
        expectations: Expectations::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let now = self.kit.now();
        if let Some(wait) = self.expectations.outstanding(key, self.slices.store(), now) {
            return Ok(Requeue::After(wait));
        }
        let existing: Vec<_> = self
            .slices
            .store()
            .list_in(&key.namespace)
            .into_iter()
            .filter(|slice| {
                slice_label(slice, MANAGER) == Some(&key.name)
                    && slice.metadata.deletion_timestamp.is_none()
            })
            .collect();
        let service = self.services.store().get_key(key);
        let endpoints =
            self.endpoints.store().get_key(key).filter(|endpoints| {
                service.is_some_and(|service| is_mirrored(endpoints, &service))
            });
        let actions = match &endpoints {
            None => existing.into_iter().map(Action::Delete).collect(),
            Some(endpoints) => {
                let (wanted, left_out) = wanted(endpoints);
                self.report(endpoints, &left_out);
                packing::pack(&binding(endpoints), &existing, wanted)
            }
        };
        let api: Api<EndpointSlice> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let writer = Slices {
            api,
            key,
            expectations: &self.expectations,
            now,
            trigger: None,
        };
        for action in actions {
            match writer.execute(action).await {
                Err(error) if error.is_namespace_terminating() => break,
                result => result?,
            }
        }
        Ok(Requeue::OnChange)
    }

    fn report(&self, endpoints: &Endpoints, left_out: &LeftOut) {
        if left_out.invalid > 0 {
            let message = format!(
                "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                left_out.invalid
            );
            self.kit
                .recorder
                .on(endpoints, EventType::Warning, "InvalidIPAddress", message);
        }
        if left_out.too_many > 0 {
            let message = format!(
                "A max of {LIMIT} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                left_out.too_many + left_out.invalid
            );
            self.kit.recorder.on(
                endpoints,
                EventType::Warning,
                "TooManyAddressesToMirror",
                message,
            );
        }
    }
}

fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SKIP))
        .is_some_and(|value| value == "true");
    let lock = meta
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(LEADER));
    let selects = service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.selector.is_some());
    !skipped && !lock && !selects && meta.deletion_timestamp.is_none()
}

fn binding(endpoints: &Endpoints) -> Binding {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(super::SERVICE_LABEL.to_owned(), name.clone());
    labels.insert(super::MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !OWN_ANNOTATIONS.contains(&name.as_str()));
    Binding {
        owner: controller_ref(endpoints),
        namespace: meta.namespace.clone(),
        name,
        labels,
        annotations: Some(annotations),
        limit: LIMIT,
        keep_empty: false,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct LeftOut {
    invalid: usize,
    too_many: usize,
}

/// The endpoints of all subsets, and how many could not be taken.
fn wanted(endpoints: &Endpoints) -> (BTreeMap<Group, Vec<Endpoint>>, LeftOut) {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let mut left_out = LeftOut::default();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let ready = subset.addresses.iter().flatten().map(|one| (one, true));
        let waiting = subset.not_ready_addresses.iter().flatten();
        let mut taken = 0;
        for (address, ready) in ready.chain(waiting.map(|one| (one, false))) {
            if taken >= LIMIT {
                left_out.too_many += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                left_out.invalid += 1;
                continue;
            };
            taken += 1;
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            wanted
                .entry((family, ports.clone()))
                .or_default()
                .push(endpoint(address, ip, ready));
        }
    }
    (wanted, left_out)
}

fn ports(subset: &EndpointSubset) -> Vec<Port> {
    let mut ports: Vec<_> = subset
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(extra: serde_json::Value) -> Endpoints {
        let mut value = json!({"metadata": {"name": "db", "namespace": "ns", "uid": "u",
            "labels": {"team": "a"}, "annotations": {
                "note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "subsets": [{
            "addresses": [{"ip": "10.0.0.1", "hostname": "a"}, {"ip": "fd00::1"}, {"ip": "nowhere"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"name": "sql", "port": 5432}],
        }]});
        for (name, part) in extra.as_object().unwrap() {
            value[name] = part.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_slice_for_each_family_and_set_of_ports() {
        let object = endpoints(json!({}));
        let (wanted, left_out) = wanted(&object);
        assert_eq!((left_out.invalid, left_out.too_many), (1, 0));
        let actions = packing::pack(&binding(&object), &[], wanted);
        let mut slices = Vec::new();
        for action in actions {
            let Action::Create(slice) = action else {
                panic!("{action:?}")
            };
            slices.push(Arc::new(*slice));
        }
        let families: Vec<_> = slices
            .iter()
            .map(|slice| {
                (
                    slice.address_type.as_str(),
                    slice.endpoints.as_ref().unwrap().len(),
                )
            })
            .collect();
        assert_eq!(families, [("IPv4", 2), ("IPv6", 1)]);
        let meta = &slices[0].metadata;
        assert_eq!(meta.labels.as_ref().unwrap()["team"], "a");
        assert_eq!(
            meta.labels.as_ref().unwrap()[super::super::SERVICE_LABEL],
            "db"
        );
        assert_eq!(
            meta.annotations
                .as_ref()
                .unwrap()
                .keys()
                .collect::<Vec<_>>(),
            ["note"]
        );
        assert_eq!(meta.owner_references.as_ref().unwrap()[0].kind, "Endpoints");
        let ready: Vec<_> = slices[0]
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| endpoint.conditions.as_ref().unwrap().ready.unwrap())
            .collect();
        assert_eq!(ready, [true, false]);

        let (again, _) = super::wanted(&object);
        assert!(
            packing::pack(&binding(&object), &slices, again).is_empty(),
            "repeated: nothing to do"
        );
        let gone = packing::pack(&binding(&object), &slices, BTreeMap::new());
        assert_eq!(gone.len(), 2, "without addresses no slice stays: {gone:?}");
        assert!(
            gone.iter()
                .all(|action| matches!(action, Action::Delete(_)))
        );
    }

    #[test]
    fn what_is_not_mirrored() {
        let service =
            |spec| -> Service { serde_json::from_value(json!({ "spec": spec })).unwrap() };
        let plain = service(json!({}));
        assert!(is_mirrored(&endpoints(json!({})), &plain));
        let selecting = service(json!({"selector": {"app": "db"}}));
        assert!(!is_mirrored(&endpoints(json!({})), &selecting));
        for meta in [
            json!({"labels": {SKIP: "true"}}),
            json!({"annotations": {LEADER: "{}"}}),
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        ] {
            let object = endpoints(json!({ "metadata": meta }));
            assert!(!is_mirrored(&object, &plain), "{object:?}");
        }
    }

    #[test]
    fn a_thousand_addresses_at_most() {
        let many: Vec<_> = (0..1_010)
            .map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)}))
            .collect();
        let object = endpoints(json!({"subsets": [{"addresses": many}]}));
        let (wanted, left_out) = wanted(&object);
        assert_eq!(wanted.values().map(Vec::len).sum::<usize>(), LIMIT);
        assert_eq!(left_out.too_many, 10);
    }
}
