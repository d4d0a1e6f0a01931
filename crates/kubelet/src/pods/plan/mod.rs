//! What a pod needs next. Pure: the spec, what the runtime has, and how far the worker's own
//! steps have come go in; actions come out. The worker executes them and asks again after every
//! change, so a plan never waits for anything.
//!
//! Order of a pod's life: volumes, sandbox and image checks at the same time; init containers
//! one after the other, sidecars staying; containers; and backwards at the end.

mod containers;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ResourceRequirements;

use super::{
    backoff::Backoff,
    observed::{Observed, State},
    view::{Kind, PodView, restartable},
};

/// How far a step of the worker has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Not begun.
    #[default]
    Pending,
    /// Being done.
    Busy,
    /// Done.
    Done,
    /// Failed; to be tried again at the given time.
    Failed(Timestamp),
}

impl Step {
    /// Whether it should be begun now; otherwise when to ask again.
    fn due(self, now: Timestamp) -> Result<(), Option<Timestamp>> {
        match self {
            Self::Pending => Ok(()),
            Self::Failed(at) if at <= now => Ok(()),
            Self::Failed(at) => Err(Some(at)),
            Self::Busy | Self::Done => Err(None),
        }
    }
}

/// Why a container does not run, as its status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// CamelCase reason.
    pub reason: String,
    /// Sentence.
    pub message: String,
}

/// Where a container's image stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Being looked for or pulled.
    Busy,
    /// Present under this reference.
    Present(String),
    /// Not to be had before the given time.
    Failed {
        /// When to try again.
        retry_at: Timestamp,
        /// When the status turns from the error to the back-off.
        back_off_at: Timestamp,
        /// The error as the status says it.
        error: Waiting,
        /// The back-off as the status says it.
        back_off: Waiting,
    },
}

/// A container that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When to try again.
    pub retry_at: Timestamp,
    /// How often it failed in a row.
    pub count: u32,
    /// What the status says.
    pub waiting: Waiting,
}

/// What the probes of one run have found; none before the first result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults {
    /// Startup probe.
    pub startup: Option<bool>,
    /// Liveness probe.
    pub liveness: Option<bool>,
    /// Readiness probe.
    pub readiness: Option<bool>,
}

/// How far the worker's own steps have come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Volumes and pod directories.
    pub volumes: Step,
    /// The sandbox being made.
    pub sandbox: Step,
    /// Images by container name; absent means not asked for.
    pub images: BTreeMap<String, Image>,
    /// Containers being made or started.
    pub starting: BTreeSet<String>,
    /// Container ids being stopped.
    pub stopping: BTreeSet<String>,
    /// Sandbox ids being stopped.
    pub stopping_sandboxes: BTreeSet<String>,
    /// Container and sandbox ids being removed.
    pub removing: BTreeSet<String>,
    /// Container ids whose postStart hook is done.
    pub started: BTreeSet<String>,
    /// Probe results by container id.
    pub probes: BTreeMap<String, ProbeResults>,
    /// Waits by container name.
    pub backoff: BTreeMap<String, Backoff>,
    /// Containers that could not be made, by name.
    pub failures: BTreeMap<String, Failure>,
    /// What running containers were given, by container id; absent where nobody remembers.
    pub applied: BTreeMap<String, ResourceRequirements>,
    /// Container ids whose limits are being changed.
    pub resizing: BTreeSet<String>,
    /// Why the last change of limits failed, while that lasts.
    pub resize_error: Option<String>,
    /// Containers stopped because their definition changed, by name.
    pub replacing: BTreeSet<String>,
}

/// The pod is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Since when.
    pub since: Timestamp,
    /// Seconds its containers get.
    pub grace: i64,
}

impl Stop {
    /// Seconds left at `now`; upstream's floor of two keeps later containers from being killed
    /// outright.
    pub fn remaining(&self, now: Timestamp) -> i64 {
        let used = now.duration_since(self.since).as_secs().max(0);
        (self.grace - used).max(self.grace.min(2))
    }
}

/// Everything a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// How far the worker has come.
    pub progress: &'a Progress,
    /// Set once the pod is to end.
    pub stop: Option<Stop>,
    /// The time.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set up directories, cgroup and volumes.
    Mount,
    /// Make a sandbox.
    CreateSandbox {
        /// How many came before.
        attempt: u32,
    },
    /// Look for a container's image, and pull it if need be.
    EnsureImage {
        /// The container.
        container: String,
    },
    /// Make and start a container.
    Start {
        /// The container.
        container: String,
        /// Restarts before this run.
        restart_count: u32,
        /// The sandbox to put it in.
        sandbox: String,
        /// The image's reference.
        image: String,
    },
    /// Stop a container.
    Stop {
        /// Its id.
        id: String,
        /// Its name.
        container: String,
        /// What the Killing event says.
        message: String,
        /// Seconds it gets.
        grace: i64,
        /// Its definition changed: it starts anew whatever the restart policy.
        replace: bool,
    },
    /// Change a running container's limits.
    Resize {
        /// Its id.
        id: String,
        /// Its name.
        container: String,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// Its id.
        id: String,
    },
    /// Remove a dead container.
    Remove {
        /// Its id.
        id: String,
    },
    /// Remove a dead sandbox.
    RemoveSandbox {
        /// Its id.
        id: String,
    },
}

/// What comes out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do now; all at the same time.
    pub actions: Vec<Action>,
    /// When to plan again though nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Why containers wait, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// No container will ever run again.
    pub finished: bool,
    /// Nothing of the pod runs any more.
    pub settled: bool,
}

/// Makes the plan.
pub fn plan(facts: Facts<'_>) -> Plan {
    let mut planner = Planner {
        facts,
        plan: Plan::default(),
    };
    planner.collect_dead();
    match facts.stop {
        Some(stop) => planner.stop_all(stop.remaining(facts.now)),
        None if facts.pod.is_terminal() || planner.is_finished() => {
            planner.plan.finished = true;
            planner.stop_all(facts.pod.grace_period());
        }
        None => planner.run(),
    }
    planner.plan
}

struct Planner<'a> {
    facts: Facts<'a>,
    plan: Plan,
}

impl Planner<'_> {
    fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    fn wake(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |old| old.min(at)));
    }

    /// Whether no container will run again.
    fn is_finished(&self) -> bool {
        let Facts {
            pod,
            observed,
            progress,
            ..
        } = self.facts;
        let over = |name: &str| progress.starting.contains(name);
        let mut containers = pod.containers().iter();
        let all_done = !pod.containers().is_empty()
            && containers.all(|c| {
                !over(&c.name)
                    && !progress.replacing.contains(&c.name)
                    && observed.current(&c.name).is_some_and(|run| {
                        run.state == State::Exited
                            && !restartable(c, pod.spec(), run.status.exit_code)
                    })
            });
        if all_done {
            return true;
        }
        let begun = pod
            .containers()
            .iter()
            .any(|c| observed.current(&c.name).is_some());
        !begun
            && pod.all().any(|(c, kind)| {
                kind == Kind::Init
                    && !over(&c.name)
                    && observed.current(&c.name).is_some_and(|run| {
                        run.state == State::Exited
                            && run.status.exit_code != 0
                            && !init_restartable(c, pod, run.status.exit_code)
                    })
            })
    }

    fn run(&mut self) {
        let Facts {
            pod,
            observed,
            progress,
            now,
            ..
        } = self.facts;
        match progress.volumes.due(now) {
            Ok(()) => self.act(Action::Mount),
            Err(Some(at)) => self.wake(at),
            Err(None) => {}
        }
        if let Some(deadline) = active_deadline(pod) {
            self.wake(deadline);
        }
        if let Some(sandbox) = observed.usable_sandbox() {
            self.containers(Some(&sandbox.id));
            return;
        }
        // What ran in the lost sandbox ends first, so that names, ports and volumes are free.
        let orphans: Vec<_> = observed.running().cloned().collect();
        if !orphans.is_empty() {
            for run in orphans {
                self.stop_run(
                    &run,
                    "Pod sandbox changed, it will be killed and re-created.".to_owned(),
                    pod.grace_period(),
                    false,
                );
            }
            return;
        }
        let stale: Vec<_> = observed
            .sandboxes
            .iter()
            .filter(|s| s.ready && progress.sandbox != Step::Busy)
            .map(|s| s.id.clone())
            .collect();
        if !stale.is_empty() {
            for id in stale {
                self.stop_sandbox(id);
            }
            return;
        }
        match progress.sandbox.due(now) {
            Ok(()) => {
                let attempt = observed.sandbox().map_or(0, |s| s.attempt + 1);
                self.act(Action::CreateSandbox { attempt });
            }
            // A sandbox that was made and is gone again.
            Err(None) if progress.sandbox == Step::Done => {
                let attempt = observed.sandbox().map_or(0, |s| s.attempt + 1);
                self.act(Action::CreateSandbox { attempt });
            }
            Err(Some(at)) => self.wake(at),
            Err(None) => {}
        }
        self.containers(None);
    }

    /// Removes what no one needs: all but the two newest runs of a container (the newer of them
    /// for its status, the older for its logs), and empty old sandboxes.
    fn collect_dead(&mut self) {
        let Facts {
            pod,
            observed,
            progress,
            ..
        } = self.facts;
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for run in &observed.runs {
            let count = seen.entry(&run.name).or_default();
            *count += 1;
            let known = pod.container(&run.name).is_some();
            let dead = run.state != State::Running
                && !run.id.is_empty()
                && !progress.starting.contains(&run.name);
            if dead && (*count > 2 || !known) && !progress.removing.contains(&run.id) {
                self.plan
                    .actions
                    .push(Action::Remove { id: run.id.clone() });
            }
        }
        for sandbox in observed.sandboxes.iter().skip(1) {
            let empty = observed.runs.iter().all(|run| run.sandbox_id != sandbox.id);
            if !sandbox.ready && empty && !progress.removing.contains(&sandbox.id) {
                self.plan.actions.push(Action::RemoveSandbox {
                    id: sandbox.id.clone(),
                });
            }
        }
    }
}

/// Init containers run again after a failure under every policy but Never.
fn init_restartable(
    container: &k8s_openapi::api::core::v1::Container,
    pod: &PodView,
    exit_code: i32,
) -> bool {
    exit_code != 0 && restartable(container, pod.spec(), exit_code)
}

/// When the pod has run long enough.
pub fn active_deadline(pod: &PodView) -> Option<Timestamp> {
    let seconds = pod.spec().active_deadline_seconds?;
    let start = pod.status().start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}
