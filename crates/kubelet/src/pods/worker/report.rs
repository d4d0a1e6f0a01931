//! Telling the API: one status write at a time, holding what changed last; and the end of a pod,
//! in order: status, removal from the node, removal from the API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};

use super::{End, Worker, news::Done};
use crate::pods::{
    hooks::cleanup::{self, CleanupError},
    manifests,
    status::{self, Input, patch},
};

impl Worker {
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.agent.context.client.clone(), self.pod.namespace())
    }

    /// Sends the status if it changed; answers when to ask again if it was held back.
    pub(super) fn report(&mut self, finished: bool, settled: bool) -> Option<Timestamp> {
        let now = self.agent.now();
        let terminal = settled && (finished || self.stop.is_some());
        let host_ips = self.agent.host_ips.read().clone();
        let status = status::generate(Input {
            pod: &self.pod,
            previous: &self.generated,
            observed: &self.observed,
            progress: &self.progress,
            waiting: &self.waiting,
            verdict: self.verdict.as_ref(),
            terminal,
            host_ips: &host_ips,
            runtime: self.agent.runtime_name(),
            now,
        });
        self.generated = status;
        self.count_start(now);
        if self.api_gone || self.sending {
            return None;
        }
        let mut uid = self.pod.uid().to_owned();
        if self.pod.is_static() {
            // What the API shows of it is another object.
            let store = self.agent.pods.store();
            let mirror = store.get(self.pod.namespace(), self.pod.name())?;
            uid = mirror.metadata.uid.clone().unwrap_or_default();
            if !manifests::shows(&mirror, self.pod.pod()) {
                return None;
            }
            if self.mirror != uid {
                self.mirror.clone_from(&uid);
                self.sent = mirror.status.clone().unwrap_or_default();
            }
        }
        if let Some(at) = self.retry_status {
            if at > now {
                return None;
            }
            self.retry_status = None;
        }
        let quiet = self.waiting.is_empty() && self.stop.is_none() && self.verdict.is_none();
        let pending = self.generated.phase.as_deref() == Some("Pending");
        if quiet && (pending || self.is_settling()) && now < self.hold_status {
            return Some(self.hold_status);
        }
        let patch = patch::between(&uid, &self.sent, &self.generated)?;
        self.sending = true;
        self.mark("status write begins");
        let (api, name) = (self.api(), self.pod.name().to_owned());
        let status = Box::new(self.generated.clone());
        self.ops.spawn(async move {
            let result = api
                .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))
                .await
                .map(drop);
            Done::Reported(status, result)
        });
        None
    }

    /// Whether a first readiness result may come with the probe's first quick tries, so that it and
    /// the containers' start are one write.
    fn is_settling(&self) -> bool {
        self.observed.running().any(|run| {
            let at_once = self.pod.container(&run.name).is_some_and(|(c, _)| {
                let probe = c.readiness_probe.as_ref();
                probe.is_some_and(|p| p.initial_delay_seconds.unwrap_or(0) == 0)
            });
            let results = self.progress.probes.get(&run.id);
            at_once && results.is_none_or(|r| r.readiness.is_none())
        })
    }

    fn count_start(&mut self, now: Timestamp) {
        let all = self
            .generated
            .container_statuses
            .iter()
            .flatten()
            .all(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
        if !self.was_ready && all && self.generated.phase.as_deref() == Some("Running") {
            self.was_ready = true;
            let seconds = now.duration_since(self.first_seen).as_secs_f64();
            self.agent.metrics.pod_start.observe(seconds);
        }
    }

    pub(super) fn reported(&mut self, status: PodStatus, result: Result<(), kube::Error>) {
        self.sending = false;
        match result {
            Ok(()) => {
                self.failures.remove("status");
                self.sent = status;
            }
            // The next mirror pod gets it.
            Err(error) if gone(&error) && self.pod.is_static() => self.mirror.clear(),
            Err(error) if gone(&error) => self.api_gone = true,
            Err(error) => {
                tracing::info!(pod = %self.pod.full_name(), %error, "status is not written");
                let wait = self.wait_after("status", 30);
                self.retry_status = Some(self.agent.now() + wait);
            }
        }
    }

    /// Goes on with the end of a pod of which nothing runs.
    pub(super) fn conclude(&mut self, settled: bool, finished: bool) {
        if !settled {
            return;
        }
        if let Some(at) = self.retry_end {
            if at > self.agent.now() {
                return;
            }
            self.retry_end = None;
        }
        let leaving = self.api_gone || self.pod.deletion().is_some();
        let told = self.api_gone
            || self.pod.is_static()
            || (!self.sending && patch::between("", &self.sent, &self.generated).is_none());
        match self.end {
            End::Open | End::Released if leaving && told => {
                self.end = End::Removing;
                self.drop_volumes();
                let (agent, pod) = (self.agent.clone(), self.pod.clone());
                self.ops
                    .spawn(async move { Done::Cleaned(cleanup::remove(agent, pod).await) });
            }
            End::Open if !leaving && (finished || self.verdict.is_some()) => {
                self.end = End::Releasing;
                self.drop_volumes();
                let (agent, pod) = (self.agent.clone(), self.pod.clone());
                self.ops
                    .spawn(async move { Done::Released(cleanup::release(agent, pod).await) });
            }
            _ => {}
        }
    }

    /// Ends what writes to the volumes and what asks the containers.
    fn drop_volumes(&mut self) {
        self.volumes = None;
        self.probes.clear();
    }

    pub(super) fn released(&mut self, result: Result<(), CleanupError>) {
        match result {
            Ok(()) => self.end = End::Released,
            Err(error) => self.end_failed(&error, End::Open),
        }
    }

    pub(super) fn cleaned(&mut self, result: Result<(), CleanupError>) {
        match result {
            Ok(()) if self.api_gone || self.pod.is_static() => self.end = End::Gone,
            Ok(()) => {
                self.end = End::Deleting;
                self.delete(None);
            }
            Err(error) => self.end_failed(&error, End::Open),
        }
    }

    fn end_failed(&mut self, error: &CleanupError, back_to: End) {
        tracing::warn!(pod = %self.pod.full_name(), %error, "cannot clean up yet");
        self.end = back_to;
        let wait = self.wait_after("end", 60);
        self.retry_end = Some(self.agent.now() + wait);
    }

    fn delete(&mut self, after: Option<std::time::Duration>) {
        let (api, name) = (self.api(), self.pod.name().to_owned());
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.pod.uid().to_owned()),
                resource_version: None,
            }),
            ..Default::default()
        };
        self.ops.spawn(async move {
            if let Some(wait) = after {
                tokio::time::sleep(wait).await;
            }
            Done::Deleted(api.delete(&name, &params).await.map(drop))
        });
    }

    pub(super) fn deleted(&mut self, result: Result<(), kube::Error>) {
        match result {
            Ok(()) => self.end = End::Gone,
            Err(error) if gone(&error) => self.end = End::Gone,
            Err(error) => {
                tracing::info!(pod = %self.pod.full_name(), %error, "pod is not deleted yet");
                let wait = self.wait_after("delete", 30).unsigned_abs();
                self.delete(Some(wait));
            }
        }
    }
}

/// The object is not there any more, or is another one of the same name.
fn gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 404 || (status.code == 409 && status.message.to_lowercase().contains("uid")))
}
