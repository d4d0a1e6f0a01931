//! What to do for a Job: pure, from the Job and its pods, given that all earlier writes are seen.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::failure::{self, Judgement};
use super::{indexes, is_finished, is_tracked};
use crate::kit::{sooner, until};
use crate::pods::{is_active, is_ready, is_terminal, is_terminating, phase, sort_for_deletion};

/// Never more creates or deletes than this in one go.
const BURST: usize = 500;
/// Never more uncounted pods in the status than this; the rest waits for the next round.
const UNCOUNTED_LIMIT: usize = 500;

/// What to do, in this order: write the status, take finalizers off, delete, create.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: JobStatus,
    pub events: Vec<(EventType, &'static str, String)>,
    pub release: Vec<Arc<Pod>>,
    pub delete: Vec<Arc<Pod>>,
    /// Those deleted lose their finalizer first: they are not to be counted.
    pub release_deleted: bool,
    pub create: Vec<Option<i32>>,
    pub again: Option<Duration>,
}

struct Round<'a> {
    spec: &'a JobSpec,
    job: &'a Job,
    pods: &'a [Arc<Pod>],
    now: Timestamp,
    plan: Plan,
}

/// Plans the next step.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let Some(spec) = &job.spec else {
        return Plan {
            status,
            ..Plan::default()
        };
    };
    if is_finished(job) || job.metadata.deletion_timestamp.is_some() {
        // Nothing is counted any more, so nothing is to be held.
        return Plan {
            status,
            release: pods.to_vec(),
            ..Plan::default()
        };
    }
    let plan = Plan {
        status,
        ..Plan::default()
    };
    let mut round = Round {
        spec,
        job,
        pods,
        now,
        plan,
    };
    round.run();
    round.plan
}

impl Round<'_> {
    fn run(&mut self) {
        let suspended = self.spec.suspend.unwrap_or_default();
        if self.plan.status.start_time.is_none() && !suspended {
            self.plan.status.start_time = Some(self.time());
        }
        let all_noted = self.count();
        let active: Vec<_> = self
            .pods
            .iter()
            .filter(|pod| is_active(pod))
            .cloned()
            .collect();
        let terminating = self
            .pods
            .iter()
            .filter(|pod| is_terminating(pod) && !is_terminal(pod))
            .count();
        self.plan.status.active = nonzero(active.len());
        self.plan.status.ready = Some(number(active.iter().filter(|pod| is_ready(pod)).count()));
        self.plan.status.terminating = Some(number(terminating));
        self.end_criteria(&active);
        let ending = self.condition("SuccessCriteriaMet") || self.condition("FailureTarget");
        if ending {
            self.plan.delete = active.clone();
            if active.is_empty() && terminating == 0 && all_noted && self.nothing_uncounted() {
                self.finish();
            }
        } else {
            self.suspension(suspended);
            if suspended {
                self.plan.delete = active;
                self.plan.release_deleted = true;
            } else {
                self.manage(active, terminating);
            }
        }
    }

    fn time(&self) -> Time {
        Time(Timestamp::from_second(self.now.as_second()).unwrap_or(self.now))
    }

    fn completions(&self) -> Option<i32> {
        self.spec.completions
    }

    fn indexed(&self) -> Option<i32> {
        let indexed = self.spec.completion_mode.as_deref() == Some("Indexed");
        self.completions().filter(|_| indexed)
    }

    /// Moves pods from tracked to uncounted to counted; false if some had to wait.
    fn count(&mut self) -> bool {
        let tracked: HashSet<&str> = self
            .pods
            .iter()
            .filter(|pod| is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        let uncounted = self
            .plan
            .status
            .uncounted_terminated_pods
            .take()
            .unwrap_or_default();
        let settle = |uids: Option<Vec<String>>| -> (Vec<String>, i32) {
            let (waiting, counted): (Vec<_>, Vec<_>) = uids
                .unwrap_or_default()
                .into_iter()
                .partition(|uid| tracked.contains(uid.as_str()));
            (waiting, number(counted.len()))
        };
        let (mut succeeded, more_succeeded) = settle(uncounted.succeeded);
        let (mut failed, more_failed) = settle(uncounted.failed);
        let status = &mut self.plan.status;
        status.succeeded =
            Some(status.succeeded.unwrap_or_default() + more_succeeded).filter(|count| *count > 0);
        status.failed =
            Some(status.failed.unwrap_or_default() + more_failed).filter(|count| *count > 0);
        let indexed = self.indexed();
        let completed = self
            .plan
            .status
            .completed_indexes
            .clone()
            .unwrap_or_default();
        let mut done = indexed
            .map(|completions| indexes::parse(&completed, completions))
            .unwrap_or_default();
        let mut all_noted = true;
        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let has_failed = failure::is_failed(self.job, pod);
            if phase(pod) != "Succeeded" && !has_failed {
                continue;
            }
            if succeeded.len() + failed.len() >= UNCOUNTED_LIMIT {
                all_noted = false;
                break;
            }
            self.plan.release.push(pod.clone());
            let known = succeeded.contains(&uid) || failed.contains(&uid);
            if phase(pod) == "Succeeded" && !failed.contains(&uid) {
                match indexed {
                    // The index says enough: it can only be done once.
                    Some(completions) => {
                        done.extend(indexes::of(pod).filter(|index| *index < completions))
                    }
                    None if !known => succeeded.push(uid),
                    None => {}
                }
            } else if !known && self.judge(pod) != Judgement::Ignore {
                failed.push(uid);
            }
        }
        if indexed.is_some() {
            self.plan.status.succeeded = nonzero(done.len());
            self.plan.status.completed_indexes =
                Some(indexes::format(&done)).filter(|text| !text.is_empty());
        }
        let some = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
        self.plan.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: some(succeeded),
            failed: some(failed),
        });
        all_noted
    }

    fn judge(&self, pod: &Pod) -> Judgement {
        failure::judge(self.spec.pod_failure_policy.as_ref(), pod)
    }

    fn nothing_uncounted(&self) -> bool {
        let uncounted = self.plan.status.uncounted_terminated_pods.as_ref();
        uncounted
            .is_none_or(|uncounted| uncounted.succeeded.is_none() && uncounted.failed.is_none())
    }

    fn succeeded(&self) -> i32 {
        let uncounted = self.plan.status.uncounted_terminated_pods.as_ref();
        let waiting = uncounted
            .and_then(|uncounted| uncounted.succeeded.as_ref())
            .map_or(0, Vec::len);
        self.plan.status.succeeded.unwrap_or_default() + number(waiting)
    }

    fn failed(&self) -> i32 {
        let uncounted = self.plan.status.uncounted_terminated_pods.as_ref();
        let waiting = uncounted
            .and_then(|uncounted| uncounted.failed.as_ref())
            .map_or(0, Vec::len);
        self.plan.status.failed.unwrap_or_default() + number(waiting)
    }

    /// Decides whether the Job is at its end: once decided, it stays so.
    fn end_criteria(&mut self, active: &[Arc<Pod>]) {
        if self.condition("SuccessCriteriaMet") || self.condition("FailureTarget") {
            return;
        }
        let policy = self.spec.pod_failure_policy.as_ref();
        let verdict = self
            .pods
            .iter()
            .filter(|pod| policy.is_some() && failure::is_failed(self.job, pod))
            .find_map(|pod| match self.judge(pod) {
                Judgement::FailJob(why) => Some(why),
                Judgement::Count | Judgement::Ignore => None,
            });
        if let Some(why) = verdict {
            return self.set("FailureTarget", true, "PodFailurePolicy", &why);
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.failed() > limit || failure::restarts_exceed(self.job, self.pods, limit) {
            let message = "Job has reached the specified backoff limit";
            return self.set("FailureTarget", true, "BackoffLimitExceeded", message);
        }
        let suspended = self.spec.suspend.unwrap_or_default();
        if let Some(seconds) = self.spec.active_deadline_seconds.filter(|_| !suspended)
            && let Some(start) = &self.plan.status.start_time
            && let Ok(end) = start.0.checked_add(SignedDuration::from_secs(seconds))
        {
            if end <= self.now {
                let message = "Job was active longer than specified deadline";
                return self.set("FailureTarget", true, "DeadlineExceeded", message);
            }
            self.plan.again = sooner(self.plan.again, Some(until(end, self.now)));
        }
        if let Some(rule) = self.success_policy() {
            let message = format!("Matched rules at index {rule}");
            return self.set("SuccessCriteriaMet", true, "SuccessPolicy", &message);
        }
        let complete = match self.completions() {
            // Any success is enough; the others are let run out.
            None => self.succeeded() > 0 && active.is_empty(),
            Some(completions) => self.succeeded() >= completions && active.is_empty(),
        };
        if complete {
            let message = "Reached expected number of succeeded pods";
            self.set("SuccessCriteriaMet", true, "CompletionsReached", message);
        }
    }

    fn success_policy(&self) -> Option<usize> {
        let completions = self.indexed()?;
        let done = self.done_indexes(completions);
        let rules = &self.spec.success_policy.as_ref()?.rules;
        rules.iter().position(|rule| {
            let wanted = rule
                .succeeded_indexes
                .as_deref()
                .map(|text| indexes::parse(text, completions));
            let matched = wanted
                .as_ref()
                .map_or(done.len(), |wanted| wanted.intersection(&done).count());
            match (rule.succeeded_count, wanted) {
                (Some(count), _) => number(matched) >= count,
                (None, Some(wanted)) => matched == wanted.len(),
                (None, None) => false,
            }
        })
    }

    fn done_indexes(&self, completions: i32) -> BTreeSet<i32> {
        indexes::parse(
            self.plan
                .status
                .completed_indexes
                .as_deref()
                .unwrap_or_default(),
            completions,
        )
    }

    /// All pods are accounted for: the interim condition becomes the final one.
    fn finish(&mut self) {
        let conditions = self.plan.status.conditions.clone().unwrap_or_default();
        let interim = |type_: &str| {
            conditions
                .iter()
                .find(|condition| condition.type_ == type_)
                .cloned()
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        if let Some(target) = interim("FailureTarget").filter(|target| target.status == "True") {
            let (reason, message) = (text(&target.reason), text(&target.message));
            self.set("Failed", true, &reason, &message);
            let reason = match reason.as_str() {
                "DeadlineExceeded" => "DeadlineExceeded",
                "PodFailurePolicy" => "PodFailurePolicy",
                _ => "BackoffLimitExceeded",
            };
            self.plan.events.push((EventType::Warning, reason, message));
        } else if let Some(met) = interim("SuccessCriteriaMet") {
            self.set("Complete", true, &text(&met.reason), &text(&met.message));
            self.plan.status.completion_time = Some(self.time());
            if self
                .completions()
                .is_some_and(|completions| self.succeeded() > completions)
            {
                let message =
                    "Too many succeeded pods running after completion count reached".to_owned();
                self.plan
                    .events
                    .push((EventType::Warning, "TooManySucceededPods", message));
            }
            self.plan
                .events
                .push((EventType::Normal, "Completed", "Job completed".to_owned()));
        }
    }

    fn suspension(&mut self, suspended: bool) {
        let was = self.condition("Suspended");
        if suspended && !was {
            self.set("Suspended", true, "JobSuspended", "Job suspended");
            self.plan.status.start_time = None;
            self.plan
                .events
                .push((EventType::Normal, "Suspended", "Job suspended".to_owned()));
        } else if !suspended && was {
            self.set("Suspended", false, "JobResumed", "Job resumed");
            self.plan.status.start_time = Some(self.time());
            self.plan
                .events
                .push((EventType::Normal, "Resumed", "Job resumed".to_owned()));
        }
    }

    /// Brings the number of active pods to what is still needed.
    fn manage(&mut self, mut active: Vec<Arc<Pod>>, terminating: usize) {
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let wanted = match self.completions() {
            None if self.succeeded() > 0 => number(active.len()).min(parallelism),
            None => parallelism,
            Some(completions) => (completions - self.succeeded()).clamp(0, parallelism),
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        if let Some(completions) = self.indexed() {
            // Of two pods of one index one is superfluous, and all of an index that is done.
            let mut taken = self.done_indexes(completions);
            let superfluous: Vec<_> = active
                .iter()
                .filter(|pod| {
                    !indexes::of(pod)
                        .is_some_and(|index| index < completions && taken.insert(index))
                })
                .cloned()
                .collect();
            active.retain(|pod| {
                !superfluous
                    .iter()
                    .any(|other| other.metadata.uid == pod.metadata.uid)
            });
            self.plan.delete = superfluous;
            self.plan.release_deleted = true;
        }
        if active.len() > wanted {
            sort_for_deletion(&mut active, self.now, |_| 0);
            let surplus = active.len() - wanted;
            self.plan.delete.extend(active.into_iter().take(surplus));
            self.plan.release_deleted = true;
            return;
        }
        let waits = self.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let present = active.len() + if waits { terminating } else { 0 };
        let missing = wanted.saturating_sub(present).min(BURST);
        if missing == 0 {
            return;
        }
        let (job, pods) = (self.job, self.pods);
        let failed = pods
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| failure::is_failed(job, pod));
        let succeeded = pods
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| phase(pod) == "Succeeded");
        if let Some(wait) = failure::backoff(failed, succeeded, self.now) {
            self.plan.again = sooner(self.plan.again, Some(wait));
            return;
        }
        self.plan.create = match self.indexed() {
            None => vec![None; missing],
            Some(completions) => {
                let mut taken = self.done_indexes(completions);
                taken.extend(active.iter().filter_map(|pod| indexes::of(pod)));
                if waits {
                    let going = self
                        .pods
                        .iter()
                        .filter(|pod| is_terminating(pod) && !is_terminal(pod));
                    taken.extend(going.filter_map(|pod| indexes::of(pod)));
                }
                (0..completions)
                    .filter(|index| !taken.contains(index))
                    .take(missing)
                    .map(Some)
                    .collect()
            }
        };
    }

    fn condition(&self, type_: &str) -> bool {
        let conditions = self.plan.status.conditions.as_deref().unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == type_ && condition.status == "True")
    }

    fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let now = self.time();
        let conditions = self.plan.status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != type_);
        conditions.push(JobCondition {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now),
        });
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn nonzero(count: usize) -> Option<i32> {
    Some(number(count)).filter(|count| *count != 0)
}
