//! DefaultPreemption: which pods would have to go so that a more important one fits.
//!
//! Pure: works on copies of the few nodes it examines. Evicting is done by the caller. What was found
//! about a node is remembered with the class's ranking until that node changes, so that the next
//! equal pod examines only the node the last one took.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api::labels::Selector;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::{
    cache::{Cache, NodeInfo, PodInfo, terms},
    framework::{
        Overlay, Rejection,
        diagnosis::Diagnosis,
        ranking::{PodFilters, Ranking},
    },
};

/// A node and the pods that must leave it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: Arc<str>,
    /// Its victims, most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many victims' disruption budgets forbid it.
    pub violations: usize,
    /// Less important pods that were nominated here and are not any more.
    pub displaced: Vec<Arc<PodInfo>>,
    cost: Cost,
}

/// Upstream's order: fewest budget violations, lowest highest priority, lowest sum of priorities,
/// fewest victims, latest start of the most important of them.
type Cost = (usize, i32, i64, usize, Reverse<i64>);

/// What was found out about nodes for one class, by slot.
#[derive(Debug, Default)]
pub struct Memo {
    found: HashMap<u32, Outcome>,
    /// State of the budgets it was found under.
    budgets: u64,
}

type Outcome = Result<Arc<Candidate>, Vec<Cow<'static, str>>>;

impl Memo {
    /// The node has changed.
    pub fn forget(&mut self, slot: u32) {
        self.found.remove(&slot);
    }
}

/// The PodDisruptionBudgets.
#[derive(Debug, Default)]
pub struct Budgets {
    /// By namespace, then name.
    all: HashMap<Box<str>, BTreeMap<Box<str>, Budget>>,
    epoch: u64,
}

#[derive(Debug)]
struct Budget {
    selector: Selector,
    /// Covers nothing, as upstream's preemption has it (the eviction API has it otherwise).
    empty: bool,
    allowed: i64,
    /// Names of pods whose eviction is counted already.
    disrupted: Vec<String>,
}

impl Budgets {
    /// A budget came, changed or (with none) went.
    pub fn apply(&mut self, namespace: &str, name: &str, budget: Option<&PodDisruptionBudget>) {
        self.epoch += 1;
        let there = self.all.entry(namespace.into()).or_default();
        match budget {
            None => {
                there.remove(name);
            }
            Some(budget) => {
                let status = budget.status.as_ref();
                let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
                let budget = Budget {
                    selector: terms::selector(selector),
                    empty: selector.is_none_or(terms::is_empty),
                    allowed: status.map_or(0, |s| s.disruptions_allowed.unwrap_or_default().into()),
                    disrupted: status
                        .and_then(|s| s.disrupted_pods.as_ref())
                        .map(|pods| pods.keys().cloned().collect())
                        .unwrap_or_default(),
                };
                there.insert(name.into(), budget);
            }
        }
    }

    /// For each pod in order, whether evicting it after those before it violates a budget.
    fn violated<'p>(&self, pods: impl Iterator<Item = &'p PodInfo>) -> Vec<bool> {
        let mut taken: HashMap<(&str, &str), i64> = HashMap::new();
        pods.map(|pod| {
            let Some((namespace, budgets)) = self.all.get_key_value(pod.namespace()) else {
                return false;
            };
            let mut violates = false;
            for (name, budget) in budgets {
                let covers = !pod.class.labels.is_empty()
                    && !budget.empty
                    && budget.selector.matches(pod.class.labels());
                if !covers || budget.disrupted.iter().any(|n| n == pod.name()) {
                    continue;
                }
                let taken = taken.entry((namespace, name)).or_default();
                *taken += 1;
                violates |= *taken > budget.allowed;
            }
            violates
        })
        .collect()
    }
}

/// Why there is nobody to evict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// Nobody is looked for: the pod evicts nobody, or waits for pods it has had evicted. What was
    /// nominated stays so.
    Waiting(String),
    /// Nothing can be done, in upstream's words; a nomination is void.
    Hopeless(String),
}

/// Looks for the node where the least is lost. `nominated` is where room was made for the pod before.
pub fn find(
    ranking: &mut Ranking,
    cache: &Cache,
    pods: &PodFilters<'_>,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    nominated: Option<&NodeInfo>,
) -> Result<Arc<Candidate>, NoCandidate> {
    if !pod.class.may_preempt {
        let why = "not eligible due to preemptionPolicy=Never.";
        return Err(NoCandidate::Waiting(why.into()));
    }
    // Unless nothing that goes could help there.
    let nominated = nominated.filter(|node| !ranking.is_hopeless(cache, pods, node));
    if nominated.is_some_and(|node| makes_room(node, pod)) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return Err(NoCandidate::Waiting(why.into()));
    }
    let total = diagnosis.total;
    let mut no: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    let lesser = cache
        .lowest_priority()
        .is_some_and(|lowest| lowest < pod.priority());
    let mut best: Option<Arc<Candidate>> = None;
    let mut examined = diagnosis.preemptable;
    if lesser && examined > 0 {
        let slots = ranking.preemptable(cache, pods);
        examined = slots.len();
        let mut memo = std::mem::take(&mut ranking.memo);
        if memo.budgets != cache.budgets.epoch || !ranking.is_local() {
            memo.found.clear();
            memo.budgets = cache.budgets.epoch;
        }
        for slot in slots {
            let outcome = memo
                .found
                .entry(slot)
                .or_insert_with(|| victims_on(ranking, cache, pods, cache.at(slot), pod));
            match outcome {
                Ok(candidate) => {
                    if best.as_ref().is_none_or(|b| candidate.cost < b.cost) {
                        best = Some(candidate.clone());
                    }
                }
                Err(reasons) => {
                    for reason in reasons.iter() {
                        *no.entry(reason.clone()).or_default() += 1;
                    }
                }
            }
        }
        ranking.memo = memo;
    } else if examined > 0 {
        no.insert(NO_VICTIMS.into(), examined);
    }
    if let Some(best) = best {
        return Ok(best);
    }
    let unhelpful = total.saturating_sub(examined);
    if unhelpful > 0 {
        no.insert("Preemption is not helpful for scheduling".into(), unhelpful);
    }
    let mut parts: Vec<String> = no.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    let why = format!("0/{total} nodes are available: {}.", parts.join(", "));
    Err(NoCandidate::Hopeless(why))
}

const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Whether a less important pod is leaving the node because it was preempted.
fn makes_room(node: &NodeInfo, pod: &PodInfo) -> bool {
    let preempted = |p: &PodInfo| {
        let conditions = p.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        conditions.into_iter().flatten().any(|c| {
            c.type_ == "DisruptionTarget"
                && c.status == "True"
                && c.reason.as_deref() == Some("PreemptionByScheduler")
        })
    };
    node.pods
        .iter()
        .any(|p| p.priority() < pod.priority() && p.terminating() && preempted(p))
}

/// Takes every less important pod away, then gives back as many as fit, those that budgets shield
/// first, then the most important.
fn victims_on(
    ranking: &Ranking,
    cache: &Cache,
    pods: &PodFilters<'_>,
    original: &NodeInfo,
    pod: &PodInfo,
) -> Outcome {
    let mut node = original.clone();
    let mut lesser: Vec<Arc<PodInfo>> = node
        .pods
        .iter()
        .filter(|p| p.priority() < pod.priority())
        .cloned()
        .collect();
    if lesser.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    for victim in &lesser {
        node.remove_pod(&victim.uid);
    }
    lesser.sort_by_key(|p| importance(p));
    let mut removed = lesser.clone();
    fits(ranking, cache, pods, &node, &removed).map_err(|rejection| rejection.reasons)?;
    let violated = cache.budgets.violated(lesser.iter().map(|p| &**p));
    let shielded = || lesser.iter().zip(&violated).filter(|(_, v)| **v);
    let others = || lesser.iter().zip(&violated).filter(|(_, v)| !**v);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (candidate, violates) in shielded().chain(others()) {
        node.add_pod(candidate.clone());
        removed.retain(|p| p.uid != candidate.uid);
        if fits(ranking, cache, pods, &node, &removed).is_err() {
            node.remove_pod(&candidate.uid);
            removed.push(candidate.clone());
            violations += usize::from(*violates);
            victims.push(candidate.clone());
        }
    }
    victims.sort_by_key(|p| importance(p));
    let displaced = original
        .nominated
        .iter()
        .filter(|p| p.priority() < pod.priority())
        .cloned()
        .collect();
    Ok(Arc::new(Candidate {
        node: original.name.clone(),
        cost: cost(&victims, violations),
        victims,
        violations,
        displaced,
    }))
}

/// The most important first: priority, then age.
fn importance(pod: &PodInfo) -> (Reverse<i32>, i64) {
    (Reverse(pod.priority()), pod.started())
}

fn fits(
    ranking: &Ranking,
    cache: &Cache,
    pods: &PodFilters<'_>,
    node: &NodeInfo,
    removed: &[Arc<PodInfo>],
) -> Result<(), Rejection> {
    let overlay = Overlay {
        added: &[],
        removed,
    };
    ranking.fits_with_nominated(cache, pods, node, overlay)
}

fn cost(victims: &[Arc<PodInfo>], violations: usize) -> Cost {
    let highest = victims.first().map_or(i32::MIN, |v| v.priority());
    // Shifted so that many victims of negative priority do not look cheap.
    let sum = victims
        .iter()
        .map(|v| i64::from(v.priority()) + i64::from(i32::MAX) + 1)
        .sum();
    let earliest = victims
        .iter()
        .take_while(|v| v.priority() == highest)
        .map(|v| v.started())
        .min()
        .unwrap_or(i64::MAX);
    (violations, highest, sum, victims.len(), Reverse(earliest))
}

#[cfg(test)]
mod tests;
