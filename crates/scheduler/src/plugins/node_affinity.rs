//! NodeAffinity: `nodeSelector` and required node affinity bind; preferred affinity scores.

use k8s_openapi::api::core::v1::{
    NodeAffinity as Affinity, NodeSelectorRequirement, NodeSelectorTerm,
};

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{
        Begin, FilterPlugin, NodeFilter, NodeScore, Plugin, Rejection, ScorePlugin,
        normalize_to_max,
    },
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL
    }
}

fn affinity(pod: &PodInfo) -> Option<&Affinity> {
    pod.spec().affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether a node meets what the pod requires of its labels and name.
pub fn required_matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selector = pod.spec().node_selector.iter().flatten();
    if !selector
        .into_iter()
        .all(|(key, value)| node.label(key) == Some(value))
    {
        return false;
    }
    match affinity(pod).and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    }) {
        None => true,
        Some(required) => required
            .node_selector_terms
            .iter()
            .any(|term| term_matches(term, node)),
    }
}

/// Whether a node meets all of a term; an empty term matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|r| requirement_matches(r, node.label(&r.key)))
        && fields
            .iter()
            .all(|r| r.key == "metadata.name" && requirement_matches(r, Some(&node.name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let contains = |value: &str| values.iter().any(|v| v == value);
    let compare = |holds: fn(i64, i64) -> bool| {
        let (Some(Ok(have)), [bound]) = (value.map(str::parse::<i64>), values) else {
            return false;
        };
        bound.parse::<i64>().is_ok_and(|bound| holds(have, bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(contains),
        "NotIn" => !value.is_some_and(contains),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|have, bound| have > bound),
        "Lt" => compare(|have, bound| have < bound),
        _ => false,
    }
}

/// The nodes that the required affinity names outright: each of its terms must.
fn named_nodes(pod: &PodInfo) -> Option<Vec<Box<str>>> {
    let required = affinity(pod)?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut names = Vec::new();
    for term in &required.node_selector_terms {
        let field = term
            .match_fields
            .iter()
            .flatten()
            .find(|r| r.key == "metadata.name" && r.operator == "In")?;
        names.extend(field.values.iter().flatten().map(|v| v.as_str().into()));
    }
    (!names.is_empty()).then_some(names)
}

impl FilterPlugin for NodeAffinity {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        let required = affinity(pod).and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        if required.is_none()
            && pod
                .spec()
                .node_selector
                .as_ref()
                .is_none_or(|s| s.is_empty())
        {
            return Begin::Skip;
        }
        match named_nodes(pod) {
            Some(names) => Begin::Only(names, Box::new(Required(pod))),
            None => Begin::Check(Box::new(Required(pod))),
        }
    }
}

struct Required<'c>(&'c PodInfo);

impl NodeFilter for Required<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if required_matches(self.0, node) {
            return Ok(());
        }
        Err(Rejection::unresolvable(
            "node(s) didn't match Pod's node affinity/selector",
        ))
    }
}

impl ScorePlugin for NodeAffinity {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        _: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        let terms = affinity(pod)?
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()?;
        let wanted = terms
            .iter()
            .filter(|t| t.weight != 0)
            .map(|t| (&t.preference, i64::from(t.weight)))
            .collect();
        Some(Box::new(Preferred(wanted)))
    }
}

struct Preferred<'c>(Vec<(&'c NodeSelectorTerm, i64)>);

impl NodeScore for Preferred<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0
            .iter()
            .filter(|(term, _)| term_matches(term, node))
            .map(|(_, weight)| weight)
            .sum()
    }
    fn normalize(&self, scores: &mut [i64]) {
        normalize_to_max(scores, false);
    }
}
