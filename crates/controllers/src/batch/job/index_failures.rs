//! Failures counted per index (`backoffLimitPerIndex`): which indexes have failed for good, how often
//! an index has failed so far, and which failed pod has to stay until its count has been handed on.
//!
//! The count lives in annotations of the pods: a replacement carries the number of failures before
//! it. So the last failed pod of an index keeps its finalizer until its replacement is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;

use super::failure::{self, Judgement};
use super::{indexes, is_tracked};

/// Failures of the index before this pod that count.
pub(super) const COUNTED: &str = "batch.kubernetes.io/job-index-failure-count";
/// Failures of the index before this pod that the failure policy ignored.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// How often an index failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub counted: i32,
    pub ignored: i32,
}

impl Failures {
    fn total(self) -> i32 {
        self.counted.saturating_add(self.ignored)
    }
}

/// The failures before this pod; what is no number counts as none.
fn before(pod: &Pod) -> Failures {
    let number = |name: &str| {
        let text = pod.metadata.annotations.as_ref()?.get(name)?;
        text.parse::<i32>().ok().filter(|count| *count >= 0)
    };
    Failures {
        counted: number(COUNTED).unwrap_or_default(),
        ignored: number(IGNORED).unwrap_or_default(),
    }
}

/// The failures including this failed pod.
pub(super) fn with(spec: &JobSpec, failed: &Pod) -> Failures {
    let mut failures = before(failed);
    match failure::judge(spec.pod_failure_policy.as_ref(), failed) {
        Judgement::Ignore => failures.ignored = failures.ignored.saturating_add(1),
        _ => failures.counted = failures.counted.saturating_add(1),
    }
    failures
}

/// Does this pod end its index?
fn ends_index(job: &Job, spec: &JobSpec, limit: i32, pod: &Pod) -> bool {
    failure::is_failed(job, pod)
        && match failure::judge(spec.pod_failure_policy.as_ref(), pod) {
            Judgement::FailIndex => true,
            Judgement::Ignore => false,
            Judgement::Count | Judgement::FailJob(_) => before(pod).counted >= limit,
        }
}

/// The failed indexes: those known, and those of pods that are not counted yet. None for a Job that
/// does not count per index.
pub(super) fn failed_indexes(
    job: &Job,
    spec: &JobSpec,
    pods: &[Arc<Pod>],
    completions: i32,
) -> Option<BTreeSet<i32>> {
    let limit = spec.backoff_limit_per_index?;
    let known = job
        .status
        .as_ref()
        .and_then(|status| status.failed_indexes.as_deref())
        .unwrap_or_default();
    let mut failed = indexes::parse(known, completions);
    let ended = pods
        .iter()
        .filter(|pod| is_tracked(pod) && ends_index(job, spec, limit, pod))
        .filter_map(|pod| indexes::of(pod))
        .filter(|index| *index < completions);
    failed.extend(ended);
    Some(failed)
}

/// Of each index that is still to be run and has no active pod: the failed pod with the most
/// failures behind it, the latest of those.
pub(super) fn keepers(
    job: &Job,
    pods: &[Arc<Pod>],
    completions: i32,
    settled: impl Fn(i32) -> bool,
) -> BTreeMap<i32, Arc<Pod>> {
    let active: BTreeSet<i32> = pods
        .iter()
        .filter(|pod| crate::pods::is_active(pod))
        .filter_map(|pod| indexes::of(pod))
        .collect();
    let rank = |pod: &Pod| (before(pod).total(), failure::finished_at(pod));
    let mut keepers: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| is_tracked(pod) && failure::is_failed(job, pod))
    {
        let Some(index) = indexes::of(pod).filter(|index| *index < completions) else {
            continue;
        };
        if settled(index) || active.contains(&index) {
            continue;
        }
        match keepers.get(&index) {
            Some(other) if rank(other) > rank(pod) => {}
            _ => {
                keepers.insert(index, pod.clone());
            }
        }
    }
    keepers
}

/// How long the index of this failed pod has to wait for its next pod.
pub(super) fn wait(failed: &Pod, now: Timestamp) -> Option<Duration> {
    let failures = usize::try_from(before(failed).total())
        .unwrap_or_default()
        .saturating_add(1);
    failure::wait(failures, failure::finished_at(failed)?, now)
}
