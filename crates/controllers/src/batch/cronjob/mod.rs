//! CronJob: makes a Job each time its schedule comes.

mod plan;
mod schedule;
mod zones;

use std::sync::Arc;

use client::controller::Requeue;
use client::events::{EventType, reference};
use client::{Change, Informer, Key, Scope};
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{PostParams, PropagationPolicy};
use kube::{Api, Resource};

use self::plan::Plan;
use self::schedule::Schedule;
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
}

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
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        crons,
        jobs,
        job_writes: Expectations::default(),
        own_writes: Expectations::default(),
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
            return Ok(Requeue::OnChange);
        };
        let spec = &cron.spec;
        let now = self.kit.now();
        if let Some(wait) = self.job_writes.outstanding(key, self.jobs.store(), now) {
            return Ok(Requeue::After(wait));
        }
        if let Some(wait) = self.own_writes.outstanding(key, self.crons.store(), now) {
            return Ok(Requeue::After(wait));
        }
        let warn = |reason: &str, message: String| {
            self.kit
                .recorder
                .on(&*cron, EventType::Warning, reason, message)
        };
        let zone = match spec.time_zone.as_deref() {
            None | Some("") => TimeZone::UTC,
            Some(name) => match zones::get(name) {
                Some(zone) => zone,
                None => {
                    warn(
                        "UnknownTimeZone",
                        format!("invalid timeZone: {name:?}: unknown time zone {name}"),
                    );
                    return Ok(Requeue::OnChange);
                }
            },
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                warn(
                    "UnparseableSchedule",
                    format!("unparseable schedule: {:?} : {error}", spec.schedule),
                );
                return Ok(Requeue::OnChange);
            }
        };
        let uid = cron.metadata.uid.as_deref().unwrap_or_default();
        let jobs: Vec<_> = self
            .jobs
            .store()
            .owned_by(uid)
            .into_iter()
            .filter(|job| controller_of(&job.metadata).is_some_and(|owner| owner.uid == uid))
            .collect();
        let plan = plan::plan(&cron, &jobs, &schedule, &zone, now);
        self.execute(key, &cron, plan).await
    }

    async fn execute(&self, key: &Key, cron: &CronJob, mut plan: Plan) -> Result<Requeue, Error> {
        let jobs: Api<Job> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        for (kind, reason, message) in std::mem::take(&mut plan.events) {
            self.kit.recorder.on(cron, kind, reason, message);
        }
        for job in &plan.delete {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            write::delete(&jobs, &**job, Some(PropagationPolicy::Background), None).await?;
            self.job_writes.deleted(key, &**job, self.kit.now());
            self.kit.recorder.on(
                cron,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted job {name}"),
            );
        }
        if let Some(due) = plan.start {
            let job = job(cron, due);
            let name = job.metadata.name.clone().unwrap_or_default();
            let job_key = || Key::new(&key.namespace, &name);
            match jobs
                .create(&PostParams::default(), &job)
                .await
                .on("create", "job", job_key)
            {
                Ok(created) => {
                    self.job_writes.wrote(key, &created, self.kit.now());
                    self.kit.recorder.on(
                        cron,
                        EventType::Normal,
                        "SuccessfulCreate",
                        format!("Created job {name}"),
                    );
                    let mut active = reference(&created);
                    active.resource_version = created.metadata.resource_version.clone();
                    active.uid = created.meta().uid.clone();
                    plan.status.active.get_or_insert_default().push(active);
                }
                // An earlier try whose answer was lost: the name is made of the time.
                Err(error) if error.is_already_exists() => {}
                Err(error) if error.is_namespace_terminating() => return Ok(Requeue::OnChange),
                Err(error) => {
                    let message = format!("Error creating job: {}", error.api_message());
                    self.kit
                        .recorder
                        .on(cron, EventType::Warning, "FailedCreate", message);
                    return Err(error);
                }
            }
        }
        let api: Api<CronJob> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        if let Some(written) = write::status(&api, cron, &cron.status, &Some(plan.status)).await? {
            self.own_writes.wrote(key, &written, self.kit.now());
        }
        Ok(requeue(plan.again))
    }
}

/// The Job for a time. Its name is made of the minutes since 1970, so that the same time cannot make
/// two.
fn job(cron: &CronJob, due: jiff::Timestamp) -> Job {
    let template = cron.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.to_owned(), api::clock::rfc3339(due));
    Job {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}-{}",
                cron.metadata.name.as_deref().unwrap_or_default(),
                due.as_second() / 60
            )),
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
