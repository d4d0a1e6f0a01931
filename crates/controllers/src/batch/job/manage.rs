//! Brings the number of active pods to what is still needed: the last part of a Job's plan.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::failure;
use super::plan::{Round, number};
use super::template::NewPod;
use super::{index_failures, indexes};
use crate::kit::sooner;
use crate::pods::{is_terminal, is_terminating, sort_for_deletion};

/// Never more creates or deletes than this in one go; the next round does the rest.
const BURST: usize = 500;

impl Round<'_> {
    /// Creates what is missing, or deletes what is too much; never both in one round.
    pub(super) fn manage(&mut self, mut active: Vec<Arc<Pod>>, terminating: usize) {
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let wanted = match self.completions() {
            // One success is enough; who still runs may end by itself.
            None if self.tally.succeeded > 0 => number(active.len()),
            None => parallelism,
            Some(completions) => (completions - self.tally.succeeded).clamp(0, parallelism),
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        sort_for_deletion(&mut active, self.now, |_| 0);
        let mut surplus = Vec::new();
        if let Some(completions) = self.indexed() {
            // Of several pods of one index the best stays; and none of no index.
            let mut taken = std::collections::BTreeSet::new();
            let mut kept = Vec::new();
            for pod in active.into_iter().rev() {
                let index = indexes::of(&pod).filter(|index| *index < completions);
                if index.is_some_and(|index| taken.insert(index)) {
                    kept.push(pod);
                } else {
                    surplus.push(pod);
                }
            }
            kept.reverse();
            active = kept;
        }
        let too_many = (active.len() + surplus.len())
            .saturating_sub(wanted)
            .saturating_sub(surplus.len());
        surplus.extend(active.drain(..too_many.min(active.len())));
        if !surplus.is_empty() {
            surplus.truncate(BURST);
            self.plan.delete = surplus;
            self.plan.release_deleted = true;
            return;
        }
        let waits = failure::replaces_only_failed(self.job);
        let present = active.len() + if waits { terminating } else { 0 };
        let missing = wanted.saturating_sub(present).min(BURST);
        if missing == 0 {
            return;
        }
        let per_index = self.spec.backoff_limit_per_index.is_some();
        if let Some(wait) = self.plan.streak.wait(self.now).filter(|_| !per_index) {
            self.plan.again = sooner(self.plan.again, Some(wait));
            return;
        }
        self.plan.create = match self.indexed() {
            None => vec![NewPod::default(); missing],
            Some(completions) => self.next_indexes(completions, &active, waits, missing),
        };
    }

    /// The lowest indexes that may be run now; if there are some that have to wait first, the plan
    /// is to come again when the first of them may.
    fn next_indexes(
        &mut self,
        completions: i32,
        active: &[Arc<Pod>],
        waits: bool,
        missing: usize,
    ) -> Vec<NewPod> {
        let mut taken = self.tally.done.clone();
        taken.extend(self.tally.given_up.iter().flatten());
        taken.extend(active.iter().filter_map(|pod| indexes::of(pod)));
        if waits {
            let going = self
                .pods
                .iter()
                .filter(|pod| is_terminating(pod) && !is_terminal(pod));
            taken.extend(going.filter_map(|pod| indexes::of(pod)));
        }
        let pending = (0..completions)
            .filter(|index| !taken.contains(index))
            .take(missing);
        let per_index = self.spec.backoff_limit_per_index.is_some();
        let mut new = Vec::new();
        for index in pending {
            let before: Option<&Pod> = self.tally.keepers.get(&index).map(|pod| &**pod);
            if let Some(wait) = before.and_then(|pod| index_failures::wait(pod, self.now)) {
                self.plan.again = sooner(self.plan.again, Some(wait));
                continue;
            }
            let failures = before
                .map(|pod| index_failures::with(self.spec, pod))
                .unwrap_or_default();
            new.push(NewPod {
                index: Some(index),
                failures: per_index.then_some(failures),
            });
        }
        new
    }
}
