//! Taking in news: from the API, from the runtime, from probes, and from the worker's own steps.

use std::sync::atomic::Ordering;

use client::events::EventType;
use cri::v1;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerStatus, ResourceRequirements};

use super::{Message, Worker, retry_wait};
use crate::{
    pods::{
        allocation, cri_config,
        hooks::{
            cleanup::CleanupError,
            image::{self, Found, ImageError},
            observe,
            start::{StartError, Started},
        },
        last_words,
        observed::{Observed, Run, State, keys},
        plan::{Failure, Image, ProbeResults, Step, Stop, active_deadline},
        status::Verdict,
    },
    probes::ProbeKind,
    runtime_client::RuntimeError,
    volumes::Volumes,
};

/// A step has ended.
pub enum Done {
    /// Directories, cgroup, volumes.
    Mounted(Volumes),
    /// The sandbox.
    Sandbox(Result<v1::PodSandboxStatus, RuntimeError>),
    /// A container's image.
    Image(String, Result<Found, ImageError>),
    /// A container's start.
    Started(String, Result<Started, StartError>),
    /// A container's stop.
    Stopped(String, Result<Option<v1::ContainerStatus>, RuntimeError>),
    /// A container may be stopped again.
    StopAgain(String),
    /// A container's new limits.
    Resized(String, Result<Box<ResourceRequirements>, RuntimeError>),
    /// A container's limits may be changed again.
    ResizeAgain(String),
    /// A sandbox's stop.
    SandboxStopped(String, Result<Option<v1::PodSandboxStatus>, RuntimeError>),
    /// A dead container's removal.
    Removed(String, Result<(), RuntimeError>),
    /// A dead sandbox's removal.
    SandboxRemoved(String, Result<(), RuntimeError>),
    /// A full look at the runtime.
    Observed(Result<Observed, RuntimeError>),
    /// A look at one container.
    Looked(Result<(v1::ContainerStatus, String), RuntimeError>),
    /// A status write.
    Reported(
        Box<k8s_openapi::api::core::v1::PodStatus>,
        Result<(), kube::Error>,
    ),
    /// Volumes and cgroup are down.
    Released(Result<(), CleanupError>),
    /// Nothing is left on the node.
    Cleaned(Result<(), CleanupError>),
    /// The API object's deletion.
    Deleted(Result<(), kube::Error>),
}

impl Done {
    /// What ended, for the log.
    fn name(&self) -> &'static str {
        match self {
            Self::Mounted(_) => "volumes",
            Self::Sandbox(_) => "sandbox",
            Self::Image(..) => "image",
            Self::Started(..) => "container start",
            Self::Stopped(..) => "container stop",
            Self::Resized(..) => "resize",
            Self::SandboxStopped(..) => "sandbox stop",
            Self::Reported(..) => "status write",
            Self::Released(_) => "release",
            Self::Cleaned(_) => "clean-up",
            Self::Deleted(_) => "deletion",
            Self::StopAgain(_) | Self::ResizeAgain(_) => "wait",
            Self::Removed(..) | Self::SandboxRemoved(..) => "removal",
            Self::Observed(_) | Self::Looked(_) => "look",
        }
    }
}

impl Worker {
    /// Says how long after the pod was first seen something was done.
    pub(super) fn mark(&self, what: &str) {
        let since = self.agent.now().duration_since(self.first_seen);
        tracing::debug!(
            pod = %self.pod.full_name(),
            after_ms = since.as_secs_f64() * 1000.0,
            "{what}"
        );
    }

    /// Finds again what an earlier kubelet left running.
    pub(super) async fn adopt(&mut self) {
        let mut failures = 0;
        loop {
            match observe::pod(self.agent.clone(), self.pod.uid().to_owned()).await {
                Ok(observed) => {
                    self.observed = observed;
                    break;
                }
                Err(error) => {
                    tracing::warn!(pod = %self.pod.full_name(), %error, "cannot ask the runtime");
                    let wait = retry_wait(failures, 10);
                    failures += 1;
                    tokio::time::sleep(wait.unsigned_abs()).await;
                }
            }
        }
        if self.observed.sandbox().is_some() {
            self.progress.sandbox = Step::Done;
        }
        let known: Vec<ContainerStatus> = [
            &self.sent.container_statuses,
            &self.sent.init_container_statuses,
            &self.sent.ephemeral_container_statuses,
        ]
        .into_iter()
        .flatten()
        .flatten()
        .cloned()
        .collect();
        for status in known {
            self.adopt_container(&status);
        }
        let running: Vec<String> = self.observed.running().map(|r| r.id.clone()).collect();
        self.progress.started.extend(running);
        self.read_last_words();
    }

    fn adopt_container(&mut self, status: &ContainerStatus) {
        let state = status.state.as_ref();
        let Some(run) = self.observed.current(&status.name) else {
            let terminated = state.and_then(|s| s.terminated.as_ref());
            let ran = terminated.is_some() || state.is_some_and(|s| s.running.is_some());
            if ran {
                let nanos = |t: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                    t.map_or(0, |t| i64::try_from(t.0.as_nanosecond()).unwrap_or(0))
                };
                // The runtime lost it; the API still knows that it ran.
                self.observed.runs.push(Run {
                    id: String::new(),
                    name: status.name.clone(),
                    sandbox_id: String::new(),
                    state: State::Exited,
                    restart_count: u32::try_from(status.restart_count).unwrap_or(0),
                    hash: String::new(),
                    status: v1::ContainerStatus {
                        exit_code: terminated.map_or(137, |t| t.exit_code),
                        reason: terminated
                            .and_then(|t| t.reason.clone())
                            .unwrap_or_else(|| "ContainerStatusUnknown".to_owned()),
                        started_at: nanos(terminated.and_then(|t| t.started_at.as_ref())),
                        finished_at: nanos(terminated.and_then(|t| t.finished_at.as_ref())),
                        ..Default::default()
                    },
                    message: Some(terminated.and_then(|t| t.message.clone()).unwrap_or_else(
                        || {
                            "The container could not be located when the pod was terminated"
                                .to_owned()
                        },
                    )),
                });
            }
            return;
        };
        let same = status
            .container_id
            .as_deref()
            .is_some_and(|id| id.ends_with(&format!("//{}", run.id)));
        if same && run.state == State::Running {
            if let Some(resources) = &status.resources {
                self.progress
                    .applied
                    .insert(run.id.clone(), resources.clone());
            }
            // Probes find out again; until then what was true stays true.
            self.progress.probes.insert(
                run.id.clone(),
                ProbeResults {
                    startup: status.started.filter(|s| *s),
                    liveness: None,
                    readiness: Some(status.ready),
                },
            );
        }
    }

    /// Takes in everything that is there now.
    pub(super) fn take_in(&mut self) {
        while let Ok(message) = self.mailbox.try_recv() {
            self.hear(message);
        }
        while let Some(done) = self.ops.try_join_next() {
            if let Ok(done) = done {
                self.finish(done);
            }
        }
        if self.updates.has_changed().unwrap_or(false) {
            self.pod = self.updates.borrow_and_update().clone();
        }
        if self.relist.wanted.swap(false, Ordering::AcqRel) {
            let (agent, uid) = (self.agent.clone(), self.pod.uid().to_owned());
            self.ops
                .spawn(async move { Done::Observed(observe::pod(agent, uid).await) });
        }
        self.mark_started();
        self.read_last_words();
    }

    /// A container without a postStart hook has started when it runs: its first status says so.
    fn mark_started(&mut self) {
        for run in self.observed.running() {
            let hooked = self
                .pod
                .container(&run.name)
                .is_some_and(|(c, _)| c.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some()));
            if !hooked && !self.progress.started.contains(&run.id) {
                self.progress.started.insert(run.id.clone());
            }
        }
    }

    pub(super) fn hear(&mut self, message: Message) {
        match message {
            Message::Status(status, sandbox) => self.observed.upsert_run(*status, &sandbox),
            Message::Event(event) => self.hear_event(*event),
            Message::Probe(report) => {
                let results = self.progress.probes.entry(report.id).or_default();
                match report.kind {
                    ProbeKind::Startup => results.startup = Some(report.success),
                    ProbeKind::Liveness => results.liveness = Some(report.success),
                    ProbeKind::Readiness => results.readiness = Some(report.success),
                }
            }
            Message::Evict(verdict, grace) => {
                if self.verdict.is_none() && !self.pod.is_terminal() {
                    self.verdict = Some(verdict);
                    self.begin_stop(grace);
                }
            }
        }
    }

    fn hear_event(&mut self, event: v1::ContainerEventResponse) {
        let deleted =
            event.container_event_type == v1::ContainerEventType::ContainerDeletedEvent as i32;
        let id = event.container_id.clone();
        let sandbox_id = event
            .pod_sandbox_status
            .as_ref()
            .map(|s| s.id.clone())
            .unwrap_or_default();
        if let Some(status) = &event.pod_sandbox_status {
            self.observed.upsert_sandbox(status);
        }
        let bare = event.containers_statuses.is_empty() && sandbox_id != id;
        for status in event.containers_statuses {
            self.observed.upsert_run(status, &sandbox_id);
        }
        if deleted {
            self.observed.remove_run(&id);
            self.observed.remove_sandbox(&id);
        } else if bare {
            let agent = self.agent.clone();
            let sandbox = self
                .observed
                .runs
                .iter()
                .find(|run| run.id == id)
                .map(|run| run.sandbox_id.clone())
                .unwrap_or(sandbox_id);
            self.ops.spawn(async move {
                Done::Looked(agent.runtime.container(&id).await.map(|s| (s, sandbox)))
            });
        }
    }

    /// Sets the stop in motion, or shortens it.
    pub(super) fn begin_stop(&mut self, grace: i64) {
        let now = self.agent.now();
        let shorter = match self.stop {
            None => true,
            Some(stop) => {
                let left = stop.grace - now.duration_since(stop.since).as_secs();
                grace < left && grace < stop.grace
            }
        };
        if !shorter {
            return;
        }
        self.stop = Some(Stop { since: now, grace });
        self.stopping.send_replace(true);
        for (_, handle) in self.early.drain() {
            handle.abort();
        }
        // Stops in progress begin again with what is left; their hooks do not.
        for (id, handle) in self.stops.drain() {
            handle.abort();
            self.progress.stopping.remove(&id);
            self.failures.insert(format!("hooked {id}"), 1);
        }
    }

    /// Looks whether the pod has to end: deleted, gone, rejected, past its deadline.
    pub(super) fn mind_the_end(&mut self) {
        if self.relist.gone.load(Ordering::Acquire) {
            self.api_gone = true;
        }
        if self.pod.deletion().is_some() || self.api_gone {
            self.begin_stop(self.pod.grace_period());
            return;
        }
        if self.verdict.is_some() {
            if self.stop.is_none() {
                self.begin_stop(self.pod.grace_period());
            }
            return;
        }
        let over = active_deadline(&self.pod).is_some_and(|at| at <= self.agent.now());
        if over && !self.pod.is_terminal() && self.stop.is_none() {
            let verdict = Verdict {
                reason: "DeadlineExceeded".to_owned(),
                message: "Pod was active on the node longer than the specified deadline".to_owned(),
            };
            self.agent.pod_event(
                &self.pod,
                None,
                EventType::Normal,
                &verdict.reason,
                verdict.message.clone(),
            );
            self.verdict = Some(verdict);
            self.begin_stop(self.pod.grace_period());
        }
    }

    /// Takes in the end of a step.
    pub(super) fn finish(&mut self, done: Done) {
        let now = self.agent.now();
        self.mark(done.name());
        match done {
            Done::Mounted(volumes) => {
                self.early.remove("mount");
                self.volumes = Some(volumes.into());
                self.progress.volumes = Step::Done;
            }
            Done::Sandbox(Ok(status)) => {
                self.failures.remove("sandbox");
                self.progress.sandbox = Step::Done;
                self.observed.upsert_sandbox(&status);
            }
            Done::Sandbox(Err(_)) => {
                self.progress.sandbox = Step::Failed(now + self.wait_after("sandbox", 10));
                self.relist.ask();
            }
            Done::Image(name, Ok(found)) => {
                self.early.remove(&name);
                self.failures.remove(&format!("image {name}"));
                self.noted.remove(&format!("image {name}"));
                self.progress
                    .images
                    .insert(name, Image::Present(found.reference));
            }
            Done::Image(name, Err(error)) => {
                self.early.remove(&name);
                let count = self.failures.entry(format!("image {name}")).or_default();
                let image = self
                    .pod
                    .container(&name)
                    .and_then(|(c, _)| c.image.clone())
                    .unwrap_or_default();
                let state = image::failed(&image, error, *count, now);
                *count += 1;
                self.progress.images.insert(name, state);
            }
            Done::Started(name, result) => self.started(name, result),
            Done::Stopped(id, result) => self.stopped(id, result),
            Done::Resized(id, result) => self.resized(id, result),
            Done::ResizeAgain(id) => {
                self.progress.resizing.remove(&id);
            }
            Done::StopAgain(id) => {
                self.progress.stopping.remove(&id);
                self.progress.stopping_sandboxes.remove(&id);
            }
            Done::SandboxStopped(id, result) => match result {
                Ok(Some(status)) if status.state == v1::PodSandboxState::SandboxNotready as i32 => {
                    self.observed.upsert_sandbox(&status);
                    self.progress.stopping_sandboxes.remove(&id);
                }
                Ok(None) => {
                    self.observed.remove_sandbox(&id);
                    self.progress.stopping_sandboxes.remove(&id);
                }
                _ => self.stop_again(id),
            },
            Done::Removed(id, Ok(())) => {
                self.observed.remove_run(&id);
                self.progress.removing.remove(&id);
            }
            Done::SandboxRemoved(id, Ok(())) => {
                self.observed.remove_sandbox(&id);
                self.progress.removing.remove(&id);
            }
            // Left until the next full look.
            Done::Removed(_, Err(error)) | Done::SandboxRemoved(_, Err(error)) => {
                tracing::info!(pod = %self.pod.full_name(), %error, "a dead container stays behind");
            }
            Done::Observed(Ok(observed)) => self.observe(observed),
            Done::Looked(Ok((status, sandbox))) => self.observed.upsert_run(status, &sandbox),
            Done::Observed(Err(error)) | Done::Looked(Err(error)) => {
                tracing::info!(pod = %self.pod.full_name(), %error, "cannot ask the runtime");
            }
            Done::Reported(status, result) => self.reported(*status, result),
            Done::Released(result) => self.released(result),
            Done::Cleaned(result) => self.cleaned(result),
            Done::Deleted(result) => self.deleted(result),
        }
    }

    fn observe(&mut self, observed: Observed) {
        let busy = !self.progress.starting.is_empty() || !self.progress.stopping.is_empty();
        if busy || self.progress.sandbox == Step::Busy {
            for run in observed.runs {
                self.observed.upsert_run(run.status, &run.sandbox_id);
            }
            return;
        }
        self.progress.removing.clear();
        // Runs that only the API remembers are not the runtime's to forget.
        let remembered: Vec<Run> = self
            .observed
            .runs
            .iter()
            .filter(|run| run.id.is_empty())
            .cloned()
            .collect();
        self.observed.replace(observed);
        self.observed.runs.extend(remembered);
    }

    fn started(&mut self, name: String, result: Result<Started, StartError>) {
        let now = self.agent.now();
        self.progress.starting.remove(&name);
        match result {
            Ok(started) => {
                self.progress.failures.remove(&name);
                if let Some(given) = self.given.remove(&name) {
                    self.progress.applied.insert(started.id.clone(), given);
                }
                self.progress.started.insert(started.id);
            }
            Err(StartError::NotMade(waiting)) => self.start_failed(name, waiting, true),
            Err(StartError::Dead { id, waiting, stop }) => {
                self.start_failed(name.clone(), waiting, !stop);
                if stop {
                    self.execute(crate::pods::plan::Action::Stop {
                        id,
                        container: name,
                        message: "FailedPostStartHook".to_owned(),
                        grace: self
                            .stop
                            .map_or_else(|| self.pod.grace_period(), |s| s.remaining(now)),
                        replace: false,
                    });
                }
            }
        }
    }

    fn resized(&mut self, id: String, result: Result<Box<ResourceRequirements>, RuntimeError>) {
        let step = format!("resize {id}");
        match result {
            Ok(resources) => {
                self.progress.resizing.remove(&id);
                self.failures.remove(&step);
                self.progress.applied.insert(id, *resources);
                self.progress.resize_error = None;
                self.tell_resize(EventType::Normal, "ResizeCompleted", "completed", "");
            }
            Err(error) => {
                let text = error.to_string();
                self.tell_resize(EventType::Warning, "ResizeError", "error", &text);
                self.progress.resize_error = Some(text);
                let wait = self.wait_after(&step, 60).unsigned_abs();
                self.ops.spawn(async move {
                    tokio::time::sleep(wait).await;
                    Done::ResizeAgain(id)
                });
            }
        }
    }

    fn tell_resize(&self, kind: EventType, reason: &str, what: &str, error: &str) {
        let generation = self.pod.granted_generation().or(self.pod.generation());
        let summary = allocation::summary(&self.pod, generation, error);
        let message = format!("Pod resize {what}: {summary}");
        self.agent.pod_event(&self.pod, None, kind, reason, message);
    }

    fn start_failed(&mut self, name: String, waiting: crate::pods::plan::Waiting, pause: bool) {
        let now = self.agent.now();
        let count = self.progress.failures.get(&name).map_or(0, |f| f.count);
        let wait = if pause {
            retry_wait(count, 10)
        } else {
            SignedDuration::ZERO
        };
        self.progress.failures.insert(
            name,
            Failure {
                retry_at: now + wait,
                count: count + 1,
                waiting,
            },
        );
    }

    fn stopped(&mut self, id: String, result: Result<Option<v1::ContainerStatus>, RuntimeError>) {
        self.stops.remove(&id);
        match result {
            Ok(Some(status)) if status.state == v1::ContainerState::ContainerExited as i32 => {
                self.observed.upsert_run(status, "");
                self.progress.stopping.remove(&id);
            }
            Ok(None) => {
                if let Some(run) = self.observed.runs.iter_mut().find(|run| run.id == id) {
                    run.state = State::Exited;
                    run.status.exit_code = 137;
                    run.status.reason = "ContainerStatusUnknown".to_owned();
                }
                self.progress.stopping.remove(&id);
            }
            _ => self.stop_again(id),
        }
    }

    /// The stop did not do; it is tried again after a moment.
    fn stop_again(&mut self, id: String) {
        let wait = self.wait_after(&format!("stop {id}"), 30).unsigned_abs();
        self.ops.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::StopAgain(id)
        });
    }

    pub(super) fn wait_after(&mut self, step: &str, longest: i64) -> SignedDuration {
        let count = self.failures.entry(step.to_owned()).or_default();
        let wait = retry_wait(*count, longest);
        *count += 1;
        wait
    }

    /// Reads the last words of containers that ended.
    fn read_last_words(&mut self) {
        for index in 0..self.observed.runs.len() {
            let run = &self.observed.runs[index];
            if run.state != State::Exited || run.message.is_some() {
                continue;
            }
            let policy = run
                .status
                .annotations
                .get(keys::TERMINATION_POLICY)
                .map(String::as_str);
            let log =
                cri_config::termination_log(&self.agent, &self.pod, &run.name, run.restart_count);
            let fall_back = policy == Some("FallbackToLogsOnError") && run.status.exit_code != 0;
            let output = fall_back.then(|| {
                cri_config::log_dir(&self.agent, &self.pod)
                    .join(&run.name)
                    .join(format!("{}.log", run.restart_count))
            });
            let words = last_words::read(&log, output.as_deref());
            self.observed.runs[index].message = Some(words);
        }
    }
}
