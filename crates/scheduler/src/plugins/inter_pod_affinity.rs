//! InterPodAffinity: pods that want to be near, or far from, pods that labels tell.
//!
//! Near means: on a node with the same value of a label. Required terms filter (those of the pod, and
//! the anti-affinity of pods already placed); preferred ones score.

use std::collections::HashMap;

use api::labels::Selector;
use k8s_openapi::api::core::v1::PodAffinityTerm;

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{
        Begin, FilterPlugin, MAX_SCORE, NodeFilter, NodeScore, Plugin, Rejection, ScorePlugin,
    },
    queue::events::ClusterEvents,
};

/// What a placed pod's required affinity counts for towards an incoming pod (upstream's default).
const HARD_AFFINITY_WEIGHT: i64 = 1;

/// See the module.
pub struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_ADD
            | ClusterEvents::POD_DELETE
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
    }
}

/// A term made ready for matching.
struct Term {
    key: Box<str>,
    selector: Selector,
    namespaces: Vec<String>,
    /// Of the namespaces' own labels; none where the term has no namespace selector.
    namespace_selector: Option<Selector>,
}

impl Term {
    fn new(owner: &PodInfo, term: &PodAffinityTerm) -> Term {
        let parse = |value: Option<serde_json::Value>| {
            value
                .and_then(|v| Selector::from_label_selector(&v).ok())
                .unwrap_or_else(Selector::nothing)
        };
        let mut wanted = term.label_selector.clone();
        if let Some(wanted) = &mut wanted {
            for key in term.match_label_keys.iter().flatten() {
                if let Some(value) = owner.label(key) {
                    wanted
                        .match_labels
                        .get_or_insert_default()
                        .insert(key.clone(), value.to_owned());
                }
            }
        }
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(owner.namespace().to_owned());
        }
        Term {
            key: term.topology_key.as_str().into(),
            selector: parse(wanted.and_then(|w| serde_json::to_value(w).ok())),
            namespaces,
            namespace_selector: term
                .namespace_selector
                .as_ref()
                .map(|s| parse(serde_json::to_value(s).ok())),
        }
    }

    fn covers(&self, pod: &PodInfo, cache: &Cache) -> bool {
        let by_name = self.namespaces.iter().any(|n| n == pod.namespace());
        let by_labels = || {
            let labels = cache.namespace_labels(pod.namespace());
            self.namespace_selector.as_ref().is_some_and(|s| {
                s.matches(
                    labels
                        .into_iter()
                        .flatten()
                        .map(|(k, v)| (k.as_str(), v.as_str())),
                )
            })
        };
        let labels = pod.pod.metadata.labels.iter().flatten();
        (by_name || by_labels())
            && self
                .selector
                .matches(labels.map(|(k, v)| (k.as_str(), v.as_str())))
    }
}

fn required(pod: &PodInfo, anti: bool) -> Vec<Term> {
    let Some(affinity) = &pod.spec().affinity else {
        return Vec::new();
    };
    let terms = if anti {
        affinity.pod_anti_affinity.as_ref().and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
    } else {
        affinity.pod_affinity.as_ref().and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })
    };
    terms
        .into_iter()
        .flatten()
        .map(|t| Term::new(pod, t))
        .collect()
}

/// Preferred terms with their weights; those of anti-affinity weigh negatively.
fn preferred(pod: &PodInfo) -> Vec<(Term, i64)> {
    let Some(affinity) = &pod.spec().affinity else {
        return Vec::new();
    };
    let near = affinity.pod_affinity.as_ref().and_then(|a| {
        a.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let far = affinity.pod_anti_affinity.as_ref().and_then(|a| {
        a.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let near = near.into_iter().flatten().map(|t| (t, 1));
    let far = far.into_iter().flatten().map(|t| (t, -1));
    near.chain(far)
        .map(|(t, sign)| {
            (
                Term::new(pod, &t.pod_affinity_term),
                sign * i64::from(t.weight),
            )
        })
        .collect()
}

/// Counts by label and value.
type Topology<'c> = HashMap<(Box<str>, &'c str), i64>;

impl FilterPlugin for InterPodAffinity {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> Begin<'c> {
        let near = required(pod, false);
        let far = required(pod, true);
        let mut check = Check {
            near_counts: HashMap::new(),
            far_counts: HashMap::new(),
            repelled: HashMap::new(),
            first: false,
            near: Vec::new(),
            far: Vec::new(),
        };
        for node in cache.nodes() {
            for placed in node.pods.values() {
                if !near.is_empty() && near.iter().all(|t| t.covers(placed, cache)) {
                    for term in &near {
                        count(&mut check.near_counts, term, node, 1);
                    }
                }
                for term in far.iter().filter(|t| t.covers(placed, cache)) {
                    count(&mut check.far_counts, term, node, 1);
                }
                if has_anti_affinity(placed) {
                    for term in required(placed, true)
                        .iter()
                        .filter(|t| t.covers(pod, cache))
                    {
                        count(&mut check.repelled, term, node, 1);
                    }
                }
            }
        }
        if near.is_empty() && far.is_empty() && check.repelled.is_empty() {
            return Begin::Skip;
        }
        // The first pod of a group that wants to be near itself may go anywhere.
        check.first = check.near_counts.is_empty() && near.iter().all(|t| t.covers(pod, cache));
        check.near = near.into_iter().map(|t| t.key).collect();
        check.far = far.into_iter().map(|t| t.key).collect();
        Begin::Check(Box::new(check))
    }
}

fn has_anti_affinity(pod: &PodInfo) -> bool {
    pod.spec()
        .affinity
        .as_ref()
        .is_some_and(|a| a.pod_anti_affinity.is_some())
}

fn count<'c>(counts: &mut Topology<'c>, term: &Term, node: &'c NodeInfo, by: i64) {
    if let Some(value) = node.label(&term.key) {
        *counts.entry((term.key.clone(), value)).or_default() += by;
    }
}

struct Check<'c> {
    near: Vec<Box<str>>,
    far: Vec<Box<str>>,
    near_counts: Topology<'c>,
    far_counts: Topology<'c>,
    /// Where placed pods do not want this one.
    repelled: Topology<'c>,
    first: bool,
}

impl NodeFilter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let at = |counts: &Topology<'_>, key: &str| {
            node.label(key)
                .and_then(|value| counts.get(&(Box::from(key), value)))
                .copied()
                .unwrap_or_default()
        };
        let labelled = self.near.iter().all(|key| node.label(key).is_some());
        let near =
            labelled && (self.first || self.near.iter().all(|key| at(&self.near_counts, key) > 0));
        if !near {
            return Err(Rejection::unresolvable(
                "node(s) didn't match pod affinity rules",
            ));
        }
        if self.far.iter().any(|key| at(&self.far_counts, key) > 0) {
            return Err(Rejection::unschedulable(
                "node(s) didn't match pod anti-affinity rules",
            ));
        }
        if self
            .repelled
            .keys()
            .any(|(key, value)| node.label(key) == Some(value))
        {
            return Err(Rejection::unschedulable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
        }
        Ok(())
    }
}

impl ScorePlugin for InterPodAffinity {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        cache: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        let own = preferred(pod);
        let mut scores: Topology<'c> = HashMap::new();
        for node in cache.nodes() {
            for placed in node.pods.values() {
                for (term, weight) in own.iter().filter(|(t, _)| t.covers(placed, cache)) {
                    count(&mut scores, term, node, *weight);
                }
                if placed.spec().affinity.is_none() {
                    continue;
                }
                for (term, weight) in preferred(placed)
                    .iter()
                    .filter(|(t, _)| t.covers(pod, cache))
                {
                    count(&mut scores, term, node, *weight);
                }
                for term in required(placed, false)
                    .iter()
                    .filter(|t| t.covers(pod, cache))
                {
                    count(&mut scores, term, node, HARD_AFFINITY_WEIGHT);
                }
            }
        }
        (!scores.is_empty()).then(|| Box::new(Liked(scores)) as Box<dyn NodeScore + 'c>)
    }
}

struct Liked<'c>(Topology<'c>);

impl NodeScore for Liked<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0
            .iter()
            .filter(|((key, value), _)| node.label(key) == Some(value))
            .map(|(_, weight)| weight)
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or_default();
        let range = scores.iter().copied().max().unwrap_or_default() - least;
        for score in scores {
            *score = if range > 0 {
                MAX_SCORE * (*score - least) / range
            } else {
                0
            };
        }
    }
}
