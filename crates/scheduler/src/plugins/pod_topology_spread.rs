//! PodTopologySpread: pods that a selector matches are spread over the values of a node label.
//!
//! Constraints with `DoNotSchedule` filter: a node whose domain would hold more than `maxSkew` over
//! the emptiest one will not do. Constraints with `ScheduleAnyway` score.

use std::collections::HashMap;

use api::labels::Selector;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::{node_affinity::required_matches, taint_toleration::tolerates};
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{
        Begin, FilterPlugin, MAX_SCORE, NodeFilter, NodeScore, Plugin, Rejection, ScorePlugin,
    },
    queue::events::ClusterEvents,
};

/// See the module.
pub struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_ADD
            | ClusterEvents::POD_DELETE
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
            | ClusterEvents::NODE_TAINT
    }
}

/// A constraint with what it counts.
struct Constraint<'c> {
    key: &'c str,
    max_skew: i64,
    min_domains: usize,
    /// Whether the pod itself is one of those counted.
    counts_itself: bool,
    /// Pods that match, by the label's value.
    domains: HashMap<&'c str, i64>,
}

impl<'c> Constraint<'c> {
    /// Counts over the nodes the constraint looks at: those with the labels of all constraints.
    fn count(
        pod: &'c PodInfo,
        spec: &'c TopologySpreadConstraint,
        keys: &[&str],
        cache: &'c Cache,
    ) -> Constraint<'c> {
        let selector = selector(pod, spec);
        let mut domains: HashMap<&str, i64> = HashMap::new();
        for node in cache
            .nodes()
            .filter(|n| keys.iter().all(|k| n.label(k).is_some()) && included(pod, spec, n))
        {
            let Some(value) = node.label(&spec.topology_key) else {
                continue;
            };
            let matching = node.pods.values().filter(|p| {
                p.namespace() == pod.namespace() && !p.terminating() && matches(&selector, p)
            });
            *domains.entry(value).or_default() +=
                i64::try_from(matching.count()).unwrap_or(i64::MAX);
        }
        Constraint {
            key: &spec.topology_key,
            max_skew: spec.max_skew.into(),
            min_domains: spec
                .min_domains
                .and_then(|m| usize::try_from(m).ok())
                .unwrap_or(1),
            counts_itself: matches(&selector, pod),
            domains,
        }
    }
}

fn matches(selector: &Selector, pod: &PodInfo) -> bool {
    let labels = pod.pod.metadata.labels.iter().flatten();
    selector.matches(labels.map(|(k, v)| (k.as_str(), v.as_str())))
}

/// The constraint's selector with the pod's own values of `matchLabelKeys` added (KEP-3243).
fn selector(pod: &PodInfo, spec: &TopologySpreadConstraint) -> Selector {
    let Some(given) = &spec.label_selector else {
        return Selector::nothing();
    };
    let mut wanted = given.clone();
    for key in spec.match_label_keys.iter().flatten() {
        if let Some(value) = pod.label(key) {
            wanted
                .match_labels
                .get_or_insert_default()
                .insert(key.clone(), value.to_owned());
        }
    }
    serde_json::to_value(wanted)
        .ok()
        .and_then(|v| Selector::from_label_selector(&v).ok())
        .unwrap_or_else(Selector::nothing)
}

/// Whether the constraint counts the node at all (KEP-3094).
fn included(pod: &PodInfo, spec: &TopologySpreadConstraint, node: &NodeInfo) -> bool {
    let honors = |policy: &Option<String>, otherwise: bool| {
        policy.as_deref().map_or(otherwise, |p| p == "Honor")
    };
    if honors(&spec.node_affinity_policy, true) && !required_matches(pod, node) {
        return false;
    }
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    !honors(&spec.node_taints_policy, false)
        || node
            .taints()
            .iter()
            .filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"))
            .all(|t| tolerates(tolerations, t))
}

fn constraints<'c>(pod: &'c PodInfo, cache: &'c Cache, hard: bool) -> Vec<Constraint<'c>> {
    let all = pod.spec().topology_spread_constraints.iter().flatten();
    let chosen: Vec<_> = all
        .filter(|c| (c.when_unsatisfiable == "DoNotSchedule") == hard)
        .collect();
    let keys: Vec<&str> = chosen.iter().map(|c| c.topology_key.as_str()).collect();
    chosen
        .iter()
        .map(|spec| Constraint::count(pod, spec, &keys, cache))
        .collect()
}

impl FilterPlugin for PodTopologySpread {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> Begin<'c> {
        let constraints = constraints(pod, cache, true);
        if constraints.is_empty() {
            return Begin::Skip;
        }
        Begin::Check(Box::new(Hard(constraints)))
    }
}

struct Hard<'c>(Vec<Constraint<'c>>);

impl NodeFilter for Hard<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for constraint in &self.0 {
            let Some(value) = node.label(constraint.key) else {
                return Err(Rejection::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let fewest = if constraint.domains.len() < constraint.min_domains {
                0
            } else {
                constraint
                    .domains
                    .values()
                    .copied()
                    .min()
                    .unwrap_or_default()
            };
            let here = constraint.domains.get(value).copied().unwrap_or_default();
            if here + i64::from(constraint.counts_itself) - fewest > constraint.max_skew {
                return Err(Rejection::unschedulable(
                    "node(s) didn't match pod topology spread constraints",
                ));
            }
        }
        Ok(())
    }
}

impl ScorePlugin for PodTopologySpread {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        cache: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        let constraints = constraints(pod, cache, false);
        (!constraints.is_empty()).then(|| Box::new(Soft(constraints)) as Box<dyn NodeScore + 'c>)
    }
}

struct Soft<'c>(Vec<Constraint<'c>>);

/// Marks a node without the labels; such nodes score nothing.
const UNLABELLED: i64 = -1;

impl NodeScore for Soft<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = 0.0;
        for constraint in &self.0 {
            let Some(value) = node.label(constraint.key) else {
                return UNLABELLED;
            };
            let here = constraint.domains.get(value).copied().unwrap_or_default();
            // Labels with many values weigh more: a pod too many shows less there.
            let weight = ((constraint.domains.len() + 2) as f64).ln();
            sum += here as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        sum.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let labelled = scores.iter().copied().filter(|s| *s != UNLABELLED);
        let (Some(least), Some(most)) = (labelled.clone().min(), labelled.max()) else {
            scores.fill(0);
            return;
        };
        for score in scores {
            *score = match *score {
                UNLABELLED => 0,
                _ if most == 0 => MAX_SCORE,
                s => MAX_SCORE * (most + least - s) / most,
            };
        }
    }
}
