//! Whether a Job is due, which are to go, and the status: pure.

use std::sync::Arc;
use std::time::Duration;

use client::events::{EventType, reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::timing::{self, Timing, Trouble};
use crate::batch::job::is_finished;
use crate::kit::until;

/// More missed times than this are a sign of trouble, and said.
const MANY_MISSED: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub start: Option<Timestamp>,
    /// Finished ones beyond the limits.
    pub tidy: Vec<Arc<Job>>,
    /// Running ones that have to be gone before the start.
    pub replace: Vec<Arc<Job>>,
    pub status: CronJobStatus,
    pub events: Vec<(EventType, &'static str, String)>,
    pub again: Option<Duration>,
}

impl Plan {
    /// Takes a Job that runs into the list of active ones.
    pub fn note(&mut self, job: &Job) {
        let active = self.status.active.get_or_insert_default();
        if !is_finished(job) && !active.iter().any(|one| one.uid == job.metadata.uid) {
            let mut running = reference(job);
            running.resource_version = job.metadata.resource_version.clone();
            running.uid = job.metadata.uid.clone();
            active.push(running);
        }
        self.status.active = self
            .status
            .active
            .take()
            .filter(|active| !active.is_empty());
    }

    /// Takes a Job that was deleted off the list.
    pub fn forget(&mut self, job: &Job) {
        let mut active = self.status.active.take().unwrap_or_default();
        active.retain(|one| one.uid != job.metadata.uid);
        self.status.active = Some(active).filter(|active| !active.is_empty());
    }

    fn say(&mut self, kind: EventType, reason: &'static str, message: String) {
        self.events.push((kind, reason, message));
    }
}

fn has_condition(job: &Job, type_: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Plans. Nothing that was due before `since` is made up for.
pub(super) fn plan(
    cron: &CronJob,
    jobs: &[Arc<Job>],
    timing: &Result<Timing, Trouble>,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        status: cron.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let spec = &cron.spec;
    settle_active(&mut plan, jobs);
    plan.tidy = surplus_history(spec, jobs);
    if cron.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if let Err(Trouble::Zone(message)) = timing {
        plan.say(EventType::Warning, "UnknownTimeZone", message.clone());
        return plan;
    }
    if spec.suspend.unwrap_or_default() {
        return plan;
    }
    if timing::names_zone(spec) {
        let message = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        plan.say(EventType::Warning, "UnsupportedSchedule", message);
    }
    let timing = match timing {
        Ok(timing) => timing,
        Err(Trouble::Zone(message) | Trouble::Schedule(message)) => {
            plan.say(EventType::Warning, "UnparseableSchedule", message.clone());
            return plan;
        }
    };
    let Some(next) = timing.schedule.next(now, &timing.zone) else {
        let message = format!("invalid schedule: {} : it never comes", spec.schedule);
        plan.say(EventType::Warning, "InvalidSchedule", message);
        return plan;
    };
    plan.again = Some(until(next, now));
    if let Some(due) = due(cron, timing, since, now, &mut plan) {
        let made = job_name(cron, due);
        let is_made = |job: &&Arc<Job>| job.metadata.name.as_ref() == Some(&made);
        match jobs.iter().find(is_made) {
            // A schedule may come more often than once a minute, its Jobs do not; or the note of an
            // earlier start was lost.
            Some(job) => {
                let last = plan.status.last_schedule_time.as_ref();
                if last.is_none_or(|last| job_name(cron, last.0) != made) {
                    plan.status.last_schedule_time = Some(Time(due));
                    plan.note(job);
                }
            }
            None => start(spec, jobs, due, now, &mut plan),
        }
    }
    plan
}

/// The name of the Job for a time. It is made of the minutes since 1970, so that the same time cannot
/// make two.
pub(super) fn job_name(cron: &CronJob, due: Timestamp) -> String {
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{}", due.as_second() / 60)
}

/// Starts a Job unless it is too late for it or another one is in the way.
fn start(spec: &CronJobSpec, jobs: &[Arc<Job>], due: Timestamp, now: Timestamp, plan: &mut Plan) {
    if let Some(seconds) = spec.starting_deadline_seconds
        && due
            .checked_add(SignedDuration::from_secs(seconds))
            .is_ok_and(|end| end < now)
    {
        let message = format!(
            "Missed scheduled time to start a job: {}",
            due.strftime("%a, %d %b %Y %H:%M:%S +0000")
        );
        return plan.say(EventType::Warning, "MissSchedule", message);
    }
    // Jobs that somebody else made of the template are not in the list and in nobody's way.
    let active = plan.status.active.clone().unwrap_or_default();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.say(EventType::Normal, "JobAlreadyActive", message.to_owned());
        }
        Some("Replace") => {
            let listed = |job: &&Arc<Job>| active.iter().any(|one| one.uid == job.metadata.uid);
            plan.replace = jobs.iter().filter(listed).cloned().collect();
        }
        _ => {}
    }
    plan.start = Some(due);
}

/// Takes what has ended or vanished out of the list of active Jobs, and tells of those not in it.
fn settle_active(plan: &mut Plan, jobs: &[Arc<Job>]) {
    let mut active = plan.status.active.take().unwrap_or_default();
    active.retain(|reference| {
        let name = reference.name.as_deref().unwrap_or_default();
        match jobs.iter().find(|job| job.metadata.uid == reference.uid) {
            None => {
                plan.events.push((
                    EventType::Normal,
                    "MissingJob",
                    format!("Active job went missing: {name}"),
                ));
                false
            }
            Some(job) if is_finished(job) => {
                let condition = if has_condition(job, "Complete") {
                    "Complete"
                } else {
                    "Failed"
                };
                let message = format!("Saw completed job: {name}, condition: {condition}");
                plan.events
                    .push((EventType::Normal, "SawCompletedJob", message));
                false
            }
            Some(_) => true,
        }
    });
    for job in jobs.iter().filter(|job| !is_finished(job)) {
        let listed = |one: &ObjectReference| one.uid == job.metadata.uid;
        if !active.iter().any(listed) {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Saw a job that the controller did not create or forgot: {name}");
            plan.say(EventType::Warning, "UnexpectedJob", message);
        }
    }
    let completed = jobs
        .iter()
        .filter(|job| has_condition(job, "Complete"))
        .filter_map(|job| job.status.as_ref()?.completion_time.clone())
        .max();
    if completed > plan.status.last_successful_time {
        plan.status.last_successful_time = completed;
    }
    plan.status.active = Some(active).filter(|active| !active.is_empty());
}

/// Finished Jobs beyond the limits, oldest first.
fn surplus_history(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let mut surplus = Vec::new();
    let limits = [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    for (condition, limit) in limits {
        let mut ended: Vec<_> = jobs
            .iter()
            .filter(|job| {
                has_condition(job, condition) && job.metadata.deletion_timestamp.is_none()
            })
            .collect();
        ended.sort_by_key(|job| {
            let start = job
                .status
                .as_ref()
                .and_then(|status| status.start_time.clone());
            (start.is_none(), start, job.metadata.name.clone())
        });
        let over = ended
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        surplus.extend(ended.into_iter().take(over).cloned());
    }
    surplus
}

/// The latest time that has come since the last Job; earlier missed ones are not made up for.
fn due(
    cron: &CronJob,
    timing: &Timing,
    since: Option<Timestamp>,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Timestamp> {
    let last = cron
        .status
        .as_ref()
        .and_then(|status| status.last_schedule_time.as_ref());
    let mut from = last.or(cron.metadata.creation_timestamp.as_ref())?.0;
    if let Some(seconds) = cron.spec.starting_deadline_seconds
        && let Ok(earliest) = now.checked_sub(SignedDuration::from_secs(seconds))
    {
        from = from.max(earliest);
    }
    from = since.map_or(from, |since| from.max(since));
    let (due, missed) = timing
        .schedule
        .last_between(from, now, &timing.zone, MANY_MISSED)?;
    if missed > MANY_MISSED {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.say(EventType::Warning, "TooManyMissedTimes", message.to_owned());
    }
    Some(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut spec = spec;
        spec["schedule"] = json!("*/10 * * * *");
        spec["jobTemplate"] = json!({"spec": {"template": {"spec": {"containers": []}}}});
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "creationTimestamp": "2026-11-20T10:01:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn job(name: &str, condition: &str, minute: u32) -> Arc<Job> {
        let conditions = if condition.is_empty() {
            json!([])
        } else {
            json!([{"type": condition, "status": "True"}])
        };
        let at = format!("2026-11-20T09:{minute:02}:00Z");
        let status = json!({"conditions": conditions, "startTime": at, "completionTime": at});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "status": status})).unwrap())
    }

    fn planned(cron: &CronJob, jobs: &[Arc<Job>], now: &str) -> Plan {
        plan(
            cron,
            jobs,
            &timing::read(&cron.spec),
            None,
            now.parse().unwrap(),
        )
    }

    fn names(jobs: &[Arc<Job>]) -> Vec<&str> {
        jobs.iter()
            .filter_map(|job| job.metadata.name.as_deref())
            .collect()
    }

    fn reasons(plan: &Plan) -> Vec<&str> {
        plan.events.iter().map(|(_, reason, _)| *reason).collect()
    }

    #[test]
    fn due_times() {
        let none = json!({});
        let last = json!({"lastScheduleTime": "2026-11-20T10:10:00Z"});
        let busy = json!({"lastScheduleTime": "2026-11-20T10:10:00Z", "active": [{"name": "r", "uid": "r"}]});
        let running = vec![job("r", "", 0)];
        let cases = [
            (
                "not yet",
                json!({}),
                none.clone(),
                vec![],
                "2026-11-20T10:09:59Z",
                None,
            ),
            (
                "first",
                json!({}),
                none.clone(),
                vec![],
                "2026-11-20T10:10:00Z",
                Some("10:10"),
            ),
            (
                "done already",
                json!({}),
                last.clone(),
                vec![],
                "2026-11-20T10:19:59Z",
                None,
            ),
            (
                "only the latest missed",
                json!({}),
                last.clone(),
                vec![],
                "2026-11-20T10:45:00Z",
                Some("10:40"),
            ),
            (
                "too late",
                json!({"startingDeadlineSeconds": 100}),
                last.clone(),
                vec![],
                "2026-11-20T10:45:00Z",
                None,
            ),
            (
                "in time",
                json!({"startingDeadlineSeconds": 301}),
                last.clone(),
                vec![],
                "2026-11-20T10:45:00Z",
                Some("10:40"),
            ),
            (
                "suspended",
                json!({"suspend": true}),
                last.clone(),
                vec![],
                "2026-11-20T10:45:00Z",
                None,
            ),
            (
                "forbidden",
                json!({"concurrencyPolicy": "Forbid"}),
                busy.clone(),
                running.clone(),
                "2026-11-20T10:45:00Z",
                None,
            ),
            (
                "somebody else's is in nobody's way",
                json!({"concurrencyPolicy": "Forbid"}),
                last.clone(),
                running.clone(),
                "2026-11-20T10:45:00Z",
                Some("10:40"),
            ),
            (
                "somebody else's is not replaced",
                json!({"concurrencyPolicy": "Replace"}),
                last.clone(),
                running.clone(),
                "2026-11-20T10:45:00Z",
                Some("10:40"),
            ),
            (
                "replaced",
                json!({"concurrencyPolicy": "Replace"}),
                busy,
                running,
                "2026-11-20T10:45:00Z",
                Some("10:40"),
            ),
            (
                "long ago",
                json!({}),
                none,
                vec![],
                "2026-12-20T10:45:30Z",
                Some("10:40"),
            ),
        ];
        for (name, spec, status, jobs, now, expected) in cases {
            let plan = planned(&cron(spec, status), &jobs, now);
            let start = plan.start.map(|at| at.strftime("%H:%M").to_string());
            assert_eq!(start.as_deref(), expected, "{name}");
            assert_eq!(
                plan.replace.len(),
                usize::from(name == "replaced"),
                "{name}"
            );
        }
    }

    #[test]
    fn history_and_active_jobs() {
        let jobs = [
            job("a", "Complete", 1),
            job("b", "Complete", 2),
            job("c", "Failed", 3),
            job("d", "Failed", 4),
            job("e", "", 5),
        ];
        let status = json!({"active": [{"name": "b", "uid": "b"}, {"name": "x", "uid": "x"}]});
        let plan = planned(
            &cron(json!({"successfulJobsHistoryLimit": 1}), status),
            &jobs,
            "2026-11-20T10:02:00Z",
        );
        assert_eq!(names(&plan.tidy), ["a", "c"]);
        assert_eq!(plan.status.active, None);
        assert_eq!(
            reasons(&plan),
            ["SawCompletedJob", "MissingJob", "UnexpectedJob"]
        );
        assert_eq!(
            plan.status.last_successful_time.unwrap().0.to_string(),
            "2026-11-20T09:02:00Z"
        );
        assert_eq!(plan.again.unwrap().as_secs(), 480);
    }

    #[test]
    fn what_cannot_be_scheduled_is_said_and_the_rest_is_done() {
        let jobs = [job("a", "Complete", 1), job("b", "Complete", 2)];
        let status = json!({"active": [{"name": "b", "uid": "b"}], "lastScheduleTime": "2026-11-20T10:00:00Z"});
        let cases = [
            (
                json!({"timeZone": "Moon/Crater"}),
                "* * * * *",
                vec!["UnknownTimeZone"],
            ),
            (
                json!({"timeZone": "Moon/Crater", "suspend": true}),
                "* * * * *",
                vec!["UnknownTimeZone"],
            ),
            (json!({}), "* * * *", vec!["UnparseableSchedule"]),
            (json!({"suspend": true}), "* * * *", vec![]),
            (json!({}), "59 23 31 2 *", vec!["InvalidSchedule"]),
            (
                json!({}),
                "TZ=Asia/Tokyo 0 0 1 1 *",
                vec!["UnsupportedSchedule"],
            ),
            (json!({}), "0 0 1 1 *", vec![]),
        ];
        for (mut spec, schedule, expected) in cases {
            spec["successfulJobsHistoryLimit"] = json!(1);
            let mut cron = cron(spec, status.clone());
            cron.spec.schedule = schedule.to_owned();
            let plan = planned(&cron, &jobs, "2026-11-20T10:00:30Z");
            assert_eq!(names(&plan.tidy), ["a"], "{schedule}");
            assert_eq!(plan.status.active, None, "{schedule}");
            assert_eq!(reasons(&plan)[..1], ["SawCompletedJob"], "{schedule}");
            assert_eq!(reasons(&plan)[1..], expected, "{schedule}");
            assert_eq!(plan.start, None, "{schedule}");
        }
    }

    #[test]
    fn missed_times_are_told_from_a_hundred_on() {
        let cases = [
            ("2026-11-21T02:40:00Z", vec![]),
            ("2026-11-21T02:50:00Z", vec!["TooManyMissedTimes"]),
        ];
        for (now, expected) in cases {
            let plan = planned(&cron(json!({}), json!({})), &[], now);
            assert_eq!(reasons(&plan), expected, "{now}");
            assert_eq!(plan.start, Some(now.parse().unwrap()));
        }
    }

    #[test]
    fn another_schedule_makes_up_for_nothing() {
        let cron = cron(json!({}), json!({}));
        let timing = timing::read(&cron.spec);
        let start = |since: &str, now: &str| {
            let since = since.parse().unwrap();
            plan(&cron, &[], &timing, Some(since), now.parse().unwrap()).start
        };
        let (at, changed) = ("2026-11-20T10:45:00Z", "2026-11-20T10:44:00Z");
        assert_eq!(start(changed, at), None, "10:40 was before the change");
        let due = "2026-11-20T10:50:00Z";
        assert_eq!(start(changed, due), Some(due.parse().unwrap()));
    }

    #[test]
    fn no_two_jobs_in_a_minute() {
        let mut cron = cron(
            json!({}),
            json!({"lastScheduleTime": "2026-11-20T10:10:00Z"}),
        );
        cron.spec.schedule = "@every 20s".to_owned();
        let due = |second: &str| format!("2026-11-20T10:10:{second}Z");
        let made = job_name(&cron, due("00").parse().unwrap());
        let jobs = [job(&made, "Failed", 1)];
        assert_eq!(planned(&cron, &jobs, &due("25")).start, None);
        let next = "2026-11-20T10:11:00Z";
        assert_eq!(
            planned(&cron, &jobs, next).start,
            Some(next.parse().unwrap())
        );
    }

    #[test]
    fn a_job_whose_note_was_lost_is_noted() {
        let cron = cron(json!({"concurrencyPolicy": "Forbid"}), json!({}));
        let at = "2026-11-20T10:10:00Z";
        let made = job_name(&cron, at.parse().unwrap());
        let plan = planned(&cron, &[job(&made, "", 1)], "2026-11-20T10:10:07Z");
        assert_eq!(plan.start, None);
        assert_eq!(
            plan.status.last_schedule_time.unwrap().0,
            at.parse().unwrap()
        );
        let active = plan.status.active.unwrap();
        assert_eq!(active[0].uid.as_deref(), Some(made.as_str()));
        let ended = planned(&cron, &[job(&made, "Complete", 1)], "2026-11-20T10:10:07Z");
        assert_eq!(ended.status.active, None);
        assert!(ended.status.last_schedule_time.is_some());
    }

    #[test]
    fn a_job_without_a_start_goes_last() {
        let mut never = Arc::unwrap_or_clone(job("a", "Failed", 1));
        never.status.as_mut().unwrap().start_time = None;
        let jobs = [Arc::new(never), job("b", "Failed", 2)];
        let plan = planned(&cron(json!({}), json!({})), &jobs, "2026-11-20T10:02:00Z");
        assert_eq!(names(&plan.tidy), ["b"]);
    }
}
