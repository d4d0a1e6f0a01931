//! Which containers start, which are restarted, which are stopped, while the pod lives.

use k8s_openapi::api::core::v1::{Container, Probe, ResourceRequirements};

use super::{Action, Facts, Image, Planner, Step, Waiting};
use crate::pods::{
    allocation,
    backoff::{Backoff, seconds_text},
    observed::{Run, State},
    view::{Kind, container_hash, restartable},
};

impl Planner<'_> {
    /// Plans the containers; without a sandbox only what may happen before there is one.
    pub(super) fn containers(&mut self, sandbox: Option<&str>) {
        let Facts { pod, observed, .. } = self.facts;
        let ephemeral: Vec<_> = pod
            .ephemeral_containers()
            .iter()
            .filter(|c| observed.current(&c.name).is_none())
            .collect();
        for container in ephemeral {
            self.start(container, sandbox);
        }
        if !self.initialize(sandbox) {
            return;
        }
        for container in pod.containers() {
            self.main(container, sandbox);
        }
    }

    /// Plans the init containers; whether the containers proper may start.
    fn initialize(&mut self, sandbox: Option<&str>) -> bool {
        let Facts { pod, observed, .. } = self.facts;
        let here = |run: &&Run| sandbox.is_some_and(|id| run.sandbox_id == id);
        let initialized = pod
            .containers()
            .iter()
            .any(|c| observed.current(&c.name).filter(here).is_some());
        for (container, kind) in pod.all() {
            let run = observed.current(&container.name).filter(here);
            match kind {
                Kind::Main | Kind::Ephemeral => break,
                Kind::Init if initialized => {}
                Kind::Sidecar => {
                    let up = self.sidecar(container, run, sandbox);
                    if !up && !initialized {
                        return false;
                    }
                }
                Kind::Init => match run {
                    Some(run) if run.state == State::Running => {
                        self.keep(container, run);
                        return false;
                    }
                    Some(run) if run.succeeded() => {}
                    Some(run)
                        if run.state == State::Exited
                            && !super::init_restartable(container, pod, run.status.exit_code) =>
                    {
                        return false;
                    }
                    _ => {
                        self.start(container, sandbox);
                        return false;
                    }
                },
            }
        }
        true
    }

    /// Whether the sidecar is up, so that what follows it may start.
    fn sidecar(&mut self, container: &Container, run: Option<&Run>, sandbox: Option<&str>) -> bool {
        match run {
            Some(run) if run.state == State::Running => {
                self.keep(container, run) && self.is_started(container, run)
            }
            _ => {
                self.start(container, sandbox);
                false
            }
        }
    }

    fn main(&mut self, container: &Container, sandbox: Option<&str>) {
        let Facts {
            pod,
            observed,
            progress,
            ..
        } = self.facts;
        match observed.current(&container.name) {
            Some(run) if run.state == State::Running => {
                self.keep(container, run);
            }
            Some(run)
                if run.state == State::Exited
                    && !progress.replacing.contains(&container.name)
                    && !restartable(container, pod.spec(), run.status.exit_code) => {}
            _ => self.start(container, sandbox),
        }
    }

    /// Stops a running container whose definition changed or whose probes failed; whether it
    /// stays.
    fn keep(&mut self, container: &Container, run: &Run) -> bool {
        let Facts { pod, progress, .. } = self.facts;
        let probes = progress.probes.get(&run.id).copied().unwrap_or_default();
        let grace = |probe: Option<&Probe>| {
            probe
                .and_then(|p| p.termination_grace_period_seconds)
                .unwrap_or_else(|| pod.grace_period())
        };
        let (what, grace, replace) =
            if !run.hash.is_empty() && run.hash != container_hash(container) {
                ("definition changed", pod.grace_period(), true)
            } else if probes.liveness == Some(false) {
                (
                    "failed liveness probe",
                    grace(container.liveness_probe.as_ref()),
                    false,
                )
            } else if probes.startup == Some(false) {
                (
                    "failed startup probe",
                    grace(container.startup_probe.as_ref()),
                    false,
                )
            } else if let Some(in_place) = resize(container, progress.applied.get(&run.id)) {
                if in_place {
                    if !progress.resizing.contains(&run.id) {
                        self.act(Action::Resize {
                            id: run.id.clone(),
                            container: container.name.clone(),
                        });
                    }
                    return true;
                }
                ("resize requires restart", pod.grace_period(), true)
            } else {
                return true;
            };
        let again = replace || restartable(container, pod.spec(), 1);
        let tail = if again { ", will be restarted" } else { "" };
        self.stop_run(
            run,
            format!("Container {} {what}{tail}", container.name),
            grace,
            replace,
        );
        false
    }

    fn is_started(&self, container: &Container, run: &Run) -> bool {
        let progress = self.facts.progress;
        progress.started.contains(&run.id)
            && (container.startup_probe.is_none()
                || progress
                    .probes
                    .get(&run.id)
                    .is_some_and(|p| p.startup == Some(true)))
    }

    /// Brings a container one step nearer to running.
    fn start(&mut self, container: &Container, sandbox: Option<&str>) {
        let Facts {
            pod,
            observed,
            progress,
            now,
            ..
        } = self.facts;
        let name = &container.name;
        if progress.starting.contains(name) {
            return;
        }
        let run = observed.current(name);
        if let Some(run) = run.filter(|run| run.state == State::Exited) {
            let backoff = progress.backoff.get(name).copied().unwrap_or_default();
            if let Some(at) = backoff.ready_at(run.finished(), now) {
                self.plan.waiting.insert(
                    name.clone(),
                    Waiting {
                        reason: "CrashLoopBackOff".to_owned(),
                        message: crash_loop_message(&backoff, name, &pod.full_name()),
                    },
                );
                self.wake(at);
                return;
            }
        }
        if let Some(failure) = progress.failures.get(name) {
            self.plan
                .waiting
                .insert(name.clone(), failure.waiting.clone());
            if failure.retry_at > now {
                self.wake(failure.retry_at);
                return;
            }
        }
        let image = match progress.images.get(name) {
            None => {
                self.act(Action::EnsureImage {
                    container: name.clone(),
                });
                return;
            }
            Some(Image::Busy) => return,
            Some(Image::Failed {
                retry_at,
                back_off_at,
                error,
                back_off,
            }) => {
                let waiting = if *back_off_at <= now { back_off } else { error };
                self.plan.waiting.insert(name.clone(), waiting.clone());
                if *retry_at <= now {
                    self.act(Action::EnsureImage {
                        container: name.clone(),
                    });
                } else {
                    self.wake(if *back_off_at > now {
                        *back_off_at
                    } else {
                        *retry_at
                    });
                }
                return;
            }
            Some(Image::Present(image)) => image.clone(),
        };
        let Some(sandbox) = sandbox else { return };
        if progress.volumes != Step::Done {
            return;
        }
        let restart_count = run.map_or(0, |run| run.restart_count + 1);
        self.act(Action::Start {
            container: name.clone(),
            restart_count,
            sandbox: sandbox.to_owned(),
            image,
        });
    }
}

fn crash_loop_message(backoff: &Backoff, container: &str, pod: &str) -> String {
    format!(
        "back-off {} restarting failed container={container} pod={pod}",
        seconds_text(backoff.delay().unwrap_or_default())
    )
}

/// Whether a running container's resources changed, and if so whether it can go on running.
fn resize(container: &Container, applied: Option<&ResourceRequirements>) -> Option<bool> {
    let changed = allocation::changed(Some(applied?), container);
    if changed.is_empty() {
        return None;
    }
    let restart = container.resize_policy.iter().flatten().any(|policy| {
        changed.contains(&policy.resource_name.as_str())
            && policy.restart_policy == "RestartContainer"
    });
    Some(!restart)
}
