//! CronJob: makes a Job each time its schedule comes.

mod plan;
mod schedule;
mod timing;
mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{PostParams, PropagationPolicy};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use self::plan::Plan;
use self::timing::{Timing, Trouble};
use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::kit::{Kit, requeue};
use crate::owner::{controller_of, controller_ref, refers_to};
use crate::write;

/// When a Job was due, for people and for other tools.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Controller {
    kit: Kit,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    job_writes: Expectations,
    own_writes: Expectations,
    /// The schedule and time zone each CronJob was last seen with, and since when if it had others
    /// before.
    schedules: Mutex<HashMap<Key, Seen>>,
    /// How long after its time a Job was made.
    skew: Histogram,
}

type Seen = ((String, Option<String>), Option<Timestamp>);

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let crons = kit.informers.get::<CronJob>(Scope::All);
    let jobs = kit.informers.get::<Job>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&crons).await && kit.synced(&jobs).await) {
        return;
    }
    kit.follow_own(&crons, &queue);
    kit.follow(&jobs, &queue, |change: Change<Job>| {
        let job = change.object();
        let owner = controller_of(&job.metadata).filter(|owner| refers_to::<CronJob>(owner))?;
        Some(Key::new(job.metadata.namespace.as_deref()?, &owner.name))
    });
    let skew = Histogram::new(exponential_buckets(1.0, 2.0, 10));
    kit.metrics.register(|registry| {
        registry.register(
            "cronjob_controller_job_creation_skew_duration_seconds",
            "How long after its time a Job of a CronJob was made",
            skew.clone(),
        );
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        crons,
        jobs,
        job_writes: Expectations::default(),
        own_writes: Expectations::default(),
        schedules: Mutex::default(),
        skew,
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(cron) = self.crons.store().get_key(key) else {
            self.job_writes.forget(key);
            self.own_writes.forget(key);
            self.schedules.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let now = self.kit.now();
        if let Some(wait) = self.job_writes.outstanding(key, self.jobs.store(), now) {
            return Ok(Requeue::After(wait));
        }
        if let Some(wait) = self.own_writes.outstanding(key, self.crons.store(), now) {
            return Ok(Requeue::After(wait));
        }
        let uid = cron.metadata.uid.as_deref().unwrap_or_default();
        let mut jobs: Vec<_> = self
            .jobs
            .store()
            .owned_by(uid)
            .into_iter()
            .filter(|job| controller_of(&job.metadata).is_some_and(|owner| owner.uid == uid))
            .collect();
        jobs.extend(self.unseen(key, &cron, &jobs).await?);
        let since = self.rescheduled(key, &cron, now);
        let timing = timing::read(&cron.spec);
        let plan = plan::plan(&cron, &jobs, &timing, since, now);
        self.execute(key, &cron, plan, &timing).await
    }

    /// Active Jobs that the cache does not know: those that are there all the same. After a change
    /// of the leader the cache of Jobs may be behind that of CronJobs.
    async fn unseen(
        &self,
        key: &Key,
        cron: &CronJob,
        seen: &[Arc<Job>],
    ) -> Result<Vec<Arc<Job>>, Error> {
        let active = cron
            .status
            .as_ref()
            .and_then(|status| status.active.as_ref());
        let api: Api<Job> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let mut unseen = Vec::new();
        for one in active.into_iter().flatten() {
            if seen.iter().any(|job| job.metadata.uid == one.uid) {
                continue;
            }
            let name = one.name.as_deref().unwrap_or_default();
            let job_key = || Key::new(&key.namespace, name);
            let live = api.get_opt(name).await.on("get", "job", job_key)?;
            unseen.extend(
                live.filter(|live| live.metadata.uid == one.uid)
                    .map(Arc::new),
            );
        }
        Ok(unseen)
    }

    /// Since when the CronJob has the schedule it has, if it was seen with another one: what the new
    /// one would have had run before is not made up for.
    fn rescheduled(&self, key: &Key, cron: &CronJob, now: Timestamp) -> Option<Timestamp> {
        let present = (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
        let mut schedules = self.schedules.lock();
        let (known, since) = schedules
            .entry(key.clone())
            .or_insert_with(|| (present.clone(), None));
        if *known != present {
            (*known, *since) = (present, Some(now));
        }
        *since
    }

    async fn execute(
        &self,
        key: &Key,
        cron: &CronJob,
        mut plan: Plan,
        timing: &Result<Timing, Trouble>,
    ) -> Result<Requeue, Error> {
        let jobs: Api<Job> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        for (kind, reason, message) in std::mem::take(&mut plan.events) {
            self.kit.recorder.on(cron, kind, reason, message);
        }
        let mut failure = None;
        for job in &plan.tidy {
            // One too many is kept: no reason not to start the next.
            failure = self.delete(key, cron, &jobs, job).await.err().or(failure);
        }
        let started = match timing {
            Ok(timing) => self.start(key, cron, &jobs, &mut plan, timing).await,
            Err(_) => Ok(()),
        };
        // What has ended is written whether or not the next could be started.
        let api: Api<CronJob> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        if let Some(written) = write::status(&api, cron, &cron.status, &Some(plan.status)).await? {
            self.own_writes.wrote(key, &written, self.kit.now());
        }
        match started.err().or(failure) {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            Some(_) => Ok(Requeue::OnChange),
            None => Ok(requeue(plan.again)),
        }
    }

    /// Starts the Job that is due, after those it replaces are gone. If that fails the status keeps
    /// the time of the one before.
    async fn start(
        &self,
        key: &Key,
        cron: &CronJob,
        jobs: &Api<Job>,
        plan: &mut Plan,
        timing: &Timing,
    ) -> Result<(), Error> {
        let Some(due) = plan.start else { return Ok(()) };
        for job in std::mem::take(&mut plan.replace) {
            self.delete(key, cron, jobs, &job).await?;
            plan.forget(&job);
        }
        let job = job(cron, due, &timing.zone);
        let name = job.metadata.name.clone().unwrap_or_default();
        let job_key = || Key::new(&key.namespace, &name);
        let created = jobs
            .create(&PostParams::default(), &job)
            .await
            .on("create", "job", job_key);
        let made = match created {
            Ok(created) => {
                if let Some(made) = &created.metadata.creation_timestamp {
                    self.skew.observe(made.0.duration_since(due).as_secs_f64());
                }
                let message = format!("Created job {name}");
                self.kit
                    .recorder
                    .on(cron, EventType::Normal, "SuccessfulCreate", message);
                Some(created)
            }
            // An earlier try whose answer was lost, for the name is made of the time; or somebody
            // else's of that name, which is none of ours.
            Err(error) if error.is_already_exists() => {
                let live = jobs.get(&name).await.on("get", "job", job_key)?;
                let ours = controller_of(&live.metadata)
                    .is_some_and(|owner| Some(&owner.uid) == cron.metadata.uid.as_ref());
                ours.then_some(live)
            }
            Err(error) => {
                if !error.is_namespace_terminating() {
                    let message = format!("Error creating job: {}", error.api_message());
                    self.kit
                        .recorder
                        .on(cron, EventType::Warning, "FailedCreate", message);
                }
                return Err(error);
            }
        };
        if let Some(made) = made {
            self.job_writes.wrote(key, &made, self.kit.now());
            plan.note(&made);
        }
        plan.status.last_schedule_time = Some(Time(due));
        Ok(())
    }

    async fn delete(
        &self,
        key: &Key,
        cron: &CronJob,
        jobs: &Api<Job>,
        job: &Job,
    ) -> Result<(), Error> {
        let deleted = write::delete(jobs, job, Some(PropagationPolicy::Background), None).await;
        let (kind, reason, message) = match &deleted {
            Ok(()) => {
                self.job_writes.deleted(key, job, self.kit.now());
                let name = job.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Deleted job {name}");
                (EventType::Normal, "SuccessfulDelete", message)
            }
            Err(error) => {
                let message = format!("Deleted job: {}", error.api_message());
                (EventType::Warning, "FailedDelete", message)
            }
        };
        self.kit.recorder.on(cron, kind, reason, message);
        deleted
    }
}

/// The Job for a time.
fn job(cron: &CronJob, due: Timestamp, zone: &TimeZone) -> Job {
    let template = cron.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let local = due.to_zoned(zone.clone());
    let offset = if local.offset().is_zero() { "Z" } else { "%:z" };
    let scheduled = local
        .strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}"))
        .to_string();
    annotations.insert(SCHEDULED_AT.to_owned(), scheduled);
    Job {
        metadata: ObjectMeta {
            name: Some(plan::job_name(cron, due)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        ..Job::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_says_when_it_was_due_by_its_own_clock() {
        let cron: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u"},
            "spec": {"schedule": "0 0 * * *", "jobTemplate": {"metadata": {"annotations": {"a": "b"}}}},
        }))
        .unwrap();
        let due = "2026-11-20T15:00:00Z".parse().unwrap();
        for (zone, expected) in [
            ("UTC", "2026-11-20T15:00:00Z"),
            ("Asia/Tokyo", "2026-11-21T00:00:00+09:00"),
            ("America/St_Johns", "2026-11-20T11:30:00-03:30"),
        ] {
            let job = job(&cron, due, &zones::get(zone).unwrap());
            let annotations = job.metadata.annotations.unwrap();
            assert_eq!(annotations[SCHEDULED_AT], expected);
            assert_eq!(annotations["a"], "b");
            assert_eq!(job.metadata.name.as_deref(), Some("c-29919780"));
        }
    }
}
