//! DefaultPreemption: which pods would have to go so that a more important one fits.
//!
//! Pure: works on copies of the few nodes it examines. Evicting is done by the caller.

use std::{cmp::Reverse, sync::Arc};

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{cycle::Filters, diagnosis::Diagnosis, profile::Profile},
};

/// A node and the pods that must leave it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: Box<str>,
    /// Its victims, most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many victims' disruption budgets forbid it.
    pub violations: usize,
}

/// Looks for the node where the least is lost.
///
/// `protected` says whether evicting this pod would violate its PodDisruptionBudget.
pub fn find(
    profile: &Profile,
    cache: &Cache,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    protected: &dyn Fn(&PodInfo) -> bool,
) -> Result<Candidate, String> {
    let total = diagnosis.total;
    let unhelpful = total.saturating_sub(diagnosis.preemptable.len());
    if pod.spec().preemption_policy.as_deref() == Some("Never") {
        return Err(format!(
            "0/{total} nodes are available: {total} Preemption is not helpful for scheduling."
        ));
    }
    let Ok(filters) = Filters::begin(profile, cache, pod) else {
        return Err(format!(
            "0/{total} nodes are available: {total} Preemption is not helpful for scheduling."
        ));
    };
    let candidates: Vec<Candidate> = diagnosis
        .preemptable
        .iter()
        .filter_map(|name| cache.node(name))
        .filter_map(|node| victims_on(&filters, node, pod, protected))
        .collect();
    candidates.into_iter().min_by_key(cost).ok_or_else(|| {
        let mut parts = Vec::new();
        if !diagnosis.preemptable.is_empty() {
            parts.push(format!(
                "{} No preemption victims found for incoming pod",
                diagnosis.preemptable.len()
            ));
        }
        if unhelpful > 0 {
            parts.push(format!(
                "{unhelpful} Preemption is not helpful for scheduling"
            ));
        }
        parts.sort();
        format!("0/{total} nodes are available: {}.", parts.join(", "))
    })
}

/// Upstream's order: fewest budget violations, lowest highest priority, lowest sum of priorities,
/// fewest victims; then by name, so that the answer is the same each time.
fn cost(candidate: &Candidate) -> (usize, i32, i64, usize, Box<str>) {
    let highest = candidate
        .victims
        .iter()
        .map(|v| v.priority)
        .max()
        .unwrap_or(i32::MIN);
    // Shifted so that many victims of negative priority do not look cheap.
    let sum = candidate
        .victims
        .iter()
        .map(|v| i64::from(v.priority) + i64::from(i32::MAX) + 1)
        .sum();
    (
        candidate.violations,
        highest,
        sum,
        candidate.victims.len(),
        candidate.node.clone(),
    )
}

/// Takes every less important pod away, then gives back as many as fit, the most important first.
fn victims_on(
    filters: &Filters<'_>,
    node: &NodeInfo,
    pod: &PodInfo,
    protected: &dyn Fn(&PodInfo) -> bool,
) -> Option<Candidate> {
    let mut node = node.clone();
    let mut lesser: Vec<Arc<PodInfo>> = node
        .pods
        .values()
        .filter(|p| p.priority < pod.priority)
        .cloned()
        .collect();
    if lesser.is_empty() {
        return None;
    }
    for victim in &lesser {
        node.remove_pod(&victim.uid);
    }
    if !filters.passes(&node) {
        return None;
    }
    // Budgets are honoured first, then importance: priority, then age.
    lesser.sort_by_key(|p| {
        (
            Reverse(protected(p)),
            Reverse(p.priority),
            p.pod
                .status
                .as_ref()
                .and_then(|s| s.start_time.as_ref().map(|t| t.0)),
        )
    });
    let mut victims = Vec::new();
    let mut violations = 0;
    for candidate in lesser {
        node.add_pod(candidate.clone());
        if !filters.passes(&node) {
            node.remove_pod(&candidate.uid);
            violations += usize::from(protected(&candidate));
            victims.push(candidate);
        }
    }
    victims.sort_by_key(|p| Reverse(p.priority));
    Some(Candidate {
        node: node.name.clone(),
        victims,
        violations,
    })
}
