//! Which endpoints a Service should have, grouped as its slices hold them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::events::EventType;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use super::metrics::Change;
use crate::discovery::backends;
use crate::discovery::hints::{self, Distribution};
use crate::discovery::packing::{self, Action, Binding, Group};
use crate::discovery::{MANAGED_BY, SERVICE_LABEL, inherited_labels, topology};
use crate::owner::controller_ref;

/// Endpoints per slice.
pub(super) const SLICE_LIMIT: usize = 100;
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// What a plan has to say beside its writes.
#[derive(Debug, PartialEq)]
pub(super) struct Notice {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// What is known of the nodes.
pub(super) struct Nodes<Z> {
    /// Answers a node's zone.
    pub zone: Z,
    /// Each zone's part of the CPUs.
    pub ratios: BTreeMap<String, f64>,
}

/// The writes, what people should hear, and what is counted of it.
pub(super) struct Plan {
    pub actions: Vec<Action>,
    pub notices: Vec<Notice>,
    pub change: Change,
}

/// Plans.
pub(super) fn plan<Z: Fn(&str) -> Option<String>>(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    nodes: &Nodes<Z>,
) -> Plan {
    let binding = Binding {
        owner: controller_ref(service),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone().unwrap_or_default(),
        labels: labels(service),
        annotations: None,
        limit: SLICE_LIMIT,
        keep_empty: true,
    };
    let mut wanted = wanted(service, pods, &nodes.zone);
    let notices = topology_hints(service, existing, &mut wanted, &nodes.ratios);
    let change = Change::new(service, existing, &wanted);
    let actions = packing::pack(&binding, existing, wanted);
    Plan {
        change: change.after(&actions),
        actions,
        notices,
    }
}

/// Is the pod's node there? Pods of nodes that are gone answer nobody, though nobody says so of
/// them; a Service that publishes pods whatever their state takes them all the same.
pub(super) fn is_placed(service: &Service, pod: &Pod, is_node: impl Fn(&str) -> bool) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    backends::publishes_not_ready(service)
        || node.is_none_or(|node| node.is_empty() || is_node(node))
}

/// Gives endpoints hints by zone where the Service asks for that, family by family.
fn topology_hints(
    service: &Service,
    existing: &[Arc<EndpointSlice>],
    wanted: &mut BTreeMap<Group, Vec<Endpoint>>,
    ratios: &BTreeMap<String, f64>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let families: BTreeSet<&'static str> = wanted.keys().map(|(family, _)| *family).collect();
    for family in families {
        let slices = existing.iter().filter(|s| s.address_type == family);
        let old = slices.flat_map(|slice| slice.endpoints.iter().flatten());
        let before: BTreeMap<(Option<&str>, &[String]), String> = old
            .filter_map(|endpoint| Some((identity(endpoint), topology::zone_hinted(endpoint)?)))
            .collect();
        let mut notice = |kind, reason, message: &str| {
            notices.push(Notice {
                kind,
                reason,
                message: format!("{message}, addressType: {family}"),
            });
        };
        let disabled = "TopologyAwareHintsDisabled";
        if !topology::is_wanted(service) {
            if !before.is_empty() && hints::of(service) == Distribution::Any {
                let message = "Topology Aware Hints has been disabled";
                notice(EventType::Warning, disabled, message);
            }
            continue;
        }
        let own = wanted.iter_mut().filter(|((own, _), _)| *own == family);
        let mut endpoints: Vec<&mut Endpoint> = own.flat_map(|(_, all)| all.iter_mut()).collect();
        let known = |endpoint: &Endpoint| before.get(&identity(endpoint)).cloned();
        match topology::hint(&mut endpoints, ratios, known) {
            Err(why) => notice(EventType::Warning, disabled, &why),
            Ok(()) if before.is_empty() => {
                let message = "Topology Aware Hints has been enabled";
                notice(EventType::Normal, "TopologyAwareHintsEnabled", message);
            }
            Ok(()) => {}
        }
    }
    notices
}

/// Which endpoint it is, whatever is said of it.
pub(super) fn identity(endpoint: &Endpoint) -> (Option<&str>, &[String]) {
    let target = endpoint.target_ref.as_ref();
    (
        target.and_then(|target| target.uid.as_deref()),
        &endpoint.addresses,
    )
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
    zone: &impl Fn(&str) -> Option<String>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    // Hints by zone are given when all endpoints are known.
    let distribution = match topology::is_wanted(service) {
        true => Distribution::Any,
        false => hints::of(service),
    };
    for family in backends::families(service) {
        let before = wanted.len();
        for pod in pods.iter().filter(|pod| backends::is_candidate(pod, true)) {
            let Some(address) = backends::address(pod, family) else {
                continue;
            };
            let ports = backends::ports(pod, service);
            wanted.entry((family, ports)).or_default().push(endpoint(
                service,
                pod,
                address,
                distribution,
                zone,
            ));
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
    distribution: Distribution,
    zone: &impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let serving = crate::pods::is_ready(pod);
    let terminating = crate::pods::is_terminating(pod);
    let ready = backends::publishes_not_ready(service) || (serving && !terminating);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let mut endpoint = Endpoint {
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
    };
    endpoint.hints = hints::hints(distribution, &endpoint);
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::{Value, json};

    fn plan(
        service: &Service,
        pods: &[Arc<Pod>],
        existing: &[Arc<EndpointSlice>],
        zone: impl Fn(&str) -> Option<String>,
    ) -> Vec<Action> {
        let ratios = BTreeMap::new();
        super::plan(service, pods, existing, &Nodes { zone, ratios }).actions
    }

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "a"}},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn pods_of_missing_nodes_are_left_out() {
        let cases = [
            ("p Running ready ip=10.0.0.1 node=here", false, true),
            ("p Running ready ip=10.0.0.1 node=gone", false, false),
            ("p Running ready ip=10.0.0.1 node=gone", true, true),
            ("p Pending", false, true),
        ];
        for (text, publish, expected) in cases {
            let mut service = plain();
            service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(publish);
            let found = is_placed(&service, &pod(text), |node| node == "here");
            assert_eq!(found, expected, "{text} {publish}");
        }
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
                    if !patch["ports"].is_null() {
                        Arc::make_mut(found).ports =
                            Some(serde_json::from_value(patch["ports"].clone()).unwrap());
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
        assert_eq!(
            apply(&mut slices, actions),
            (0, 1, 2),
            "one empty slice without ports stays"
        );
        assert_eq!(sizes(&slices), [0]);
        assert!(plan(&service, &pods, &slices, none).is_empty());
        let actions = plan(&service, &some_pods(0..1), &slices, none);
        assert_eq!(
            apply(&mut slices, actions),
            (0, 1, 0),
            "the empty slice takes the first pod"
        );
        assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
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
    fn services_that_ask_for_it_get_hints_by_zone() {
        let mut service = plain();
        let mode = (
            "service.kubernetes.io/topology-mode".to_owned(),
            "Auto".to_owned(),
        );
        service.metadata.annotations = Some([mode].into());
        let pods = some_pods(0..2);
        let nodes = |zones: &[(&str, f64)]| Nodes {
            zone: |_: &str| Some("a".to_owned()),
            ratios: zones.iter().map(|(z, r)| ((*z).to_owned(), *r)).collect(),
        };
        let even = nodes(&[("a", 0.5), ("b", 0.5)]);
        let mut slices = Vec::new();
        let Plan {
            actions, notices, ..
        } = super::plan(&service, &pods, &slices, &even);
        apply(&mut slices, actions);
        let zones = |slices: &[Arc<EndpointSlice>]| -> Vec<Option<String>> {
            let endpoints = slices[0].endpoints.iter().flatten();
            endpoints.map(topology::zone_hinted).collect()
        };
        assert_eq!(zones(&slices), [Some("b".to_owned()), Some("a".to_owned())]);
        assert_eq!(notices[0].reason, "TopologyAwareHintsEnabled");
        let Plan {
            actions, notices, ..
        } = super::plan(&service, &pods, &slices, &even);
        assert!(actions.is_empty() && notices.is_empty(), "nothing moves");
        let Plan {
            actions, notices, ..
        } = super::plan(&service, &pods, &slices, &nodes(&[]));
        apply(&mut slices, actions);
        assert_eq!(zones(&slices), [None, None]);
        assert_eq!(
            notices[0].message,
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4"
        );
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
