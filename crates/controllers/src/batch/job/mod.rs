//! Job: runs pods until enough of them have succeeded.
//!
//! No pod is counted twice and none is missed, whatever is deleted or crashes when. Every pod carries
//! the finalizer [`TRACKING`]. A finished pod is first written into the status as "uncounted", then
//! loses the finalizer; once it is seen without it, it moves from "uncounted" into the counters.

mod failure;
mod index_failures;
mod indexes;
mod manage;
mod metrics;
mod plan;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::reference;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::core::Selector;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use self::failure::Streak;
use self::metrics::Counted;
use self::plan::{Plan, plan};
use crate::error::Error;
use crate::expectations::Expectations;
use crate::kit::{Kit, requeue};
use crate::owner::{self, Owner};
use crate::pods;
use crate::write;

/// Keeps a pod from vanishing before it is counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

impl Owner for Job {
    const FINALIZER: Option<&'static str> = Some(TRACKING);

    fn selector(&self) -> Option<Selector> {
        owner::selector_of(self.spec.as_ref()?.selector.as_ref()?)
    }
}

/// Complete or Failed, for good.
pub(crate) fn is_finished(job: &Job) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions.iter().any(|condition| {
        ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True"
    })
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Job(Key),
    /// A pod with the finalizer and no Job that would take it off.
    Orphan(Key),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(key) => key.fmt(f),
            Self::Orphan(key) => write!(f, "pod {key}"),
        }
    }
}

struct Controller {
    kit: Kit,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    /// Of the Job's own status.
    job_writes: Expectations,
    pod_writes: Expectations,
    /// By Job and its uid, while it runs: pods that failed may be gone long before it is over.
    streaks: Mutex<HashMap<Key, (String, Streak)>>,
    counted: Arc<Counted>,
}

fn is_tracked(pod: &Pod) -> bool {
    pod.metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == TRACKING)
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let jobs = kit.informers.get::<Job>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Task>();
    if !(kit.synced(&jobs).await && kit.synced(&pods).await) {
        return;
    }
    let own = jobs.clone();
    let all_pods = pods.store().clone();
    kit.follow(&own, &queue, move |change: Change<Job>| {
        let job = change.object();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let left = if change.is_deleted() {
            all_pods.owned_by(uid)
        } else {
            Vec::new()
        };
        left.into_iter()
            .map(|pod| Task::Orphan(Key::of(&*pod)))
            .chain([Task::Job(Key::of(&**job))])
            .collect::<Vec<_>>()
    });
    let owners = jobs.store().clone();
    let counted = Arc::new(Counted::new(&kit.metrics));
    let counts = counted.clone();
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        counts.saw(&change);
        let mut tasks: Vec<_> = owner::owners_of(&change, &owners)
            .into_iter()
            .map(Task::Job)
            .collect();
        if tasks.is_empty() && !change.is_deleted() && is_tracked(change.object()) {
            tasks.push(Task::Orphan(Key::of(&**change.object())));
        }
        tasks
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        jobs,
        pods,
        job_writes: Expectations::default(),
        pod_writes: Expectations::default(),
        streaks: Mutex::default(),
        counted,
    });
    kit.run(queue, move |task| {
        let controller = controller.clone();
        async move {
            match task {
                Task::Job(key) => controller.reconcile(&key).await,
                Task::Orphan(key) => controller.release_orphan(&key).await,
            }
        }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(job) = self.jobs.store().get_key(key) else {
            self.job_writes.forget(key);
            self.pod_writes.forget(key);
            self.streaks.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let managed_by = job
            .spec
            .as_ref()
            .and_then(|spec| spec.managed_by.as_deref());
        if managed_by.is_some_and(|by| by != "kubernetes.io/job-controller") {
            return Ok(Requeue::OnChange);
        }
        let now = self.kit.now();
        // One's own writes are all seen, or nothing is decided.
        if let Some(wait) = self.job_writes.outstanding(key, self.jobs.store(), now) {
            return Ok(Requeue::After(wait));
        }
        if let Some(wait) = self.pod_writes.outstanding(key, self.pods.store(), now) {
            return Ok(Requeue::After(wait));
        }
        let Some(selector) = job.selector() else {
            return Ok(Requeue::OnChange);
        };
        let pods = owner::claimed(&self.kit, &*job, &selector, self.pods.store()).await?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let remembered = self.streaks.lock().get(key).cloned();
        let streak = remembered
            .filter(|(of, _)| *of == uid)
            .map(|(_, streak)| streak);
        let began = Instant::now();
        let plan = plan(&job, &pods, streak, now);
        let action = plan.action();
        let result = self.execute(key, &job, plan).await;
        if !is_finished(&job) {
            self.counted.synced(&job, action, result.is_err(), began);
        }
        result
    }

    async fn execute(&self, key: &Key, job: &Job, plan: Plan) -> Result<Requeue, Error> {
        let api: Api<Job> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, job, &job.status, &Some(plan.status)).await {
            Ok(Some(written)) => {
                self.job_writes.wrote(key, &written, self.kit.now());
                self.counted.wrote(job, &written);
                for (kind, reason, message) in plan.events {
                    self.kit.recorder.on(job, kind, reason, message);
                }
            }
            Ok(None) => {}
            Err(error) if error.is_not_found() => return Ok(Requeue::OnChange),
            Err(error) => return Err(error),
        }
        self.counted.handled(&plan.handled);
        if is_finished(job) {
            self.streaks.lock().remove(key);
        } else {
            let uid = job.metadata.uid.clone().unwrap_or_default();
            let mut streaks = self.streaks.lock();
            streaks.insert(key.clone(), (uid, plan.streak));
        }
        // Only now: what the finalizer protects is in the status.
        for pod in &plan.release {
            self.release(Some(key), pod).await?;
        }
        let about = reference(job);
        let delete = |pod: Arc<Pod>| {
            let about = &about;
            async move {
                if plan.release_deleted {
                    self.release(Some(key), &pod).await?;
                }
                pods::delete(&self.kit, about, &pod).await?;
                self.pod_writes.deleted(key, &*pod, self.kit.now());
                Ok::<_, Error>(())
            }
        };
        for result in futures::future::join_all(plan.delete.into_iter().map(delete)).await {
            result?;
        }
        let create = |new| {
            let about = &about;
            async move {
                let created = pods::create(&self.kit, about, &template::pod(job, new)).await?;
                self.pod_writes.wrote(key, &created, self.kit.now());
                Ok(())
            }
        };
        match pods::slow_start(plan.create, create).await.1 {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(requeue(plan.again)),
        }
    }

    /// Takes the finalizer off.
    async fn release(&self, job: Option<&Key>, pod: &Pod) -> Result<(), Error> {
        if !is_tracked(pod) {
            return Ok(());
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), namespace);
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [TRACKING]}});
        match write::strategic(&api, pod, patch).await {
            // A pod whose last finalizer this was may be gone with this very write.
            Ok(written) => {
                if let Some(job) = job.filter(|_| written.metadata.deletion_timestamp.is_none()) {
                    self.pod_writes.wrote(job, &written, self.kit.now());
                }
                Ok(())
            }
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn release_orphan(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.store().get_key(key) else {
            return Ok(Requeue::OnChange);
        };
        let owner = owner::controller_of(&pod.metadata);
        if let Some(owner) = owner {
            if !owner::refers_to::<Job>(owner) {
                return Ok(Requeue::OnChange);
            }
            let job = self.jobs.store().get(&key.namespace, &owner.name);
            if job.is_some_and(|job| job.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
                return Ok(Requeue::OnChange);
            }
        }
        self.release(None, &pod).await?;
        Ok(Requeue::OnChange)
    }
}
