//! PodTopologySpread: pods that a selector matches are spread over the values of a node label.
//!
//! Constraints with `DoNotSchedule` filter: a node whose domain would hold more than `maxSkew` over
//! the emptiest one will not do. Constraints with `ScheduleAnyway` score. Pods without constraints
//! get a profile's default ones, about the pods their Services and controller select. Matching pods
//! are counted per domain once, and then pod by pod.

use std::{collections::HashMap, sync::Arc};

use api::labels::Selector;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::{node_affinity::required_matches, taint_toleration::untolerated};
use crate::{
    cache::{
        Cache, Counted, HOSTNAME, NodeInfo, ZONE,
        class::Class,
        terms,
        topology::{NONE, PerDomain},
    },
    framework::{
        Begin, BeginScore, ClusterFilter, ClusterScore, FilterPlugin, MAX_SCORE, Overlay, Plugin,
        Rejection, ScorePlugin,
    },
    queue::events::{ClusterEvents, Event},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct PodTopologySpread {
    /// For pods without constraints.
    pub defaults: Vec<TopologySpreadConstraint>,
    /// The defaults are the system's: nodes need not have all of their labels.
    pub system: bool,
}

impl Default for PodTopologySpread {
    fn default() -> PodTopologySpread {
        let spread = |key: &str, max_skew| TopologySpreadConstraint {
            max_skew,
            topology_key: key.into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..TopologySpreadConstraint::default()
        };
        PodTopologySpread {
            defaults: vec![spread(HOSTNAME, 3), spread(ZONE, 5)],
            system: true,
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_ADD
            | ClusterEvents::POD_LABEL
            | ClusterEvents::POD_DELETE
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_DELETE
            | ClusterEvents::NODE_LABEL
            | ClusterEvents::NODE_TAINT
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        if let Some(pod) = event.pod {
            let changed = event.kind.intersects(ClusterEvents::POD_LABEL);
            return pod.namespace() == &*class.namespace
                && (changed || class.spread.is_empty() || may_concern(&class.spread, &pod.class));
        }
        let labelled = |node: &NodeInfo| {
            let mut keys = class.spread.iter().map(|c| c.topology_key.as_str());
            keys.all(|key| node.label(key).is_some())
        };
        // A node whose labels change leaves a domain, which may be none without it.
        event.kind.intersects(ClusterEvents::NODE_LABEL) || event.node.is_none_or(labelled)
    }
}

/// Whether any constraint may be about pods of a class: as far as can be told at a glance.
fn may_concern(constraints: &[TopologySpreadConstraint], class: &Class) -> bool {
    constraints.iter().any(|constraint| {
        let selector = constraint.label_selector.as_ref();
        let mut labels = selector
            .into_iter()
            .flat_map(|s| s.match_labels.iter().flatten());
        labels.all(|(key, value)| class.labels.get(key) == Some(value))
    })
}

/// A constraint with what it counts.
struct Constraint {
    spec: TopologySpreadConstraint,
    /// Where its label's domains are.
    topology: usize,
    selector: Selector,
    empty: bool,
    max_skew: i64,
    min_domains: usize,
    /// Whether the pods are among those counted.
    counts_itself: bool,
    /// Matching pods per domain.
    counts: PerDomain,
    /// Nodes that count, per domain: a domain without any does not count.
    nodes: PerDomain,
    domains: usize,
    /// Domains by how many matching pods they have, for the emptiest.
    levels: std::collections::BTreeMap<i64, usize>,
    /// Matching pods per node, whether it counts or not; for the label of the node's own name.
    per_node: Vec<i64>,
}

impl Constraint {
    fn matches(&self, class: &Class, pod: &Counted) -> bool {
        !self.empty
            && pod.class.namespace == class.namespace
            && !pod.terminating
            && self.selector.matches(pod.class.labels())
    }

    fn count(&mut self, domain: u32, by: i64) {
        if domain == NONE || self.nodes.get(domain) == 0 {
            return;
        }
        let old = self.counts.get(domain);
        self.counts.add(domain, by);
        level(&mut self.levels, old, -1);
        level(&mut self.levels, old + by, 1);
    }

    fn fewest(&self) -> i64 {
        if self.domains < self.min_domains {
            return 0;
        }
        self.levels.first_key_value().map_or(0, |(n, _)| *n)
    }
}

fn level(levels: &mut std::collections::BTreeMap<i64, usize>, at: i64, by: i64) {
    let count = levels.entry(at).or_default();
    *count = count.saturating_add_signed(by as isize);
    if *count == 0 {
        levels.remove(&at);
    }
}

/// The constraints of a class that filter, or those that score, with their counts.
struct Constraints {
    class: Arc<Class>,
    all: Vec<Constraint>,
    /// Nodes need every constraint's label to count.
    strict: bool,
    /// Which constraints are about pods of a class.
    about: HashMap<u64, Box<[bool]>>,
}

impl Constraints {
    fn new(
        plugin: &PodTopologySpread,
        class: &Arc<Class>,
        cache: &Cache,
        action: &str,
    ) -> Option<Constraints> {
        let defaulted = class.spread.is_empty();
        let specs = if defaulted {
            &plugin.defaults
        } else {
            &class.spread
        };
        let mut specs = specs
            .iter()
            .filter(|c| c.when_unsatisfiable == action)
            .peekable();
        specs.peek()?;
        let default = match defaulted {
            true => Some(cache.owners.selector(class)?),
            false => None,
        };
        let all = specs
            .filter_map(|spec| {
                let (selector, empty) = match &default {
                    Some(selector) => (selector.clone(), false),
                    None => selector(class, spec),
                };
                Some(Constraint {
                    topology: cache.topology_index(&spec.topology_key)?,
                    max_skew: spec.max_skew.into(),
                    min_domains: spec
                        .min_domains
                        .and_then(|m| usize::try_from(m).ok())
                        .unwrap_or(1),
                    counts_itself: selector.matches(class.labels()),
                    selector,
                    empty,
                    spec: spec.clone(),
                    counts: PerDomain::default(),
                    nodes: PerDomain::default(),
                    domains: 0,
                    levels: Default::default(),
                    per_node: Vec::new(),
                })
            })
            .collect();
        let mut constraints = Constraints {
            class: class.clone(),
            all,
            strict: !(defaulted && plugin.system),
            about: HashMap::new(),
        };
        constraints.count_all(cache);
        Some(constraints)
    }

    fn count_all(&mut self, cache: &Cache) {
        for node in cache.nodes() {
            for index in 0..self.all.len() {
                if self.counts_node(cache, node, index) {
                    let constraint = &mut self.all[index];
                    let domain = cache.topology(constraint.topology).of(node.slot);
                    if constraint.nodes.get(domain) == 0 {
                        constraint.domains += 1;
                        level(&mut constraint.levels, 0, 1);
                    }
                    constraint.nodes.add(domain, 1);
                }
            }
        }
        for node in cache.nodes() {
            for pod in &node.pods {
                self.apply(cache, node, &pod.counted(), 1);
            }
        }
    }

    /// Whether a node has the labels of all constraints.
    fn labelled(&self, cache: &Cache, node: &NodeInfo) -> bool {
        self.all
            .iter()
            .all(|c| cache.topology(c.topology).of(node.slot) != NONE)
    }

    fn minds_taints(&self) -> bool {
        let mut policies = self.all.iter().map(|c| &c.spec.node_taints_policy);
        policies.any(|policy| honors(policy, false))
    }

    /// Whether a constraint counts the node's pods (KEP-3094).
    fn counts_node(&self, cache: &Cache, node: &NodeInfo, index: usize) -> bool {
        let constraint = &self.all[index];
        let spec = &constraint.spec;
        if cache.topology(constraint.topology).of(node.slot) == NONE
            || (self.strict && !self.labelled(cache, node))
        {
            return false;
        }
        (!honors(&spec.node_affinity_policy, true) || required_matches(&self.class, node))
            && (!honors(&spec.node_taints_policy, false)
                || untolerated(node, &self.class.tolerations).is_none())
    }

    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64) {
        if pod.terminating {
            return;
        }
        let (class, all) = (&self.class, &self.all);
        let about = self
            .about
            .entry(pod.class.id)
            .or_insert_with(|| all.iter().map(|c| c.matches(class, pod)).collect());
        if !about.iter().any(|a| *a) {
            return;
        }
        let about = about.clone();
        for index in (0..self.all.len()).filter(|i| about[*i]) {
            let slot = node.slot as usize;
            let counts = self.counts_node(cache, node, index);
            let constraint = &mut self.all[index];
            if constraint.per_node.len() <= slot {
                constraint.per_node.resize(slot + 1, 0);
            }
            constraint.per_node[slot] += by;
            if counts {
                let domain = cache.topology(constraint.topology).of(node.slot);
                constraint.count(domain, by);
            }
        }
    }
}

fn honors(policy: &Option<String>, otherwise: bool) -> bool {
    policy.as_deref().map_or(otherwise, |p| p == "Honor")
}

/// The constraint's selector with the pod's own values of `matchLabelKeys` added (KEP-3243; the API
/// server has merged them already where it does so itself), and whether it asks for nothing.
fn selector(class: &Class, spec: &TopologySpreadConstraint) -> (Selector, bool) {
    let wanted = spec
        .label_selector
        .as_ref()
        .map(|s| terms::with_labels(s, &class.labels, spec.match_label_keys.iter().flatten()));
    let empty = wanted.as_ref().is_some_and(terms::is_empty);
    (terms::selector(wanted.as_ref()), empty)
}

impl FilterPlugin for PodTopologySpread {
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> Begin {
        match Constraints::new(self, class, cache, "DoNotSchedule") {
            None => Begin::Skip,
            Some(constraints) => Begin::Cluster(Box::new(Hard(constraints))),
        }
    }
}

struct Hard(Constraints);

impl ClusterFilter for Hard {
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64) {
        self.0.apply(cache, node, pod, by);
    }

    fn minds_taints(&self) -> bool {
        self.0.minds_taints()
    }

    fn check(&self, cache: &Cache, node: &NodeInfo, overlay: Overlay<'_>) -> Result<(), Rejection> {
        for (index, constraint) in self.0.all.iter().enumerate() {
            let domain = cache.topology(constraint.topology).of(node.slot);
            if domain == NONE {
                return Err(Rejection::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            }
            let mut here = constraint.counts.get(domain);
            let mut fewest = constraint.fewest();
            // Upstream counts these also where it does not count placed pods: terminating ones, and
            // those of a constraint whose selector asks for nothing.
            let changed: i64 = overlay
                .changes()
                .filter(|(pod, _)| {
                    pod.class.namespace == self.0.class.namespace
                        && constraint.selector.matches(pod.class.labels())
                })
                .map(|(_, by)| by)
                .sum();
            if changed != 0 && self.0.counts_node(cache, node, index) {
                let others = constraint.levels.iter().find(|(n, count)| {
                    // The emptiest of the other domains.
                    **n != here || **count > 1
                });
                if constraint.domains >= constraint.min_domains {
                    fewest = others.map_or(here + changed, |(n, _)| (*n).min(here + changed));
                }
                here += changed;
            }
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
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> BeginScore {
        match Constraints::new(self, class, cache, "ScheduleAnyway") {
            None => BeginScore::Skip,
            Some(constraints) => BeginScore::Cluster(Box::new(Soft {
                constraints,
                seen: Vec::new(),
                round: 0,
            })),
        }
    }
}

struct Soft {
    constraints: Constraints,
    /// By domain, the round it was last met in.
    seen: Vec<u64>,
    round: u64,
}

/// Marks a node without the labels; such nodes score nothing.
const UNLABELLED: i64 = -1;

impl Soft {
    /// How many domains the feasible nodes make up, for labels other than the node's own name.
    fn domains(&mut self, cache: &Cache, feasible: &[u32], index: usize) -> usize {
        let topology = cache.topology(self.constraints.all[index].topology);
        let all = topology.len();
        self.round += 1;
        self.seen.resize(self.seen.len().max(all + 1), 0);
        let mut met = 0;
        for slot in feasible {
            let domain = topology.of(*slot);
            // Nodes without the label make up one domain where they are not left out.
            let place = if domain == NONE { all } else { domain as usize };
            if domain == NONE && self.constraints.strict {
                continue;
            }
            if std::mem::replace(&mut self.seen[place], self.round) != self.round {
                met += 1;
            }
            if met == all && self.constraints.strict {
                break;
            }
        }
        met
    }
}

impl ClusterScore for Soft {
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64) {
        self.constraints.apply(cache, node, pod, by);
    }

    fn minds_taints(&self) -> bool {
        self.constraints.minds_taints()
    }

    fn scores(&mut self, cache: &Cache, feasible: &[u32], out: &mut Vec<i64>) {
        let strict = self.constraints.strict;
        let labelled = |constraints: &Constraints, slot: u32| {
            !strict || constraints.labelled(cache, cache.at(slot))
        };
        let nodes = match strict {
            false => feasible.len(),
            true => feasible
                .iter()
                .filter(|s| labelled(&self.constraints, **s))
                .count(),
        };
        let weights: Vec<f64> = (0..self.constraints.all.len())
            .map(|index| {
                let hostname = self.constraints.all[index].spec.topology_key == HOSTNAME;
                let size = match hostname {
                    true => nodes,
                    false => self.domains(cache, feasible, index),
                };
                // Labels with many values weigh more: a pod too many shows less there.
                ((size + 2) as f64).ln()
            })
            .collect();
        let (mut least, mut most) = (i64::MAX, 0);
        for slot in feasible {
            if !labelled(&self.constraints, *slot) {
                out.push(UNLABELLED);
                continue;
            }
            let mut sum = 0.0;
            for (constraint, weight) in self.constraints.all.iter().zip(&weights) {
                let domain = cache.topology(constraint.topology).of(*slot);
                if domain == NONE {
                    continue;
                }
                let here = if constraint.spec.topology_key == HOSTNAME {
                    let index = *slot as usize;
                    constraint.per_node.get(index).copied().unwrap_or_default()
                } else {
                    constraint.counts.get(domain)
                };
                sum += here as f64 * weight + (constraint.max_skew - 1) as f64;
            }
            let score = sum.round() as i64;
            least = least.min(score);
            most = most.max(score);
            out.push(score);
        }
        for score in out {
            *score = match *score {
                UNLABELLED => 0,
                _ if most == 0 => MAX_SCORE,
                s => MAX_SCORE * (most + least - s) / most,
            };
        }
    }
}
