//! The next steps of a StatefulSet, and its status: pure.
//!
//! With ordered pod management each pod waits for its predecessors to be available, and scaling down
//! goes from the top, one at a time. With parallel management creates and scale-downs do not wait.
//! Updates go from the top down to the partition, as far as may be unavailable.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::identity;
use crate::apps::deployment::scaled;
use crate::kit::sooner;
use crate::pods::{availability, is_ready, is_terminal, is_terminating, phase};

/// One step; later ones are not taken if it fails.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Make the claims of a pod that waits for them.
    Claims(i32),
    Create {
        ordinal: i32,
        /// Of the update revision; of the current one otherwise.
        updated: bool,
    },
    /// Put back the labels that tell a pod from the others.
    Relabel(Arc<Pod>),
    Delete(Arc<Pod>),
}

/// Names of revisions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revisions<'a> {
    pub current: &'a str,
    pub update: &'a str,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub status: StatefulSetStatus,
    pub again: Option<Duration>,
}

struct Round<'a> {
    set: &'a StatefulSet,
    revisions: Revisions<'a>,
    start: i32,
    /// By ordinal, from `start`.
    replicas: Vec<Option<Arc<Pod>>>,
    /// Beyond the wanted ordinals, highest first.
    condemned: Vec<Arc<Pod>>,
    ordered: bool,
    min_ready: i32,
    now: Timestamp,
    steps: Vec<Step>,
}

/// The ordinals the set should have.
pub(super) fn ordinals(set: &StatefulSet) -> Range<i32> {
    let spec = set.spec.as_ref();
    let start = spec
        .and_then(|spec| spec.ordinals.as_ref()?.start)
        .unwrap_or_default();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
    start..start.saturating_add(replicas)
}

/// Plans. Every pod given has an ordinal.
pub(super) fn plan(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    revisions: Revisions<'_>,
    now: Timestamp,
) -> Plan {
    let Some(spec) = &set.spec else {
        return Plan::default();
    };
    let Range { start, end } = ordinals(set);
    let wanted = end - start;
    let mut replicas = vec![None; usize::try_from(wanted).unwrap_or_default()];
    let mut condemned = Vec::new();
    for pod in pods {
        let Some(ordinal) = identity::ordinal(set, pod) else {
            continue;
        };
        match usize::try_from(ordinal - start)
            .ok()
            .and_then(|at| replicas.get_mut(at))
        {
            Some(slot) => *slot = Some(pod.clone()),
            None => condemned.push(pod.clone()),
        }
    }
    condemned.sort_by_key(|pod| std::cmp::Reverse(identity::ordinal(set, pod)));
    let mut round = Round {
        set,
        revisions,
        start,
        replicas,
        condemned,
        ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
        min_ready: spec.min_ready_seconds.unwrap_or_default(),
        now,
        steps: Vec::new(),
    };
    let settled = round.fill() && round.shrink();
    if settled && strategy(set) != "OnDelete" {
        round.update();
    }
    let again = pods.iter().fold(None, |again, pod| {
        sooner(again, availability(pod, round.min_ready, now).1)
    });
    Plan {
        status: round.status(pods),
        steps: round.steps,
        again,
    }
}

fn strategy(set: &StatefulSet) -> &str {
    let strategy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref());
    strategy
        .and_then(|strategy| strategy.type_.as_deref())
        .unwrap_or("RollingUpdate")
}

impl Round<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        phase(pod) == "Running"
            && !is_terminating(pod)
            && availability(pod, self.min_ready, self.now).0
    }

    fn partition(&self) -> Option<i32> {
        let strategy = self.set.spec.as_ref()?.update_strategy.as_ref()?;
        strategy
            .rolling_update
            .as_ref()
            .map(|rolling| rolling.partition.unwrap_or_default())
    }

    /// Is a new pod of this ordinal made of the update revision?
    fn is_updated(&self, ordinal: i32) -> bool {
        if strategy(self.set) == "OnDelete" {
            return true;
        }
        let kept = self.partition().unwrap_or_else(|| {
            let status = self.set.status.as_ref();
            status
                .and_then(|status| status.current_replicas)
                .unwrap_or_default()
        });
        ordinal >= self.start + kept
    }

    /// Makes the missing pods; false while an ordered set waits for one of them.
    fn fill(&mut self) -> bool {
        let mut complete = true;
        for at in 0..self.replicas.len() {
            let ordinal = self.start + i32::try_from(at).unwrap_or(i32::MAX);
            match self.replicas[at].clone() {
                None => {
                    self.steps.push(Step::Create {
                        ordinal,
                        updated: self.is_updated(ordinal),
                    });
                    complete = false;
                }
                // Whatever its exit code: its place is to be filled.
                Some(pod) if is_terminal(&pod) => {
                    if !is_terminating(&pod) {
                        self.steps.push(Step::Delete(pod));
                    }
                    complete = false;
                }
                Some(pod) => {
                    let waits_for_storage = phase(&pod) == "Pending"
                        && self.set.spec.as_ref().is_some_and(|spec| {
                            spec.volume_claim_templates
                                .as_ref()
                                .is_some_and(|claims| !claims.is_empty())
                        });
                    if waits_for_storage && !is_terminating(&pod) {
                        self.steps.push(Step::Claims(ordinal));
                    }
                    if self.ordered && !self.is_available(&pod) {
                        complete = false;
                    } else if !identity::is_labelled(&pod) {
                        self.steps.push(Step::Relabel(pod));
                    }
                }
            }
            if self.ordered && !complete {
                return false;
            }
        }
        // Parallel sets go on: a pod that is missing holds up nothing else.
        true
    }

    /// Takes away what is beyond the wanted number; false while that is under way.
    fn shrink(&mut self) -> bool {
        let first_unavailable = self
            .condemned
            .iter()
            .rev()
            .find(|pod| !self.is_available(pod))
            .cloned();
        for pod in self.condemned.clone() {
            if is_terminating(&pod) {
                if self.ordered {
                    return false;
                }
                continue;
            }
            let is_first = first_unavailable
                .as_ref()
                .is_none_or(|first| first.metadata.uid == pod.metadata.uid);
            if self.ordered && !self.is_available(&pod) && !is_first {
                return false;
            }
            self.steps.push(Step::Delete(pod));
            if self.ordered {
                return false;
            }
        }
        self.condemned.is_empty() || !self.ordered
    }

    /// Replaces pods of other revisions, from the top down to the partition.
    fn update(&mut self) {
        let lowest = usize::try_from(self.partition().unwrap_or_default()).unwrap_or_default();
        let several = self.set.spec.as_ref().and_then(|spec| {
            spec.update_strategy
                .as_ref()?
                .rolling_update
                .as_ref()?
                .max_unavailable
                .clone()
        });
        match several {
            Some(limit) => self.update_several(lowest, &limit),
            None => self.update_next(lowest),
        }
    }

    /// One at a time. Only what is above waits: one that is broken anyway need not come up before it
    /// is replaced.
    fn update_next(&mut self, lowest: usize) {
        for pod in self.replicas.iter().skip(lowest).rev() {
            let Some(pod) = pod else { return };
            if identity::revision(pod) != Some(self.revisions.update) && !is_terminating(pod) {
                return self.steps.push(Step::Delete(pod.clone()));
            }
            if !self.is_available(pod) {
                return;
            }
        }
    }

    /// As many as may be unavailable.
    fn update_several(&mut self, lowest: usize, limit: &IntOrString) {
        let wanted = i32::try_from(self.replicas.len()).unwrap_or(i32::MAX);
        let limit = scaled(limit, wanted, false).max(1);
        let unavailable =
            |pod: &Option<Arc<Pod>>| !pod.as_ref().is_some_and(|pod| self.is_available(pod));
        let mut allowed = limit
            - i32::try_from(self.replicas.iter().filter(|pod| unavailable(pod)).count())
                .unwrap_or(i32::MAX);
        let outdated: Vec<_> = self
            .replicas
            .iter()
            .skip(lowest)
            .rev()
            .flatten()
            .filter(|pod| {
                identity::revision(pod) != Some(self.revisions.update) && !is_terminating(pod)
            })
            .cloned()
            .collect();
        for pod in outdated {
            if allowed <= 0 {
                return;
            }
            allowed -= 1;
            self.steps.push(Step::Delete(pod));
        }
    }

    fn status(&self, pods: &[Arc<Pod>]) -> StatefulSetStatus {
        let count = |wanted: &dyn Fn(&Pod) -> bool| {
            i32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
        };
        let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
        let running = |pod: &Pod| phase(pod) == "Running" && is_ready(pod);
        let of = |revision: &str| {
            count(&|pod: &Pod| !is_terminating(pod) && identity::revision(pod) == Some(revision))
        };
        let ready = count(&running);
        let (mut current, updated) = (of(self.revisions.current), of(self.revisions.update));
        let mut current_revision = self.revisions.current.to_owned();
        let replicas = i32::try_from(pods.len()).unwrap_or(i32::MAX);
        let wanted = i32::try_from(self.replicas.len()).unwrap_or(i32::MAX);
        if strategy(self.set) == "RollingUpdate"
            && updated == wanted
            && ready == wanted
            && replicas == wanted
        {
            current = updated;
            current_revision = self.revisions.update.to_owned();
        }
        let old = self.set.status.clone().unwrap_or_default();
        StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas,
            ready_replicas: nonzero(ready),
            available_replicas: Some(count(&|pod: &Pod| {
                running(pod) && availability(pod, self.min_ready, self.now).0
            })),
            current_replicas: nonzero(current),
            updated_replicas: nonzero(updated),
            current_revision: Some(current_revision),
            update_revision: Some(self.revisions.update.to_owned()),
            collision_count: Some(old.collision_count.unwrap_or_default()),
            conditions: old.conditions,
        }
    }
}
