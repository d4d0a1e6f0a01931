//! Beginning the steps that a plan asks for, and tending the probes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::events::EventType;
use cri::v1;

use super::{Worker, news::Done};
use crate::{
    housekeeping::logs,
    pods::{
        cri_config,
        hooks::{image, resize, sandbox, start, stop, volumes},
        observed::State,
        plan::{Action, Image, Step, Waiting},
        view::{Kind, PodView},
    },
    probes::{self, ProbeKind, Subject},
};

impl Worker {
    /// Begins a step.
    pub(super) fn execute(&mut self, action: Action) {
        let agent = self.agent.clone();
        let pod = self.pod.clone();
        match action {
            Action::Mount => {
                self.progress.volumes = Step::Busy;
                let updates = self.updates.clone();
                let handle = self.ops.spawn(async move {
                    Done::Mounted(volumes::prepare(agent, pod, updates).await)
                });
                self.early.insert("mount".to_owned(), handle);
            }
            Action::CreateSandbox { attempt } => {
                self.progress.sandbox = Step::Busy;
                self.ops.spawn(
                    async move { Done::Sandbox(sandbox::create(agent, pod, attempt).await) },
                );
            }
            Action::EnsureImage { container: name } => {
                self.progress.images.insert(name.clone(), Image::Busy);
                let Some(container) = self.pod.container(&name).map(|(c, _)| c.clone()) else {
                    return;
                };
                let key = name.clone();
                let handle = self.ops.spawn(async move {
                    Done::Image(name, image::ensure(agent, pod, container).await)
                });
                self.early.insert(key, handle);
            }
            Action::Start {
                container,
                restart_count,
                sandbox,
                image,
            } => self.start(container, restart_count, sandbox, image),
            Action::Stop {
                id,
                container,
                message,
                grace,
                replace,
            } => {
                if replace {
                    self.progress.replacing.insert(container.clone());
                    self.progress.backoff.remove(&container);
                }
                self.progress.stopping.insert(id.clone());
                let order = stop::Order {
                    pod,
                    id: id.clone(),
                    container,
                    message,
                    grace,
                    pod_ip: self.pod_ips().into_iter().next().unwrap_or_default(),
                    again: self.failures.contains_key(&format!("hooked {id}")),
                };
                let key = id.clone();
                let handle = self
                    .ops
                    .spawn(async move { Done::Stopped(id, stop::run(agent, order).await) });
                self.stops.insert(key, handle);
            }
            Action::Resize { id, container } => self.resize(id, &container),
            Action::StopSandbox { id } => {
                self.progress.stopping_sandboxes.insert(id.clone());
                self.ops.spawn(async move {
                    let result = stop::sandbox(agent, &id).await;
                    Done::SandboxStopped(id, result)
                });
            }
            Action::Remove { id } => {
                self.progress.removing.insert(id.clone());
                let log = self
                    .observed
                    .runs
                    .iter()
                    .find(|run| run.id == id)
                    .map(|run| {
                        cri_config::log_dir(&agent, &pod)
                            .join(&run.name)
                            .join(format!("{}.log", run.restart_count))
                    });
                self.ops.spawn(async move {
                    let request = v1::RemoveContainerRequest {
                        container_id: id.clone(),
                    };
                    let result = match agent.runtime.remove_container(request).await {
                        Err(error) if !error.is_not_found() => Err(error),
                        _ => Ok(()),
                    };
                    if let (Ok(()), Some(log)) = (&result, log) {
                        logs::remove(&log).await;
                    }
                    Done::Removed(id, result)
                });
            }
            Action::RemoveSandbox { id } => {
                self.progress.removing.insert(id.clone());
                self.ops.spawn(async move {
                    let request = v1::RemovePodSandboxRequest {
                        pod_sandbox_id: id.clone(),
                    };
                    let result = match agent.runtime.remove_pod_sandbox(request).await {
                        Err(error) if !error.is_not_found() => Err(error),
                        _ => Ok(()),
                    };
                    Done::SandboxRemoved(id, result)
                });
            }
        }
    }

    fn resize(&mut self, id: String, name: &str) {
        let Some(container) = self.pod.container(name).map(|(c, _)| c.clone()) else {
            return;
        };
        self.progress.resizing.insert(id.clone());
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        self.ops.spawn(async move {
            let result = resize::run(agent, pod, &container, &id).await;
            let resources = container.resources.unwrap_or_default();
            Done::Resized(id, result.map(|()| Box::new(resources)))
        });
    }

    fn start(&mut self, name: String, restart_count: u32, sandbox: String, image: String) {
        let now = self.agent.now();
        if let Some(run) = self.observed.current(&name)
            && run.state == State::Exited
            && !self.progress.replacing.contains(&name)
        {
            let finished = run.finished();
            self.progress
                .backoff
                .entry(name.clone())
                .or_default()
                .advance(finished, now);
        }
        self.progress.replacing.remove(&name);
        self.progress.starting.insert(name.clone());
        let given = self
            .pod
            .container(&name)
            .and_then(|(c, _)| c.resources.clone())
            .unwrap_or_default();
        self.given.insert(name.clone(), given);
        // The next run looks for its image anew.
        self.progress.images.remove(&name);
        let target = self.pod.ephemeral_target(&name).and_then(|target| {
            self.observed
                .current(target)
                .filter(|run| run.state == State::Running)
                .map(|run| run.id.clone())
        });
        let order = start::Order {
            pod: self.pod.clone(),
            container: name.clone(),
            restart_count,
            sandbox_attempt: self.observed.sandbox().map_or(0, |s| s.attempt),
            sandbox,
            pod_ips: self.pod_ips(),
            image,
            volumes: self.volumes.clone().unwrap_or_default(),
            target,
        };
        let agent: Arc<_> = self.agent.clone();
        let (sender, stopping) = (self.sender.clone(), self.stopping.subscribe());
        self.ops.spawn(async move {
            let result = start::run(agent, order, sender, stopping).await;
            Done::Started(name, result)
        });
    }

    /// The pod's addresses; those of the node for pods on its network.
    pub(super) fn pod_ips(&self) -> Vec<String> {
        if self.pod.host_network() {
            return self
                .agent
                .host_ips
                .read()
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        self.observed
            .sandbox()
            .map(|s| s.ips.clone())
            .unwrap_or_default()
    }

    /// Starts the probes that should run and ends the others.
    pub(super) fn tend_probes(&mut self) {
        let ending = self.stop.is_some();
        let mut wanted: Vec<(String, String, ProbeKind)> = Vec::new();
        for run in self.observed.running() {
            let Some((container, kind)) = self.pod.container(&run.name) else {
                continue;
            };
            if !matches!(kind, Kind::Main | Kind::Sidecar)
                || !self.progress.started.contains(&run.id)
            {
                continue;
            }
            let results = self
                .progress
                .probes
                .get(&run.id)
                .copied()
                .unwrap_or_default();
            let up = container.startup_probe.is_none() || results.startup == Some(true);
            let stopping = self.progress.stopping.contains(&run.id);
            if !up && !ending && !stopping {
                wanted.push((run.id.clone(), run.name.clone(), ProbeKind::Startup));
            }
            if up && !ending && !stopping {
                wanted.push((run.id.clone(), run.name.clone(), ProbeKind::Liveness));
            }
            if up {
                wanted.push((run.id.clone(), run.name.clone(), ProbeKind::Readiness));
            }
        }
        self.probes
            .retain(|(id, kind), _| wanted.iter().any(|(i, _, k)| i == id && k == kind));
        let pod_ip = self.pod_ips().into_iter().next().unwrap_or_default();
        for (id, name, kind) in wanted {
            if self.probes.contains_key(&(id.clone(), kind)) {
                continue;
            }
            let Some((container, _)) = self.pod.container(&name) else {
                continue;
            };
            let started = self
                .observed
                .current(&name)
                .map_or_else(|| self.agent.now(), |run| run.started());
            let subject = Subject {
                pod: self.pod.clone(),
                container: container.clone(),
                id: id.clone(),
                pod_ip: pod_ip.clone(),
                age: Duration::try_from(self.agent.now().duration_since(started))
                    .unwrap_or_default(),
            };
            if let Some(probe) =
                probes::start(self.agent.clone(), kind, subject, self.sender.clone())
            {
                self.probes.insert((id, kind), probe);
            }
        }
    }

    /// Tells once of every back-off that began.
    pub(super) fn note_backoffs(&mut self, waiting: &BTreeMap<String, Waiting>) {
        for (name, why) in waiting {
            let (key, mark, text): (_, _, String) = match why.reason.as_str() {
                "CrashLoopBackOff" => (
                    format!("crash {name}"),
                    self.observed
                        .current(name)
                        .map(|run| run.id.clone())
                        .unwrap_or_default(),
                    format!(
                        "Back-off restarting failed container {name} in pod {}",
                        self.pod.full_name()
                    ),
                ),
                "ImagePullBackOff" => (
                    format!("image {name}"),
                    self.failures
                        .get(&format!("image {name}"))
                        .copied()
                        .unwrap_or_default()
                        .to_string(),
                    format!("Back-off pulling image {:?}", image_of(&self.pod, name)),
                ),
                _ => continue,
            };
            if self.noted.get(&key) == Some(&mark) {
                continue;
            }
            self.noted.insert(key, mark);
            let pull = why.reason == "ImagePullBackOff";
            let kind = if pull {
                EventType::Normal
            } else {
                EventType::Warning
            };
            self.agent
                .pod_event(&self.pod, Some(name), kind, "BackOff", text);
            if pull {
                self.agent.pod_event(
                    &self.pod,
                    Some(name),
                    EventType::Warning,
                    "Failed",
                    "Error: ImagePullBackOff",
                );
            }
        }
    }
}

fn image_of(pod: &PodView, name: &str) -> String {
    pod.container(name)
        .and_then(|(c, _)| c.image.clone())
        .unwrap_or_default()
}
