//! Whether a Job is due, which are to go, and the status: pure.

use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::schedule::Schedule;
use crate::batch::job::is_finished;
use crate::kit::until;

/// More missed times than this are a sign of trouble, and said.
const MANY_MISSED: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub start: Option<Timestamp>,
    pub delete: Vec<Arc<Job>>,
    pub status: CronJobStatus,
    pub events: Vec<(EventType, &'static str, String)>,
    pub again: Option<Duration>,
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

/// Plans.
pub(super) fn plan(
    cron: &CronJob,
    jobs: &[Arc<Job>],
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        status: cron.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let spec = &cron.spec;
    settle_active(&mut plan, jobs);
    plan.delete = surplus_history(spec, jobs);
    if cron.metadata.deletion_timestamp.is_some() || spec.suspend.unwrap_or_default() {
        return plan;
    }
    let due = due(cron, spec, schedule, zone, now, &mut plan.events);
    plan.again = schedule.next(now, zone).map(|next| until(next, now));
    let Some(due) = due else { return plan };
    if let Some(seconds) = spec.starting_deadline_seconds
        && due
            .checked_add(SignedDuration::from_secs(seconds))
            .is_ok_and(|end| end < now)
    {
        let message = format!(
            "Missed scheduled time to start a job: {}",
            api::clock::rfc3339(due)
        );
        plan.events
            .push((EventType::Warning, "MissSchedule", message));
        return plan;
    }
    let active: Vec<_> = jobs
        .iter()
        .filter(|job| !is_finished(job))
        .cloned()
        .collect();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events
                .push((EventType::Normal, "JobAlreadyActive", message.to_owned()));
            return plan;
        }
        Some("Replace") => {
            plan.delete.extend(active);
            plan.status.active = None;
        }
        _ => {}
    }
    plan.status.last_schedule_time = Some(Time(due));
    plan.start = Some(due);
    plan
}

/// Takes what has ended or vanished out of the list of active Jobs, and adds what is missing there.
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
    for job in jobs
        .iter()
        .filter(|job| !is_finished(job) && job.metadata.deletion_timestamp.is_none())
    {
        if !active
            .iter()
            .any(|reference| reference.uid == job.metadata.uid)
        {
            active.push(client::events::reference(&**job));
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
            (start, job.metadata.name.clone())
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
    spec: &CronJobSpec,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
    events: &mut Vec<(EventType, &'static str, String)>,
) -> Option<Timestamp> {
    let last = cron
        .status
        .as_ref()
        .and_then(|status| status.last_schedule_time.as_ref());
    let mut from = last.or(cron.metadata.creation_timestamp.as_ref())?.0;
    if let Some(seconds) = spec.starting_deadline_seconds
        && let Ok(earliest) = now.checked_sub(SignedDuration::from_secs(seconds))
    {
        from = from.max(earliest);
    }
    let mut latest = None;
    let mut missed = 0_usize;
    let mut at = schedule.next(from, zone)?;
    while at <= now {
        latest = Some(at);
        missed += 1;
        if missed == MANY_MISSED {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            events.push((EventType::Warning, "TooManyMissedTimes", message.to_owned()));
            // Rather than walk through years, look back from now in steps that double.
            return Some(latest_before(schedule, zone, now, at));
        }
        at = schedule.next(at, zone)?;
    }
    latest
}

/// The latest time not after `now`, known to be no earlier than `known`.
fn latest_before(
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
    known: Timestamp,
) -> Timestamp {
    let mut back = SignedDuration::from_secs(60);
    while let Ok(from) = now.checked_sub(back) {
        if from <= known {
            break;
        }
        if let Some(mut at) = schedule.next(from, zone).filter(|at| *at <= now) {
            while let Some(next) = schedule.next(at, zone).filter(|next| *next <= now) {
                at = next;
            }
            return at;
        }
        back = back.saturating_mul(2);
    }
    known
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
        let schedule = Schedule::parse(&cron.spec.schedule).unwrap();
        plan(cron, jobs, &schedule, &TimeZone::UTC, now.parse().unwrap())
    }

    #[test]
    fn due_times() {
        let none = json!({});
        let last = json!({"lastScheduleTime": "2026-11-20T10:10:00Z"});
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
                last.clone(),
                running.clone(),
                "2026-11-20T10:45:00Z",
                None,
            ),
            (
                "replaced",
                json!({"concurrencyPolicy": "Replace"}),
                last,
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
            assert_eq!(plan.delete.len(), usize::from(name == "replaced"), "{name}");
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
        let names: Vec<_> = plan
            .delete
            .iter()
            .map(|job| job.metadata.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["a", "c"]);
        let active: Vec<_> = plan
            .status
            .active
            .unwrap()
            .into_iter()
            .map(|job| job.name.unwrap())
            .collect();
        assert_eq!(active, ["e"]);
        let reasons: Vec<_> = plan.events.iter().map(|(_, reason, _)| *reason).collect();
        assert_eq!(reasons, ["SawCompletedJob", "MissingJob"]);
        assert_eq!(
            plan.status.last_successful_time.unwrap().0.to_string(),
            "2026-11-20T09:02:00Z"
        );
        assert_eq!(plan.again.unwrap().as_secs(), 480);
    }
}
