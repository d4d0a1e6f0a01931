//! What to do for a Job: pure, from the Job and its pods, given that all earlier writes are seen.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::failure::{self, Judgement, Streak};
use super::template::NewPod;
use super::{index_failures, indexes, is_finished, is_tracked};
use crate::kit::{sooner, until};
use crate::pods::{is_active, is_ready, is_terminal, is_terminating, phase};

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
    pub create: Vec<NewPod>,
    pub again: Option<Duration>,
    /// To remember once the status is written.
    pub streak: Streak,
    /// Of the failed pods that are newly noted: the actions of the rules that matched.
    pub handled: Vec<String>,
}

impl Plan {
    /// What kind of step it is, for those who count them.
    pub fn action(&self) -> &'static str {
        match (self.create.is_empty(), self.release_deleted) {
            (false, _) => "pods_created",
            (true, true) => "pods_deleted",
            (true, false) if self.delete.is_empty() => "tracking",
            (true, false) => "reconciling",
        }
    }
}

/// What a Job has come to, counting the pods whose end is not yet in the status.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub succeeded: i32,
    pub failed: i32,
    /// Done indexes, of an Indexed Job.
    pub done: BTreeSet<i32>,
    /// Indexes not tried again, of a Job that counts failures per index.
    pub given_up: Option<BTreeSet<i32>>,
    /// Failed pods that stay until their index's next pod carries their count.
    pub keepers: BTreeMap<i32, Arc<Pod>>,
}

pub(super) struct Round<'a> {
    pub spec: &'a JobSpec,
    pub job: &'a Job,
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
    pub plan: Plan,
    pub tally: Tally,
    remembered: Option<Streak>,
}

/// Plans the next step. Without a streak remembered from before, as after a restart, it is made out
/// from the pods that are still there.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], streak: Option<Streak>, now: Timestamp) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let Some(spec) = &job.spec else {
        return Plan {
            status,
            ..Plan::default()
        };
    };
    if is_finished(job) {
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
        tally: Tally::default(),
        remembered: streak,
    };
    if job.metadata.deletion_timestamp.is_some() {
        round.report();
    } else {
        round.run();
    }
    round.plan
}

impl Round<'_> {
    fn run(&mut self) {
        let suspended = self.spec.suspend.unwrap_or_default();
        if self.plan.status.start_time.is_none() && !suspended {
            self.plan.status.start_time = Some(self.time());
        }
        let (active, terminating) = self.count();
        self.plan.streak = self.streak();
        self.end_criteria(&active);
        let failing = self.condition("FailureTarget");
        let ending = self.condition("SuccessCriteriaMet") || failing;
        let all_noted = self.note(ending, failing);
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

    /// Of a Job that is being deleted: what has ended is still counted, but nothing is held for it.
    fn report(&mut self) {
        self.count();
        self.note(false, false);
        self.plan.release = self.pods.to_vec();
    }

    /// Brings the counts up to date; answers the active pods, and how many are on their way out.
    fn count(&mut self) -> (Vec<Arc<Pod>>, usize) {
        self.settle();
        self.tally = self.tally();
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
        let ready = active.iter().filter(|pod| is_ready(pod)).count();
        self.plan.status.active = nonzero(active.len());
        self.plan.status.ready = Some(number(ready));
        self.plan.status.terminating = Some(number(terminating));
        (active, terminating)
    }

    fn time(&self) -> Time {
        Time(Timestamp::from_second(self.now.as_second()).unwrap_or(self.now))
    }

    pub(super) fn completions(&self) -> Option<i32> {
        self.spec.completions
    }

    pub(super) fn indexed(&self) -> Option<i32> {
        let indexed = self.spec.completion_mode.as_deref() == Some("Indexed");
        self.completions().filter(|_| indexed)
    }

    /// May the pod be counted? Of an Indexed Job only those of its indexes.
    fn is_valid(&self, pod: &Pod) -> bool {
        self.indexed()
            .is_none_or(|completions| indexes::of(pod).is_some_and(|index| index < completions))
    }

    /// Moves what has lost its finalizer from "uncounted" into the counters.
    fn settle(&mut self) {
        let tracked: HashSet<&str> = self
            .pods
            .iter()
            .filter(|pod| is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        let status = &mut self.plan.status;
        let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        let settle = |uids: Option<Vec<String>>| -> (Vec<String>, i32) {
            let (waiting, counted): (Vec<_>, Vec<_>) = uids
                .unwrap_or_default()
                .into_iter()
                .partition(|uid| tracked.contains(uid.as_str()));
            (waiting, number(counted.len()))
        };
        let (succeeded, more_succeeded) = settle(uncounted.succeeded);
        let (failed, more_failed) = settle(uncounted.failed);
        status.succeeded =
            Some(status.succeeded.unwrap_or_default() + more_succeeded).filter(|count| *count > 0);
        status.failed =
            Some(status.failed.unwrap_or_default() + more_failed).filter(|count| *count > 0);
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: some(succeeded),
            failed: some(failed),
        });
    }

    fn uncounted(&self) -> (&[String], &[String]) {
        let uncounted = self.plan.status.uncounted_terminated_pods.as_ref();
        (
            uncounted
                .and_then(|uncounted| uncounted.succeeded.as_deref())
                .unwrap_or_default(),
            uncounted
                .and_then(|uncounted| uncounted.failed.as_deref())
                .unwrap_or_default(),
        )
    }

    /// The pods whose end, should it have come, the status does not tell.
    fn not_in_status(&self) -> Vec<&Pod> {
        let (succeeded, failed) = self.uncounted();
        let known: HashSet<&String> = succeeded.iter().chain(failed).collect();
        let pods = self.pods.iter().filter(|pod| {
            let uid = pod.metadata.uid.as_ref();
            is_tracked(pod) && uid.is_some_and(|uid| !known.contains(uid)) && self.is_valid(pod)
        });
        pods.map(|pod| &**pod).collect()
    }

    fn streak(&self) -> Streak {
        let pods = match self.remembered {
            Some(_) => self.not_in_status(),
            None => self.pods.iter().map(|pod| &**pod).collect(),
        };
        let pods = || pods.iter().copied();
        let failed = pods().filter(|pod| failure::is_failed(self.job, pod));
        let succeeded = pods().filter(|pod| phase(pod) == "Succeeded");
        self.remembered.unwrap_or_default().after(failed, succeeded)
    }

    fn tally(&self) -> Tally {
        let (succeeded, failed) = self.uncounted();
        let new = self.not_in_status();
        let new = |wanted: &dyn Fn(&Pod) -> bool| {
            number(new.iter().copied().filter(|pod| wanted(pod)).count())
        };
        let newly_failed =
            new(&|pod| failure::is_failed(self.job, pod) && self.judge(pod) != Judgement::Ignore);
        let status = &self.plan.status;
        let mut tally = Tally {
            failed: status.failed.unwrap_or_default() + number(failed.len()) + newly_failed,
            ..Tally::default()
        };
        let Some(completions) = self.indexed() else {
            let newly_succeeded = new(&|pod| phase(pod) == "Succeeded");
            tally.succeeded =
                status.succeeded.unwrap_or_default() + number(succeeded.len()) + newly_succeeded;
            return tally;
        };
        let completed = status.completed_indexes.as_deref().unwrap_or_default();
        tally.done = indexes::parse(completed, completions);
        let newly_done = self
            .pods
            .iter()
            .filter(|pod| is_tracked(pod) && phase(pod) == "Succeeded")
            .filter_map(|pod| indexes::of(pod))
            .filter(|index| *index < completions);
        tally.done.extend(newly_done);
        tally.succeeded = number(tally.done.len());
        tally.given_up =
            index_failures::failed_indexes(self.job, self.spec, self.pods, completions);
        if let Some(given_up) = &tally.given_up {
            let settled = |index| tally.done.contains(&index) || given_up.contains(&index);
            tally.keepers = index_failures::keepers(self.job, self.pods, completions, settled);
        }
        tally
    }

    /// Takes the ended pods into the status and plans to release them; false if some had to wait.
    /// Pods that are stopped because the Job has failed count as failed with it.
    fn note(&mut self, ending: bool, failing: bool) -> bool {
        let uncounted = self
            .plan
            .status
            .uncounted_terminated_pods
            .take()
            .unwrap_or_default();
        let mut succeeded = uncounted.succeeded.unwrap_or_default();
        let mut failed = uncounted.failed.unwrap_or_default();
        let indexed = self.indexed();
        let completed = self.plan.status.completed_indexes.as_deref();
        let mut done = indexed
            .map(|completions| indexes::parse(completed.unwrap_or_default(), completions))
            .unwrap_or_default();
        let mut newly_done = 0;
        let mut all_noted = true;
        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let has_failed = failure::is_failed(self.job, pod);
            let has_succeeded = phase(pod) == "Succeeded";
            if !(has_succeeded || has_failed || ending) {
                continue;
            }
            let keeps = |keeper: &Arc<Pod>| keeper.metadata.uid == pod.metadata.uid;
            if !ending && self.tally.keepers.values().any(keeps) {
                continue;
            }
            if succeeded.len() + failed.len() + newly_done >= UNCOUNTED_LIMIT {
                all_noted = false;
                break;
            }
            self.plan.release.push(pod.clone());
            let known = succeeded.contains(&uid) || failed.contains(&uid);
            if has_succeeded && !failed.contains(&uid) {
                match indexed {
                    // The index says enough: it can only be done once.
                    Some(completions) => {
                        let index = indexes::of(pod).filter(|index| *index < completions);
                        newly_done += usize::from(index.is_some_and(|index| done.insert(index)));
                    }
                    None if !known => succeeded.push(uid),
                    None => {}
                }
            } else if (has_failed || failing) && !known && self.is_valid(pod) {
                let policy = self.spec.pod_failure_policy.as_ref();
                self.plan.handled.extend(failure::action(policy, pod));
                if self.judge(pod) != Judgement::Ignore {
                    failed.push(uid);
                }
            }
        }
        let status = &mut self.plan.status;
        if indexed.is_some() {
            status.succeeded = nonzero(done.len());
            status.completed_indexes = Some(indexes::format(&done)).filter(|text| !text.is_empty());
            status.failed_indexes = self.tally.given_up.as_ref().map(indexes::format);
        }
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: some(succeeded),
            failed: some(failed),
        });
        all_noted
    }

    fn judge(&self, pod: &Pod) -> Judgement {
        failure::judge(self.spec.pod_failure_policy.as_ref(), pod)
    }

    fn nothing_uncounted(&self) -> bool {
        let (succeeded, failed) = self.uncounted();
        succeeded.is_empty() && failed.is_empty()
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
                _ => None,
            });
        if let Some(why) = verdict {
            return self.set("FailureTarget", true, "PodFailurePolicy", &why);
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.tally.failed > limit || failure::restarts_exceed(self.job, self.pods, limit) {
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
        if let Some((reason, message)) = self.too_many_failed_indexes() {
            return self.set("FailureTarget", true, reason, message);
        }
        if let Some(rule) = self.success_policy() {
            let message = format!("Matched rules at index {rule}");
            return self.set("SuccessCriteriaMet", true, "SuccessPolicy", &message);
        }
        let complete = match self.completions() {
            // Any success is enough; the others are let run out.
            None => self.tally.succeeded > 0 && active.is_empty(),
            Some(completions) => self.tally.succeeded >= completions && active.is_empty(),
        };
        if complete {
            let message = "Reached expected number of succeeded pods";
            self.set("SuccessCriteriaMet", true, "CompletionsReached", message);
        }
    }

    fn too_many_failed_indexes(&self) -> Option<(&'static str, &'static str)> {
        let given_up = number(self.tally.given_up.as_ref()?.len());
        if self
            .spec
            .max_failed_indexes
            .is_some_and(|limit| given_up > limit)
        {
            return Some((
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            ));
        }
        let all = given_up + self.tally.succeeded >= self.completions()?;
        (given_up > 0 && all).then_some(("FailedIndexes", "Job has failed indexes"))
    }

    fn success_policy(&self) -> Option<usize> {
        let completions = self.indexed()?;
        let done = &self.tally.done;
        if done.is_empty() {
            return None;
        }
        let rules = &self.spec.success_policy.as_ref()?.rules;
        rules.iter().position(|rule| {
            let wanted = rule
                .succeeded_indexes
                .as_deref()
                .map(|text| indexes::parse(text, completions));
            let matched = wanted
                .as_ref()
                .map_or(done.len(), |wanted| wanted.intersection(done).count());
            let enough = rule
                .succeeded_count
                .is_some_and(|count| number(matched) >= count);
            match wanted {
                // Of indexes that this Job does not have none can succeed.
                Some(wanted) if wanted.is_empty() => false,
                Some(wanted) => matched == wanted.len() || enough,
                None => enough,
            }
        })
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
                "FailedIndexes" => "FailedIndexes",
                "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
                _ => "BackoffLimitExceeded",
            };
            self.plan.events.push((EventType::Warning, reason, message));
        } else if let Some(met) = interim("SuccessCriteriaMet") {
            self.set("Complete", true, &text(&met.reason), &text(&met.message));
            self.plan.status.completion_time = Some(self.time());
            if self
                .completions()
                .is_some_and(|completions| self.tally.succeeded > completions)
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

    fn condition(&self, type_: &str) -> bool {
        let conditions = self.plan.status.conditions.as_deref().unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == type_ && condition.status == "True")
    }

    fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let now = self.time();
        let conditions = self.plan.status.conditions.get_or_insert_default();
        let condition = JobCondition {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now),
        };
        match conditions.iter_mut().find(|known| known.type_ == type_) {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    }
}

fn some(uids: Vec<String>) -> Option<Vec<String>> {
    Some(uids).filter(|uids| !uids.is_empty())
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn nonzero(count: usize) -> Option<i32> {
    Some(number(count)).filter(|count| *count != 0)
}
