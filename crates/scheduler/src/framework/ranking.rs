//! What is known of every node for one class of pods, kept from cycle to cycle.
//!
//! A ranking is made by asking every local filter and score about every node once. From then on it
//! reads the cache's log: a change makes it ask again about that node alone, and tells the cluster
//! filters and scores of pods that came and went. Placing a pod is such a change, so the next equal
//! pod finds the ranking repaired by one node.

use std::{collections::HashMap, sync::Arc};

use super::{
    Begin, BeginScore, ClusterFilter, ClusterScore, LocalFilter, LocalScore, Normalize, PodBegin,
    PodFilter, Rejection,
    best::Best,
    diagnosis::Diagnosis,
    profile::{Filter, Profile},
};
use crate::{
    cache::{
        Cache, NodeInfo, PodInfo,
        class::Class,
        log::{Change, Extent},
    },
    plugins::devices::plugin::Released,
    preemption::Memo,
};

mod verdict;

/// What is said of nodes that PreFilter has left out.
const LEFT_OUT: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";

/// A local filter's no.
#[derive(Clone, Debug)]
struct Refusal {
    /// Which filter, by its place in the profile.
    order: usize,
    plugin: &'static str,
    rejection: Rejection,
}

/// Something in the profile's order, with its plugin's name.
struct Placed<T: ?Sized> {
    order: usize,
    plugin: &'static str,
    part: Box<T>,
}

struct Scorer {
    weight: i64,
    part: Box<dyn LocalScore>,
    normalize: Normalize,
    /// By slot; only where `normalize` is not [`Normalize::Already`].
    raw: Vec<i64>,
    /// How many fitting nodes have a raw score other than zero.
    uneven: usize,
}

/// See the module.
pub struct Ranking {
    class: Arc<Class>,
    seen: u64,
    epoch: u64,
    /// Set when no node will do, whatever it is.
    rejected: Option<(&'static str, Rejection)>,
    /// Set when only some nodes come into question; a ranking of these is not kept.
    only: Option<Vec<u32>>,
    locals: Vec<Placed<dyn LocalFilter>>,
    clusters: Vec<Placed<dyn ClusterFilter>>,
    scorers: Vec<Scorer>,
    cluster_scorers: Vec<(i64, Box<dyn ClusterScore>)>,
    /// Of the nodes that exist and were refused, by slot.
    refused: Vec<Option<Box<Refusal>>>,
    /// The fitting nodes by the sum of the scores that need no normalizing.
    best: Best,
    /// Counts over `refused`.
    tally: Diagnosis,
    /// What preemption worked out, by node.
    pub(crate) memo: Memo,
    feasible: Vec<u32>,
    totals: Vec<i64>,
    scratch: Vec<i64>,
}

/// The filters of one cycle that know the pod itself.
pub struct PodFilters<'c> {
    filters: Vec<(usize, &'static str, Box<dyn PodFilter + 'c>)>,
    /// How much their scores count.
    weight: i64,
}

impl<'c> PodFilters<'c> {
    /// Begins them.
    pub fn begin(
        profile: &'c Profile,
        pod: &'c PodInfo,
        cache: &'c Cache,
    ) -> Result<PodFilters<'c>, (&'static str, Rejection)> {
        let mut filters = Vec::new();
        for (order, filter) in profile.filters.iter().enumerate() {
            if let Filter::Pod(plugin) = filter {
                match plugin.begin(pod, cache) {
                    PodBegin::Skip => {}
                    PodBegin::Reject(rejection) => return Err((plugin.name(), rejection)),
                    PodBegin::Check(check) => filters.push((order, plugin.name(), check)),
                }
            }
        }
        Ok(PodFilters {
            filters,
            weight: profile.device_weight,
        })
    }

    /// What went wrong with the checks so far.
    pub fn trouble(&self) -> Option<String> {
        self.filters.iter().find_map(|(_, _, f)| f.trouble())
    }

    /// What must be written before the pod may be bound to this node.
    pub fn reserve(&self, node: &NodeInfo) -> Vec<crate::bind::Prepare> {
        self.filters
            .iter()
            .flat_map(|(_, _, f)| f.reserve(node))
            .collect()
    }
}

impl Ranking {
    /// Asks about every node.
    pub fn new(profile: &Profile, class: &Arc<Class>, cache: &Cache) -> Ranking {
        let mut ranking = Ranking {
            class: class.clone(),
            seen: cache.log.head(),
            epoch: cache.epoch,
            rejected: None,
            only: None,
            locals: Vec::new(),
            clusters: Vec::new(),
            scorers: Vec::new(),
            cluster_scorers: Vec::new(),
            refused: Vec::new(),
            best: Best::default(),
            tally: Diagnosis::default(),
            memo: Memo::default(),
            feasible: Vec::new(),
            totals: Vec::new(),
            scratch: Vec::new(),
        };
        ranking.begin_filters(profile, cache);
        ranking.begin_scores(profile, cache);
        match ranking.only.clone() {
            Some(slots) => slots.iter().for_each(|slot| ranking.assess(cache, *slot)),
            None => (0..cache.slots()).for_each(|slot| {
                ranking.assess(cache, u32::try_from(slot).unwrap_or(u32::MAX));
            }),
        }
        ranking
    }

    fn begin_filters(&mut self, profile: &Profile, cache: &Cache) {
        for (order, filter) in profile.filters.iter().enumerate() {
            let Filter::Class(plugin) = filter else {
                continue;
            };
            let plugin_name = plugin.name();
            let local = |part| Placed {
                order,
                plugin: plugin_name,
                part,
            };
            match plugin.begin(&self.class, cache) {
                Begin::Skip => {}
                Begin::Reject(rejection) => {
                    self.rejected = Some((plugin_name, rejection));
                    return;
                }
                Begin::Only(names, part) => {
                    self.locals.push(local(part));
                    let mut slots: Vec<u32> = names
                        .iter()
                        .filter_map(|n| cache.node(n).map(|n| n.slot))
                        .collect();
                    slots.sort_unstable();
                    slots.dedup();
                    match &mut self.only {
                        None => self.only = Some(slots),
                        Some(had) => had.retain(|s| slots.contains(s)),
                    }
                }
                Begin::Local(part) => self.locals.push(local(part)),
                Begin::Cluster(part) => self.clusters.push(Placed {
                    order,
                    plugin: plugin_name,
                    part,
                }),
            }
        }
    }

    fn begin_scores(&mut self, profile: &Profile, cache: &Cache) {
        for (plugin, weight) in &profile.scorers {
            match plugin.begin(&self.class, cache) {
                BeginScore::Skip => {}
                BeginScore::Local(part, normalize) => self.scorers.push(Scorer {
                    weight: *weight,
                    part,
                    normalize,
                    raw: Vec::new(),
                    uneven: 0,
                }),
                BeginScore::Cluster(part) => self.cluster_scorers.push((*weight, part)),
            }
        }
    }

    /// Whether it may be kept for the next pod of the class.
    pub fn lasts(&self) -> bool {
        self.only.is_none()
    }

    /// Repairs it by what changed; false when it has to be made anew.
    pub fn catch_up(&mut self, cache: &Cache) -> bool {
        if self.epoch != cache.epoch {
            return false;
        }
        let Some(changes) = cache.log.since(self.seen) else {
            return false;
        };
        let (mut last, mut most) = (u32::MAX, Extent::Status);
        let mut dirty = Vec::new();
        for change in changes {
            let slot = change.slot();
            if slot != last {
                dirty.push(slot);
                last = slot;
            }
            match change {
                Change::Node { extent, .. } => most = most.max(*extent),
                Change::Nominated { .. } => {}
                Change::Pod { pod, added, .. } => {
                    // A node that is gone has no domains any more; its labels changed shape first.
                    let (node, by) = (cache.at(slot), if *added { 1 } else { -1 });
                    for filter in &mut self.clusters {
                        filter.part.apply(cache, node, pod, by);
                    }
                    for (_, scorer) in &mut self.cluster_scorers {
                        scorer.apply(cache, node, pod, by);
                    }
                }
            }
        }
        if self.counts_other_nodes(most) {
            return false;
        }
        dirty.sort_unstable();
        dirty.dedup();
        for slot in dirty {
            self.memo.forget(slot);
            self.assess(cache, slot);
        }
        self.seen = cache.log.head();
        true
    }

    /// Whether a change of a node changes which nodes count, and in which domains: then counts are made
    /// anew.
    fn counts_other_nodes(&self, extent: Extent) -> bool {
        match extent {
            Extent::Status => false,
            Extent::Taints => {
                let mut scorers = self.cluster_scorers.iter();
                self.clusters
                    .iter()
                    .any(|filter| filter.part.minds_taints())
                    || scorers.any(|(_, scorer)| scorer.minds_taints())
            }
            Extent::Shape => !(self.clusters.is_empty() && self.cluster_scorers.is_empty()),
        }
    }

    /// Asks the local filters and scores about one node.
    fn assess(&mut self, cache: &Cache, slot: u32) {
        let index = slot as usize;
        if self.refused.len() <= index {
            self.refused.resize_with(index + 1, || None);
        }
        let node = cache.at(slot);
        let refusal = match &node.node {
            None => None,
            Some(_) => self.check_locals(cache, node).err(),
        };
        let fits = node.node.is_some() && refusal.is_none();
        let unchanged = match (&self.refused[index], &refusal) {
            (Some(old), Some(new)) => old.rejection == new.rejection && old.plugin == new.plugin,
            (None, None) => true,
            _ => false,
        };
        if !unchanged {
            if let Some(old) = self.refused[index].take() {
                self.tally.accept(old.plugin, &old.rejection);
            }
            if let Some(new) = refusal {
                self.tally.reject(new.plugin, &new.rejection);
                self.refused[index] = Some(new);
            }
        }
        let mut sum = 0;
        for scorer in &mut self.scorers {
            let score = if fits {
                scorer.part.score(cache, node)
            } else {
                0
            };
            if scorer.normalize == Normalize::Already {
                sum += score * scorer.weight;
                continue;
            }
            if scorer.raw.len() <= index {
                scorer.raw.resize(index + 1, 0);
            }
            let old = std::mem::replace(&mut scorer.raw[index], score);
            scorer.uneven += usize::from(score != 0);
            scorer.uneven -= usize::from(old != 0);
        }
        self.best.set(slot, fits.then_some(sum));
    }

    /// The nodes of the best score: one of them is for the caller to choose. Or why none will do.
    pub fn choose(
        &mut self,
        cache: &Cache,
        pods: &PodFilters<'_>,
    ) -> Result<&[u32], Box<Diagnosis>> {
        if self.rejected.is_some() || self.best.is_empty() {
            return Err(Box::new(self.diagnosis(cache, pods)));
        }
        let plain = pods.filters.is_empty()
            && self.clusters.iter().all(|f| f.part.idle())
            && self.cluster_scorers.iter().all(|(_, s)| s.idle())
            && self.scorers.iter().all(|s| s.uneven == 0);
        if plain {
            return Ok(self.best.leaders());
        }
        self.collect_feasible(cache, pods);
        if self.feasible.is_empty() {
            return Err(Box::new(self.diagnosis(cache, pods)));
        }
        self.score(cache, pods);
        let best = self.totals.iter().copied().max().unwrap_or_default();
        let mut index = 0;
        let totals = &self.totals;
        self.feasible.retain(|_| {
            index += 1;
            totals[index - 1] == best
        });
        Ok(&self.feasible)
    }

    /// Every feasible node with its score, for extenders and tests.
    pub fn scored(
        &mut self,
        cache: &Cache,
        pods: &PodFilters<'_>,
    ) -> Result<Vec<(u32, i64)>, Box<Diagnosis>> {
        self.collect_feasible(cache, pods);
        if self.feasible.is_empty() || self.rejected.is_some() {
            return Err(Box::new(self.diagnosis(cache, pods)));
        }
        self.score(cache, pods);
        let pairs = self.feasible.iter().zip(&self.totals);
        Ok(pairs.map(|(slot, score)| (*slot, *score)).collect())
    }

    fn collect_feasible(&mut self, cache: &Cache, pods: &PodFilters<'_>) {
        let mut feasible = std::mem::take(&mut self.feasible);
        feasible.clear();
        if pods.filters.is_empty() && self.is_local() {
            feasible.extend(self.best.iter());
        } else {
            feasible.extend(
                self.best
                    .iter()
                    .filter(|slot| self.check_rest(cache, pods, cache.at(*slot)).is_none()),
            );
        }
        self.feasible = feasible;
    }

    fn score(&mut self, cache: &Cache, pods: &PodFilters<'_>) {
        self.totals.clear();
        let flat = self
            .feasible
            .iter()
            .map(|s| self.best.get(*s).unwrap_or_default());
        self.totals.extend(flat);
        for scorer in self.scorers.iter().filter(|s| s.uneven > 0) {
            let raw = |slot: &u32| scorer.raw.get(*slot as usize).copied().unwrap_or_default();
            let highest = self.feasible.iter().map(raw).max().unwrap_or_default();
            for (total, slot) in self.totals.iter_mut().zip(&self.feasible) {
                *total += scorer.weight * scorer.normalize.apply(raw(slot), highest);
            }
        }
        for (weight, scorer) in &mut self.cluster_scorers {
            if scorer.idle() {
                continue;
            }
            self.scratch.clear();
            scorer.scores(cache, &self.feasible, &mut self.scratch);
            for (total, score) in self.totals.iter_mut().zip(&self.scratch) {
                *total += *weight * score;
            }
        }
        for (_, _, filter) in &pods.filters {
            self.scratch.clear();
            let scores = self.feasible.iter().map(|s| filter.score(cache.at(*s)));
            self.scratch.extend(scores);
            let highest = self.scratch.iter().copied().max().unwrap_or_default();
            for (total, score) in self.totals.iter_mut().zip(&self.scratch) {
                *total += pods.weight * Normalize::ToMax.apply(*score, highest);
            }
        }
    }

    /// What could be given up for a pod that fits nowhere.
    pub fn release(&self, cache: &Cache, pods: &PodFilters<'_>) -> Released {
        let mut filters = pods.filters.iter();
        let released = filters.find_map(|(_, _, filter)| {
            let mut nodes = self.best.iter().map(|slot| cache.at(slot));
            filter.release(&mut nodes)
        });
        released.unwrap_or(Released::Nothing)
    }

    /// The plugin for which no node will do, whatever it is.
    pub fn rejected_by(&self) -> Option<&'static str> {
        self.rejected.as_ref().map(|(plugin, _)| *plugin)
    }

    fn diagnosis(&self, cache: &Cache, pods: &PodFilters<'_>) -> Diagnosis {
        if let Some((plugin, rejection)) = &self.rejected {
            return whole(cache, plugin, rejection);
        }
        let mut diagnosis = self.tally.clone();
        diagnosis.total = cache.len();
        let others = self.others_begin(pods);
        for (slot, refusal) in self.refused.iter().enumerate() {
            let Some(refusal) = refusal.as_deref().filter(|_| others.is_some()) else {
                continue;
            };
            let node = cache.at(u32::try_from(slot).unwrap_or(u32::MAX));
            if let Some(other) = self.earlier(cache, pods, node, refusal, others) {
                diagnosis.accept(refusal.plugin, &refusal.rejection);
                diagnosis.reject(other.plugin, &other.rejection);
            }
        }
        for slot in self.best.iter() {
            if let Some(refusal) = self.check_rest(cache, pods, cache.at(slot)) {
                diagnosis.reject(refusal.plugin, &refusal.rejection);
            }
        }
        if let Some(only) = &self.only {
            let outside = cache.len() - only.len();
            if outside > 0 {
                diagnosis.reasons.insert(LEFT_OUT.into(), outside);
            }
            *diagnosis.plugins.entry("NodeAffinity").or_default() += outside;
        }
        diagnosis
    }
}

/// A plugin rejected the pod for every node at once.
pub fn whole(cache: &Cache, plugin: &'static str, rejection: &Rejection) -> Diagnosis {
    Diagnosis {
        total: cache.len(),
        plugins: [(plugin, cache.len())].into(),
        whole: Some(rejection.reasons.join(", ")),
        ..Diagnosis::default()
    }
}

/// Rankings kept. Beyond them the one unused for longest goes, and is made anew when it is asked for.
const KEPT: usize = 64;

/// The rankings of a profile by class.
#[derive(Default)]
pub struct Rankings {
    kept: HashMap<u64, (u64, Ranking)>,
    tick: u64,
}

impl Rankings {
    /// Takes the ranking of a class out, up to date. [`Rankings::put`] it back.
    pub fn take(&mut self, profile: &Profile, class: &Arc<Class>, cache: &Cache) -> Ranking {
        match self.kept.remove(&class.id) {
            Some((_, mut ranking)) => {
                if ranking.catch_up(cache) {
                    ranking
                } else {
                    Ranking::new(profile, class, cache)
                }
            }
            None => Ranking::new(profile, class, cache),
        }
    }

    /// Keeps it for the next pod of its class.
    pub fn put(&mut self, ranking: Ranking) {
        if !ranking.lasts() {
            return;
        }
        self.tick += 1;
        if self.kept.len() >= KEPT
            && !self.kept.contains_key(&ranking.class.id)
            && let Some(oldest) = self.kept.iter().min_by_key(|(_, (t, _))| *t)
        {
            let oldest = *oldest.0;
            self.kept.remove(&oldest);
        }
        self.kept.insert(ranking.class.id, (self.tick, ranking));
    }

    /// Gives all memory back: nothing waits to be scheduled.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests;
