//! InterPodAffinity: pods that want to be near, or far from, pods that labels tell.
//!
//! Near means: on a node with the same value of a label. Required terms filter (those of the pod, and
//! the anti-affinity of pods already placed); preferred ones score. What terms are about is counted
//! per domain once, and then pod by pod.

use std::{collections::HashMap, sync::Arc};

use crate::{
    cache::{
        Cache, Counted, NodeInfo, PodInfo,
        class::{Class, Covers, covers},
        terms::Term,
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
pub struct InterPodAffinity {
    /// What a placed pod's required affinity counts for towards an incoming pod.
    pub hard_weight: i64,
    /// Preferences of placed pods do not count for pods without preferences of their own.
    pub ignore_placed: bool,
}

impl Default for InterPodAffinity {
    fn default() -> InterPodAffinity {
        InterPodAffinity {
            hard_weight: 1,
            ignore_placed: false,
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_ADD
            | ClusterEvents::POD_LABEL
            | ClusterEvents::POD_DELETE
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        let near = &class.terms.near;
        if let Some(pod) = event.pod {
            // A pod that comes helps those that want to be near it; one that goes, or is not what it
            // was, may help all.
            let wanted = |t: &Term| t.selector.matches(pod.class.labels());
            return event.kind != ClusterEvents::POD_ADD
                || (!near.is_empty() && near.iter().all(wanted));
        }
        let labelled = |node: &NodeInfo| near.iter().any(|t| node.label(&t.key).is_some());
        // A node whose labels change takes its pods to other domains.
        event.kind.intersects(ClusterEvents::NODE_LABEL)
            || near.is_empty()
            || event.node.is_none_or(labelled)
    }
}

/// Counts per domain of one label.
struct Counts {
    topology: usize,
    per_domain: PerDomain,
    /// Domains with a count other than zero.
    uneven: usize,
}

impl Counts {
    fn add(&mut self, cache: &Cache, node: &NodeInfo, by: i64) {
        let domain = cache.topology(self.topology).of(node.slot);
        if domain == NONE || by == 0 {
            return;
        }
        let old = self.per_domain.get(domain);
        self.per_domain.add(domain, by);
        self.uneven += usize::from(old == 0);
        self.uneven -= usize::from(old + by == 0);
    }

    fn at(&self, cache: &Cache, node: u32) -> i64 {
        self.per_domain.get(cache.topology(self.topology).of(node))
    }

    /// Whether no domain would have a count if the node's had so much more.
    fn is_even_with(&self, cache: &Cache, node: u32, more: i64) -> bool {
        let here = self.at(cache, node);
        let others = self.uneven - usize::from(here != 0);
        others == 0 && here + more == 0
    }
}

/// Counts of terms, those about the same label together.
#[derive(Default)]
struct ByLabel(Vec<Counts>);

impl ByLabel {
    fn add(&mut self, cache: &Cache, key: &str, node: &NodeInfo, by: i64) {
        let Some(topology) = cache.topology_index(key) else {
            return;
        };
        let index = match self.0.iter().position(|c| c.topology == topology) {
            Some(index) => index,
            None => {
                self.0.push(Counts {
                    topology,
                    per_domain: PerDomain::default(),
                    uneven: 0,
                });
                self.0.len() - 1
            }
        };
        self.0[index].add(cache, node, by);
    }

    fn is_even(&self) -> bool {
        self.0.iter().all(|c| c.uneven == 0)
    }

    fn of(&self, cache: &Cache, key: &str) -> Option<&Counts> {
        let topology = cache.topology_index(key)?;
        self.0.iter().find(|c| c.topology == topology)
    }
}

/// Whether terms are about a class, with the labels of its namespace.
fn about(term: &Term, class: &Class, cache: &Cache) -> bool {
    covers(term, class, cache.namespace_labels(&class.namespace))
}

impl FilterPlugin for InterPodAffinity {
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> Begin {
        let mut check = Check {
            own_near: !class.terms.near.is_empty()
                && class.terms.near.iter().all(|t| about(t, class, cache)),
            class: class.clone(),
            near: ByLabel::default(),
            far: ByLabel::default(),
            repelled: ByLabel::default(),
            covered: Covers::default(),
            covering: HashMap::new(),
        };
        for node in cache.nodes() {
            for pod in &node.pods {
                check.apply(cache, node, &pod.counted(), 1);
            }
        }
        Begin::Cluster(Box::new(check))
    }
}

struct Check {
    class: Arc<Class>,
    /// The pods meet all of their own terms: the first of them may go anywhere.
    own_near: bool,
    near: ByLabel,
    far: ByLabel,
    /// Where placed pods do not want these.
    repelled: ByLabel,
    /// Whether the own terms (near, then far) are about a class.
    covered: Covers,
    /// Which anti-affinity terms of a class are about this one.
    covering: HashMap<u64, Box<[usize]>>,
}

impl Check {
    /// How a pod counts: towards all near terms, which far terms, and which of its own terms repel.
    fn judge(&self, cache: &Cache, pod: &PodInfo) -> (bool, Vec<usize>, Vec<usize>) {
        let (own, theirs) = (&self.class.terms, &pod.class.terms);
        let near = !own.near.is_empty() && own.near.iter().all(|t| about(t, &pod.class, cache));
        let which = |terms: &[Term], class: &Class| {
            let all = terms.iter().enumerate();
            all.filter(|(_, t)| about(t, class, cache))
                .map(|(index, _)| index)
                .collect()
        };
        (
            near,
            which(&own.far, &pod.class),
            which(&theirs.far, &self.class),
        )
    }
}

impl ClusterFilter for Check {
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64) {
        let class = self.class.clone();
        let (own, theirs) = (&class.terms, &pod.class.terms);
        if !own.near.is_empty() || !own.far.is_empty() {
            let terms = own.near.len() + own.far.len();
            let covered = self.covered.of(pod.class.id, terms, |index| {
                let term = own
                    .near
                    .get(index)
                    .or_else(|| own.far.get(index - own.near.len()));
                term.is_some_and(|t| about(t, &pod.class, cache))
            });
            let (near, far) = covered.split_at(own.near.len());
            if !near.is_empty() && near.iter().all(|c| *c) {
                for term in &own.near {
                    self.near.add(cache, &term.key, node, by);
                }
            }
            for (term, _) in own.far.iter().zip(far).filter(|(_, covered)| **covered) {
                self.far.add(cache, &term.key, node, by);
            }
        }
        if !theirs.far.is_empty() {
            let covering = self.covering.entry(pod.class.id).or_insert_with(|| {
                let all = theirs.far.iter().enumerate();
                all.filter(|(_, t)| about(t, &class, cache))
                    .map(|(index, _)| index)
                    .collect()
            });
            for index in covering {
                self.repelled.add(cache, &theirs.far[*index].key, node, by);
            }
        }
    }

    fn idle(&self) -> bool {
        let own = &self.class.terms;
        own.near.is_empty() && own.far.is_empty() && self.repelled.is_even()
    }

    fn check(&self, cache: &Cache, node: &NodeInfo, overlay: Overlay<'_>) -> Result<(), Rejection> {
        let own = &self.class.terms;
        let (mut more_near, mut more_far, mut more_repelled) = (0, vec![], vec![]);
        for (pod, by) in overlay.changes() {
            let (near, far, repelled) = self.judge(cache, pod);
            more_near += if near { by } else { 0 };
            more_far.extend(far.into_iter().map(|index| (&*own.far[index].key, by)));
            let theirs = &pod.class.terms.far;
            let keys = repelled.into_iter().map(|index| theirs[index].key.clone());
            more_repelled.extend(keys.map(|key| (key, by)));
        }
        let count = |counts: &ByLabel, key: &str| {
            counts.of(cache, key).map_or(0, |c| c.at(cache, node.slot))
        };
        if !own.near.is_empty() {
            let labelled = own.near.iter().all(|t| node.label(&t.key).is_some());
            // A pod counts once for each term about the same label.
            let more = |key: &str| {
                let terms = own.near.iter().filter(|t| *t.key == *key).count();
                more_near * i64::try_from(terms).unwrap_or_default()
            };
            let exist = own
                .near
                .iter()
                .all(|t| count(&self.near, &t.key) + more(&t.key) > 0);
            let first = self.own_near
                && own.near.iter().all(|t| {
                    let counts = self.near.of(cache, &t.key);
                    let here = node.label(&t.key).map_or(0, |_| more(&t.key));
                    counts.map_or(here == 0, |c| c.is_even_with(cache, node.slot, here))
                });
            if !labelled || !(exist || first) {
                return Err(Rejection::unresolvable(
                    "node(s) didn't match pod affinity rules",
                ));
            }
        }
        for term in &own.far {
            let key = &*term.key;
            let more: i64 = more_far
                .iter()
                .filter(|(k, _)| *k == key && node.label(key).is_some())
                .map(|(_, by)| by)
                .sum();
            if count(&self.far, key) + more > 0 {
                return Err(Rejection::unschedulable(
                    "node(s) didn't match pod anti-affinity rules",
                ));
            }
        }
        let more = |topology: usize| -> i64 {
            let label = &cache.topology(topology).key;
            let here = cache.topology(topology).of(node.slot) != NONE;
            let about = more_repelled.iter().filter(|(k, _)| here && k == label);
            about.map(|(_, by)| by).sum()
        };
        let repelled = self
            .repelled
            .0
            .iter()
            .any(|c| c.at(cache, node.slot) + more(c.topology) > 0);
        let newly = || {
            more_repelled.iter().any(|(key, by)| {
                *by > 0 && node.label(key).is_some() && self.repelled.of(cache, key).is_none()
            })
        };
        if repelled || newly() {
            return Err(Rejection::unschedulable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
        }
        Ok(())
    }
}

impl ScorePlugin for InterPodAffinity {
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> BeginScore {
        if self.ignore_placed && class.terms.preferred.is_empty() {
            return BeginScore::Skip;
        }
        let mut liked = Liked {
            class: class.clone(),
            hard_weight: self.hard_weight,
            counts: ByLabel::default(),
            weights: HashMap::new(),
        };
        for node in cache.nodes() {
            for pod in &node.pods {
                liked.apply(cache, node, &pod.counted(), 1);
            }
        }
        BeginScore::Cluster(Box::new(liked))
    }
}

/// Labels and what counts for their domains.
type Weights = Box<[(Box<str>, i64)]>;

struct Liked {
    class: Arc<Class>,
    hard_weight: i64,
    counts: ByLabel,
    /// What each pod of a class weighs, by label.
    weights: HashMap<u64, Weights>,
}

impl Liked {
    fn weigh(&self, cache: &Cache, pod: &Counted) -> Weights {
        let (own, theirs) = (&self.class.terms, &pod.class.terms);
        let mine = own
            .preferred
            .iter()
            .filter(|(t, _)| about(t, &pod.class, cache));
        let mine = mine.map(|(t, weight)| (t, *weight));
        let soft = theirs
            .preferred
            .iter()
            .filter(|(t, _)| about(t, &self.class, cache));
        let soft = soft.map(|(t, weight)| (t, *weight));
        let hard = theirs.near.iter().filter(|t| about(t, &self.class, cache));
        let hard = hard.map(|t| (t, self.hard_weight));
        mine.chain(soft)
            .chain(hard)
            .map(|(t, weight)| (t.key.clone(), weight))
            .collect()
    }
}

impl ClusterScore for Liked {
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64) {
        if self.class.terms.preferred.is_empty() && pod.class.terms.is_empty() {
            return;
        }
        if !self.weights.contains_key(&pod.class.id) {
            let weights = self.weigh(cache, pod);
            self.weights.insert(pod.class.id, weights);
        }
        for (key, weight) in self.weights.get(&pod.class.id).into_iter().flatten() {
            self.counts.add(cache, key, node, weight * by);
        }
    }

    fn idle(&self) -> bool {
        self.counts.is_even()
    }

    fn scores(&mut self, cache: &Cache, feasible: &[u32], out: &mut Vec<i64>) {
        let raw = |slot: &u32| {
            self.counts
                .0
                .iter()
                .map(|c| c.at(cache, *slot))
                .sum::<i64>()
        };
        out.extend(feasible.iter().map(raw));
        let least = out.iter().copied().min().unwrap_or_default();
        let range = out.iter().copied().max().unwrap_or_default() - least;
        for score in out {
            *score = match range {
                0 => 0,
                _ => (MAX_SCORE as f64 * ((*score - least) as f64 / range as f64)) as i64,
            };
        }
    }
}
