//! Deletes finished Jobs when their `ttlSecondsAfterFinished` is over.

use client::controller::Requeue;
use client::{Key, Scope};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::PropagationPolicy;

use super::job::is_finished;
use crate::error::{Error, On};
use crate::kit::{Kit, until};
use crate::write;

/// When the Job may go; none while it runs, or if it is to be kept.
fn expiry(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if !is_finished(job) || job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let finished = conditions.iter().find(|condition| {
        ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True"
    })?;
    finished
        .last_transition_time
        .as_ref()?
        .0
        .checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let jobs = kit.informers.get::<Job>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&jobs).await {
        return;
    }
    kit.follow(&jobs, &queue, |change: client::Change<Job>| {
        let job = change.object();
        (!change.is_deleted() && expiry(job).is_some()).then(|| Key::of(&**job))
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, jobs) = (inner.clone(), jobs.clone());
        async move {
            let Some(job) = jobs.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let now = kit.now();
            match expiry(&job) {
                None => return Ok(Requeue::OnChange),
                Some(at) if at > now => return Ok(Requeue::After(until(at, now))),
                Some(_) => {}
            }
            // The time to live may just have been prolonged.
            let api: Api<Job> = Api::namespaced(kit.client.clone(), &key.namespace);
            let live = api
                .get_opt(&key.name)
                .await
                .on("get", "job", || key.clone())?;
            if let Some(live) = live.filter(|live| expiry(live).is_some_and(|at| at <= now)) {
                write::delete(&api, &live, Some(PropagationPolicy::Foreground), None).await?;
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}
