//! One scheduling cycle: which node is best for this pod. Pure: reads the cache, changes nothing.

use std::collections::BTreeSet;

use super::{Begin, NodeFilter, diagnosis::Diagnosis, profile::Profile};
use crate::cache::{Cache, NodeInfo, PodInfo};

/// Picks the node for `pod`, or says why there is none.
///
/// `tie` chooses among `n` equally good nodes (an index below `n`): upstream picks at random.
pub fn place(
    profile: &Profile,
    cache: &Cache,
    pod: &PodInfo,
    tie: &mut dyn FnMut(usize) -> usize,
) -> Result<Box<str>, Box<Diagnosis>> {
    let filters = Filters::begin(profile, cache, pod)?;
    let feasible = filters.feasible(cache)?;
    if let [only] = feasible.as_slice() {
        return Ok(only.name.clone());
    }
    let scores = score(profile, cache, pod, &feasible);
    let best = scores.iter().copied().max().unwrap_or_default();
    let mut leaders = feasible
        .iter()
        .zip(&scores)
        .filter(|(_, s)| **s == best)
        .map(|(n, _)| n);
    let count = leaders.clone().count();
    let chosen = if count > 1 {
        tie(count).min(count - 1)
    } else {
        0
    };
    match leaders.nth(chosen) {
        Some(node) => Ok(node.name.clone()),
        None => Err(Box::new(Diagnosis {
            total: cache.len(),
            ..Diagnosis::default()
        })),
    }
}

/// The weighted sum of every plugin's scores, in the order of `feasible`.
pub fn score<'c>(
    profile: &'c Profile,
    cache: &'c Cache,
    pod: &'c PodInfo,
    feasible: &[&'c NodeInfo],
) -> Vec<i64> {
    let mut totals = vec![0; feasible.len()];
    for (plugin, weight) in &profile.scorers {
        let Some(scorer) = plugin.begin(pod, cache, feasible) else {
            continue;
        };
        let mut scores: Vec<i64> = feasible.iter().map(|node| scorer.score(node)).collect();
        scorer.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * weight;
        }
    }
    totals
}

/// The filters that have something to say about one pod, begun.
pub struct Filters<'c> {
    checks: Vec<(&'static str, Box<dyn NodeFilter + 'c>)>,
    only: Option<(&'static str, BTreeSet<Box<str>>)>,
}

impl<'c> Filters<'c> {
    /// Begins every filter of the profile.
    pub fn begin(
        profile: &'c Profile,
        cache: &'c Cache,
        pod: &'c PodInfo,
    ) -> Result<Filters<'c>, Box<Diagnosis>> {
        let mut filters = Filters {
            checks: Vec::new(),
            only: None,
        };
        for plugin in &profile.filters {
            match plugin.begin(pod, cache) {
                Begin::Skip => {}
                Begin::Check(check) => filters.checks.push((plugin.name(), check)),
                Begin::Only(names, check) => {
                    filters.checks.push((plugin.name(), check));
                    let names: BTreeSet<_> = names.into_iter().collect();
                    filters.only = Some(match filters.only {
                        None => (plugin.name(), names),
                        Some((first, had)) => (first, had.intersection(&names).cloned().collect()),
                    });
                }
                Begin::Reject(rejection) => {
                    let mut diagnosis = Diagnosis {
                        total: cache.len(),
                        ..Diagnosis::default()
                    };
                    diagnosis.plugins.insert(plugin.name(), cache.len());
                    diagnosis.whole = Some(rejection.reasons.join(", "));
                    return Err(Box::new(diagnosis));
                }
            }
        }
        Ok(filters)
    }

    /// The nodes that pass, or why none does.
    pub fn feasible(&self, cache: &'c Cache) -> Result<Vec<&'c NodeInfo>, Box<Diagnosis>> {
        let mut diagnosis = Diagnosis {
            total: cache.len(),
            ..Diagnosis::default()
        };
        let mut feasible = Vec::new();
        match &self.only {
            Some((plugin, names)) => {
                let known: Vec<&NodeInfo> =
                    names.iter().filter_map(|name| cache.node(name)).collect();
                if known.is_empty() {
                    diagnosis.plugins.insert(plugin, diagnosis.total);
                    diagnosis.reasons.insert(
                        "node(s) didn't satisfy plugin(s) [NodeAffinity]".into(),
                        diagnosis.total,
                    );
                }
                for node in known {
                    self.sift(node, &mut feasible, &mut diagnosis);
                }
                let outside = diagnosis.total.saturating_sub(names.len());
                if outside > 0 && !diagnosis.reasons.is_empty() {
                    *diagnosis
                        .reasons
                        .entry("node(s) didn't satisfy plugin(s) [NodeAffinity]".into())
                        .or_default() = outside;
                }
            }
            None => {
                for node in cache.nodes() {
                    self.sift(node, &mut feasible, &mut diagnosis);
                }
            }
        }
        if feasible.is_empty() {
            Err(Box::new(diagnosis))
        } else {
            Ok(feasible)
        }
    }

    /// Whether the node passes every filter.
    pub fn passes(&self, node: &NodeInfo) -> bool {
        self.checks
            .iter()
            .all(|(_, check)| check.check(node).is_ok())
    }

    fn sift(
        &self,
        node: &'c NodeInfo,
        feasible: &mut Vec<&'c NodeInfo>,
        diagnosis: &mut Diagnosis,
    ) {
        for (plugin, check) in &self.checks {
            if let Err(rejection) = check.check(node) {
                diagnosis.reject(plugin, &node.name, rejection);
                return;
            }
        }
        feasible.push(node);
    }
}
