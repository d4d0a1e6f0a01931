//! On which nodes a DaemonSet's pods belong, and how a pod is tied to its node.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use crate::node::tolerates;

/// Should the node get a pod, and may a pod that is there stay?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub run: bool,
    pub stay: bool,
}

/// Judges one node.
pub(super) fn fit(spec: &PodSpec, node: &Node) -> Fit {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let pinned = spec
        .node_name
        .as_deref()
        .filter(|pinned| !pinned.is_empty());
    if pinned.is_some_and(|pinned| pinned != name) || !selects(spec, node) {
        return Fit {
            run: false,
            stay: false,
        };
    }
    let tolerations = with_daemon_tolerations(spec);
    let untolerated = |taint: &&Taint| {
        !tolerations
            .iter()
            .any(|toleration| tolerates(toleration, taint))
    };
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let bad: Vec<_> = taints
        .iter()
        .filter(|taint| ["NoSchedule", "NoExecute"].contains(&taint.effect.as_str()))
        .filter(untolerated)
        .collect();
    Fit {
        run: bad.is_empty(),
        stay: !bad.iter().any(|taint| taint.effect == "NoExecute"),
    }
}

/// The template's tolerations and those every daemon has: it runs where others are kept away.
pub(super) fn with_daemon_tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let mut add = |key: &str, effect: &str| {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let there = all.iter().any(|other| {
            other.key == toleration.key
                && other.operator == toleration.operator
                && other.effect == toleration.effect
                && other.toleration_seconds.is_none()
        });
        if !there {
            all.push(toleration);
        }
    };
    add("node.kubernetes.io/not-ready", "NoExecute");
    add("node.kubernetes.io/unreachable", "NoExecute");
    add("node.kubernetes.io/disk-pressure", "NoSchedule");
    add("node.kubernetes.io/memory-pressure", "NoSchedule");
    add("node.kubernetes.io/pid-pressure", "NoSchedule");
    add("node.kubernetes.io/unschedulable", "NoSchedule");
    if spec.host_network.unwrap_or_default() {
        add("node.kubernetes.io/network-unavailable", "NoSchedule");
    }
    all
}

/// Node selector and required node affinity.
fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let simple = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    simple
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| {
                let expressions = term.match_expressions.as_deref().unwrap_or_default();
                let fields = term.match_fields.as_deref().unwrap_or_default();
                // A term without requirements matches nothing.
                expressions.len() + fields.len() > 0
                    && expressions
                        .iter()
                        .all(|requirement| holds(requirement, label(&requirement.key)))
                    && fields
                        .iter()
                        .all(|requirement| holds(requirement, node.metadata.name.as_deref()))
            })
        })
}

fn holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = actual.is_some_and(|actual| values.iter().any(|value| value == actual));
    let compare = || {
        let actual: i64 = actual?.parse().ok()?;
        let bound: i64 = values.first()?.parse().ok()?;
        Some(actual.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compare().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

/// Ties a pod to a node by required affinity, so that the scheduler binds it there and nowhere else.
pub(super) fn tie(spec: &mut PodSpec, node: &str) {
    let affinity = spec
        .affinity
        .get_or_insert_default()
        .node_affinity
        .get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            }]),
            ..NodeSelectorTerm::default()
        }],
    });
}

/// The node a pod is on, or is tied to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.as_deref().unwrap_or_default())
        .find(|field| field.key == "metadata.name" && field.operator == "In")
        .and_then(|field| field.values.as_ref()?.first().map(String::as_str))
}
