//! Which slices to create, change and delete so that together they hold a Service's endpoints, with
//! as few writes as that takes.
//!
//! Endpoints with the same address type and ports share slices of up to [`SLICE_LIMIT`]. An endpoint
//! stays in the slice it is in. New ones go into slices that are written anyway, then into the
//! fullest slice that takes all that are left, then into new slices. An address type without any
//! endpoint keeps one empty slice, so that watchers can tell "none" from "not yet".

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::discovery::backends::{self, Port};
use crate::discovery::inherited_labels;
use crate::owner::controller_ref;
use crate::write;

/// Endpoints per slice.
pub(super) const SLICE_LIMIT: usize = 100;
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// One write.
#[derive(Debug)]
pub(super) enum Action {
    Create(Box<EndpointSlice>),
    Update(Arc<EndpointSlice>, Value),
    Delete(Arc<EndpointSlice>),
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice
        .metadata
        .labels
        .as_ref()?
        .get(name)
        .map(String::as_str)
}

/// Is the slice this controller's?
pub(super) fn is_managed(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(MANAGER)
}

/// The Service whose slice this is, if it is this controller's.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = label(slice, SERVICE_LABEL).filter(|_| is_managed(slice))?;
    Some(Key::new(slice.metadata.namespace.as_deref()?, name))
}

type Group = (&'static str, Vec<Port>);

struct Page {
    slice: Option<Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans the writes. `zone` answers a node's zone.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    zone: impl Fn(&str) -> Option<String>,
) -> Vec<Action> {
    let labels = labels(service);
    let mut wanted = wanted(service, pods, zone);
    let mut actions = Vec::new();
    let mut groups: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        match group_of(slice).filter(|group| wanted.contains_key(group)) {
            Some(group) => groups.entry(group).or_default().push(slice.clone()),
            None => actions.push(Action::Delete(slice.clone())),
        }
    }
    for (group, endpoints) in std::mem::take(&mut wanted) {
        let pages = fill(groups.remove(&group).unwrap_or_default(), endpoints);
        let empty = pages.iter().all(|page| page.endpoints.is_empty());
        for (at, page) in pages.into_iter().enumerate() {
            // The first stays as the sign that there are none.
            let needless = page.endpoints.is_empty() && !(empty && at == 0);
            actions.extend(match page.slice {
                Some(slice) if needless => Some(Action::Delete(slice)),
                None if needless => None,
                Some(slice) => {
                    let changed = page.changed.then_some(page.endpoints);
                    update(&slice, changed, &labels).map(|patch| Action::Update(slice, patch))
                }
                None => Some(Action::Create(Box::new(new_slice(
                    service,
                    &group,
                    page.endpoints,
                    &labels,
                )))),
            });
        }
    }
    // Creates and updates first, so that no endpoint is missing in between.
    actions.sort_by_key(|action| matches!(action, Action::Delete(_)));
    actions
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = inherited_labels(service, &[SERVICE_LABEL, MANAGED_BY]);
    labels.insert(
        SERVICE_LABEL.to_owned(),
        service.metadata.name.clone().unwrap_or_default(),
    );
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// The endpoints there should be. Every family has at least one group.
fn wanted(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in backends::families(service) {
        let before = wanted.len();
        for pod in pods.iter().filter(|pod| backends::is_candidate(pod, true)) {
            let Some(address) = backends::address(pod, family) else {
                continue;
            };
            let ports = backends::ports(pod, service);
            wanted
                .entry((family, ports))
                .or_default()
                .push(endpoint(service, pod, address, &zone));
        }
        if wanted.len() == before {
            wanted.insert((family, Vec::new()), Vec::new());
        }
    }
    wanted
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: &str,
    zone: &impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let serving = crate::pods::is_ready(pod);
    let terminating = crate::pods::is_terminating(pod);
    let ready = backends::publishes_not_ready(service) || (serving && !terminating);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backends::hostname(pod, service),
        zone: node.as_deref().and_then(zone),
        node_name: node,
        target_ref: Some(backends::target(pod)),
        ..Endpoint::default()
    }
}

fn group_of(slice: &EndpointSlice) -> Option<Group> {
    let family = match slice.address_type.as_str() {
        "IPv4" => "IPv4",
        "IPv6" => "IPv6",
        _ => return None,
    };
    let mut ports: Vec<_> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port.unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    Some((family, ports))
}

/// Spreads the endpoints of one group over its slices and new ones.
fn fill(slices: Vec<Arc<EndpointSlice>>, endpoints: Vec<Endpoint>) -> Vec<Page> {
    let identity = |endpoint: &Endpoint| {
        let uid = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.uid.clone());
        (uid, endpoint.addresses.clone())
    };
    let mut missing: BTreeMap<_, _> = endpoints
        .into_iter()
        .map(|endpoint| (identity(&endpoint), endpoint))
        .collect();
    let mut pages = Vec::new();
    for slice in slices {
        let held = slice.endpoints.clone().unwrap_or_default();
        let kept: Vec<_> = held
            .iter()
            .filter_map(|endpoint| missing.remove(&identity(endpoint)))
            .collect();
        let changed = kept != held;
        pages.push(Page {
            slice: Some(slice),
            endpoints: kept,
            changed,
        });
    }
    let mut rest: Vec<_> = missing.into_values().collect();
    let place = |page: &mut Page, rest: &mut Vec<Endpoint>| {
        let room = SLICE_LIMIT.saturating_sub(page.endpoints.len());
        page.endpoints.extend(rest.drain(..room.min(rest.len())));
        page.changed = true;
    };
    for page in pages.iter_mut().filter(|page| page.changed) {
        if !rest.is_empty() {
            place(page, &mut rest);
        }
    }
    if !rest.is_empty() {
        let roomy = pages
            .iter_mut()
            .filter(|page| !page.changed && page.endpoints.len() + rest.len() <= SLICE_LIMIT)
            .max_by_key(|page| page.endpoints.len());
        if let Some(page) = roomy {
            place(page, &mut rest);
        }
    }
    while !rest.is_empty() || pages.is_empty() {
        let mut page = Page {
            slice: None,
            endpoints: Vec::new(),
            changed: true,
        };
        place(&mut page, &mut rest);
        pages.push(page);
    }
    pages
}

fn update(
    slice: &EndpointSlice,
    endpoints: Option<Vec<Endpoint>>,
    labels: &BTreeMap<String, String>,
) -> Option<Value> {
    let mut patch = json!({});
    if let Some(endpoints) = endpoints {
        patch["endpoints"] = write::json_of(&endpoints);
    }
    let old = write::json_of(slice.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()));
    if let Some(change) = write::difference(&old, &write::json_of(labels)) {
        patch["metadata"] = json!({ "labels": change });
    }
    (patch != json!({})).then_some(patch)
}

fn new_slice(
    service: &Service,
    (family, ports): &Group,
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let ports: Vec<_> = ports
        .iter()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: (*family).to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "a"}},
            "spec": spec,
        }))
        .unwrap()
    }

    fn plain() -> Service {
        service(json!({"clusterIP": "10.96.0.7", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}))
    }

    fn some_pods(range: std::ops::Range<usize>) -> Vec<Arc<Pod>> {
        range
            .map(|n| {
                Arc::new(pod(&format!(
                    "p{n} Running ready ip=10.0.{}.{} node=n",
                    n / 250,
                    n % 250
                )))
            })
            .collect()
    }

    /// Applies a plan, counting creates, updates and deletes.
    fn apply(slices: &mut Vec<Arc<EndpointSlice>>, actions: Vec<Action>) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for action in actions {
            match action {
                Action::Create(mut slice) => {
                    counts.0 += 1;
                    slice.metadata.uid = Some(format!("slice{}", slices.len() + 100));
                    slices.push(Arc::new(*slice));
                }
                Action::Update(slice, patch) => {
                    counts.1 += 1;
                    let found = slices
                        .iter_mut()
                        .find(|other| other.metadata.uid == slice.metadata.uid)
                        .unwrap();
                    if !patch["endpoints"].is_null() {
                        Arc::make_mut(found).endpoints =
                            Some(serde_json::from_value(patch["endpoints"].clone()).unwrap());
                    }
                }
                Action::Delete(slice) => {
                    counts.2 += 1;
                    slices.retain(|other| other.metadata.uid != slice.metadata.uid);
                }
            }
        }
        counts
    }

    fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
        slices
            .iter()
            .map(|slice| slice.endpoints.as_ref().unwrap().len())
            .collect()
    }

    #[test]
    fn slices_hold_a_hundred_and_change_as_little_as_possible() {
        let service = plain();
        let none = |_: &str| None;
        let mut slices = Vec::new();
        let mut pods = some_pods(0..250);
        let actions = plan(&service, &pods, &slices, none);
        assert_eq!(apply(&mut slices, actions), (3, 0, 0));
        assert_eq!(sizes(&slices), [100, 100, 50]);
        assert!(
            plan(&service, &pods, &slices, none).is_empty(),
            "repeated: nothing to do"
        );
        pods.extend(some_pods(250..260));
        let actions = plan(&service, &pods, &slices, none);
        assert_eq!(apply(&mut slices, actions), (0, 1, 0));
        assert_eq!(sizes(&slices), [100, 100, 60]);
        pods.remove(0);
        pods.push(Arc::new(pod("new Running ready ip=10.9.9.9 node=n")));
        let actions = plan(&service, &pods, &slices, none);
        assert_eq!(
            apply(&mut slices, actions),
            (0, 1, 0),
            "the new one takes the old one's place"
        );
        pods.clear();
        let actions = plan(&service, &pods, &slices, none);
        let (created, _, _) = apply(&mut slices, actions);
        assert_eq!(created, 1, "one empty slice without ports");
        assert_eq!(sizes(&slices), [0]);
        assert!(plan(&service, &pods, &slices, none).is_empty());
    }

    #[test]
    fn conditions_follow_the_pod() {
        let cases = [
            (
                "a Running ready ip=10.0.0.1",
                false,
                Some((true, true, false)),
            ),
            ("a Running ip=10.0.0.1", false, Some((false, false, false))),
            ("a Running ip=10.0.0.1", true, Some((true, false, false))),
            (
                "a Running ready deleting ip=10.0.0.1",
                false,
                Some((false, true, true)),
            ),
            ("a Succeeded ip=10.0.0.1", false, None),
            ("a Running ready", false, None),
        ];
        for (text, publish, expected) in cases {
            let mut service = plain();
            service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(publish);
            let actions = plan(&service, &[Arc::new(pod(text))], &[], |_| None);
            let Action::Create(slice) = &actions[0] else {
                panic!("{actions:?}")
            };
            let found = slice.endpoints.as_ref().unwrap().first().map(|endpoint| {
                let conditions = endpoint.conditions.clone().unwrap();
                (
                    conditions.ready.unwrap(),
                    conditions.serving.unwrap(),
                    conditions.terminating.unwrap(),
                )
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn headless_and_named_ports() {
        let headless = service(json!({"clusterIP": "None", "selector": {"app": "web"}}));
        let actions = plan(&headless, &some_pods(0..1), &[], |_| Some("z1".into()));
        let Action::Create(slice) = &actions[0] else {
            panic!()
        };
        assert_eq!(
            slice.metadata.labels.as_ref().unwrap()["service.kubernetes.io/headless"],
            ""
        );
        assert_eq!(slice.metadata.labels.as_ref().unwrap()["team"], "a");
        assert!(slice.ports.as_ref().unwrap().is_empty());
        assert_eq!(
            slice.endpoints.as_ref().unwrap()[0].zone.as_deref(),
            Some("z1")
        );

        let named = service(json!({"clusterIP": "10.96.0.7", "selector": {"app": "web"},
            "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}));
        let mut pods = some_pods(0..3);
        for (at, port) in [(0, 8080), (1, 9090)] {
            let ports = json!([{"name": "http", "containerPort": port, "protocol": "TCP"}]);
            let spec = Arc::make_mut(&mut pods[at]).spec.as_mut().unwrap();
            spec.containers[0].ports = Some(serde_json::from_value(ports).unwrap());
        }
        let actions = plan(&named, &pods, &[], |_| None);
        let mut ports: Vec<_> = actions
            .iter()
            .map(|action| match action {
                Action::Create(slice) => slice
                    .ports
                    .as_ref()
                    .unwrap()
                    .first()
                    .map(|port| port.port.unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        ports.sort();
        assert_eq!(
            ports,
            [None, Some(8080), Some(9090)],
            "pods with other ports are in other slices"
        );
    }
}
