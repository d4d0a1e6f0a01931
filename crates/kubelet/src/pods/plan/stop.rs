//! The end of a pod: containers together, then sidecars last one first, then the sandbox.

use super::{Action, Planner, Step};
use crate::pods::{
    observed::{Run, State},
    view::Kind,
};

impl Planner<'_> {
    pub(super) fn stop_all(&mut self, grace: i64) {
        let super::Facts {
            pod,
            observed,
            progress,
            ..
        } = self.facts;
        let kind = |run: &Run| pod.container(&run.name).map(|(_, kind)| kind);
        let alive: Vec<Run> = observed
            .runs
            .iter()
            .filter(|run| run.state == State::Running)
            .cloned()
            .collect();
        let (sidecars, others): (Vec<_>, Vec<_>) = alive
            .into_iter()
            .partition(|run| kind(run) == Some(Kind::Sidecar));
        let message = |run: &Run| format!("Stopping container {}", run.name);
        if !others.is_empty() {
            for run in &others {
                self.stop_run(run, message(run), grace, false);
            }
            return;
        }
        if !progress.starting.is_empty() {
            return;
        }
        if !sidecars.is_empty() {
            let position = |run: &Run| {
                pod.init_containers()
                    .iter()
                    .position(|c| c.name == run.name)
            };
            if let Some(last) = sidecars.iter().max_by_key(|run| position(run)) {
                self.stop_run(last, message(last), grace, false);
            }
            return;
        }
        if progress.sandbox == Step::Busy {
            return;
        }
        let ready: Vec<_> = observed
            .sandboxes
            .iter()
            .filter(|s| s.ready)
            .map(|s| s.id.clone())
            .collect();
        self.plan.settled = ready.is_empty();
        for id in ready {
            self.stop_sandbox(id);
        }
    }

    pub(super) fn stop_run(&mut self, run: &Run, message: String, grace: i64, replace: bool) {
        if self.facts.progress.stopping.contains(&run.id) {
            return;
        }
        self.act(Action::Stop {
            id: run.id.clone(),
            container: run.name.clone(),
            message,
            grace,
            replace,
        });
    }

    pub(super) fn stop_sandbox(&mut self, id: String) {
        if !self.facts.progress.stopping_sandboxes.contains(&id) {
            self.act(Action::StopSandbox { id });
        }
    }
}
