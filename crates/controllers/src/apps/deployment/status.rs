//! The status of a Deployment: counts over its ReplicaSets, and the conditions that
//! `kubectl rollout status` and people read.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rollout::{is_paused, max_unavailable, wanted};
use crate::kit::until;

/// What came of the plan, as far as conditions tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No ReplicaSet had to be created.
    Nothing,
    /// The new ReplicaSet was.
    Created { name: String },
    /// It could not be.
    Failed { name: String, message: String },
    /// It could not be, for the namespace is on its way out.
    NamespaceGoing,
    /// Its name is taken by one of another template.
    Collision,
}

/// The status to write, and when to look again if nothing changes.
#[derive(Debug)]
pub(super) struct Next {
    pub status: DeploymentStatus,
    pub again: Option<Duration>,
}

const CREATED: &str = "NewReplicaSetCreated";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// Has the rollout come to its end?
pub(super) fn is_complete(deployment: &Deployment, status: Option<&DeploymentStatus>) -> bool {
    let wanted = Some(wanted(deployment)).filter(|wanted| *wanted != 0);
    status.is_some_and(|status| {
        let count = |count: Option<i32>| count.filter(|count| *count != 0);
        count(status.updated_replicas) == wanted
            && count(status.replicas) == wanted
            && count(status.available_replicas) == wanted
            && status.observed_generation >= deployment.metadata.generation
    })
}

fn counts(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let statuses: Vec<_> = sets
        .iter()
        .map(|set| set.status.clone().unwrap_or_default())
        .collect();
    let available: i32 = statuses
        .iter()
        .filter_map(|status| status.available_replicas)
        .sum();
    let specified: i32 = sets
        .iter()
        .map(|set| {
            set.spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or_default()
        })
        .sum();
    let ready: i32 = statuses
        .iter()
        .filter_map(|status| status.ready_replicas)
        .sum();
    let updated = new
        .and_then(|set| set.status.as_ref())
        .map_or(0, |status| status.replicas);
    // Unknown as soon as one that was looked at does not say.
    let terminating = statuses
        .iter()
        .filter(|status| {
            status.observed_generation.unwrap_or_default() != 0
                || status.terminating_replicas.is_some()
        })
        .map(|status| status.terminating_replicas)
        .sum();
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(statuses.iter().map(|status| status.replicas).sum()),
        updated_replicas: nonzero(updated),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((specified - available).max(0)),
        terminating_replicas: terminating,
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

/// Computes the next status.
pub(super) fn next(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    outcome: &Outcome,
    now: &Time,
) -> Next {
    let mut status = counts(deployment, sets, new);
    let mut conditions = Conditions {
        all: status.conditions.take().unwrap_or_default(),
        now: now.clone(),
    };
    if *outcome == Outcome::Collision {
        status.collision_count = Some(status.collision_count.unwrap_or_default().saturating_add(1));
    }
    let available = status.available_replicas.unwrap_or_default();
    if available >= wanted(deployment) - max_unavailable(deployment) {
        conditions.set(
            "Available",
            true,
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
    } else {
        conditions.set(
            "Available",
            false,
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        );
    }
    let deadline = deadline(deployment);
    if deadline.is_some() {
        paused(deployment, &mut conditions);
        if deployment.metadata.deletion_timestamp.is_none() {
            progress(deployment, &status, new, outcome, &mut conditions);
        }
    } else {
        conditions.remove("Progressing");
    }
    failures(sets, new, &mut conditions);
    let again = deadline.and_then(|deadline| {
        let condition = conditions.get("Progressing")?;
        let over = [Some(TIMED_OUT), Some(AVAILABLE)].contains(&condition.reason.as_deref());
        if over || is_paused(deployment) {
            return None;
        }
        let since = condition.last_update_time.as_ref()?.0;
        // A second later, so that rounding does not bring it here too early.
        let at = since
            .checked_add(SignedDuration::from_secs(deadline + 1))
            .ok()?;
        Some(until(at, now.0))
    });
    status.conditions = Some(conditions.all).filter(|all| !all.is_empty());
    Next { status, again }
}

fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.progress_deadline_seconds)
        .unwrap_or(600);
    (seconds != i32::MAX).then_some(i64::from(seconds))
}

fn paused(deployment: &Deployment, conditions: &mut Conditions) {
    let reason = conditions
        .get("Progressing")
        .and_then(|condition| condition.reason.clone());
    match reason.as_deref() {
        Some(TIMED_OUT) => {}
        Some("DeploymentPaused") if !is_paused(deployment) => {
            conditions.set_status(
                "Progressing",
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed",
            );
        }
        Some("DeploymentPaused") => {}
        _ if is_paused(deployment) => {
            conditions.set_status(
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
            );
        }
        _ => {}
    }
}

fn progress(
    deployment: &Deployment,
    status: &DeploymentStatus,
    new: Option<&ReplicaSet>,
    outcome: &Outcome,
    conditions: &mut Conditions,
) {
    match outcome {
        Outcome::Created { name } => {
            return conditions.set(
                "Progressing",
                true,
                CREATED,
                &format!("Created new replica set {name:?}"),
            );
        }
        Outcome::Failed { name, message } => {
            let text = format!("Failed to create new replica set {name:?}: {message}");
            return conditions.set("Progressing", false, "ReplicaSetCreateError", &text);
        }
        Outcome::Nothing | Outcome::NamespaceGoing | Outcome::Collision => {}
    }
    let name = |meta: &Option<String>| meta.clone().unwrap_or_default();
    let subject = match new {
        Some(set) => format!("ReplicaSet {:?}", name(&set.metadata.name)),
        None => format!("Deployment {:?}", name(&deployment.metadata.name)),
    };
    let Some(current) = conditions.get("Progressing").cloned() else {
        if let Some(set) = new {
            let text = format!("Found new replica set {:?}", name(&set.metadata.name));
            conditions.set("Progressing", true, "FoundNewReplicaSet", &text);
        }
        return;
    };
    if is_paused(deployment) {
        return;
    }
    let old = deployment.status.clone().unwrap_or_default();
    let settled =
        status.replicas == status.updated_replicas && current.reason.as_deref() == Some(AVAILABLE);
    let number = |count: Option<i32>| count.unwrap_or_default();
    let outdated =
        |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    if settled {
        return;
    }
    if is_complete(deployment, Some(status)) {
        conditions.set(
            "Progressing",
            true,
            AVAILABLE,
            &format!("{subject} has successfully progressed."),
        );
    } else if number(status.updated_replicas) > number(old.updated_replicas)
        || outdated(status) < outdated(&old)
        || number(status.ready_replicas) > number(old.ready_replicas)
        || number(status.available_replicas) > number(old.available_replicas)
    {
        // Also when the reason stays: the time of the last progress is what the deadline counts from.
        let transition = current
            .last_transition_time
            .filter(|_| current.status == "True");
        conditions.remove("Progressing");
        conditions.set(
            "Progressing",
            true,
            "ReplicaSetUpdated",
            &format!("{subject} is progressing."),
        );
        if let (Some(time), Some(condition)) = (transition, conditions.all.last_mut()) {
            condition.last_transition_time = Some(time);
        }
    } else if timed_out(deployment, &current, &conditions.now) {
        conditions.set(
            "Progressing",
            false,
            TIMED_OUT,
            &format!("{subject} has timed out progressing."),
        );
    }
}

fn timed_out(deployment: &Deployment, progressing: &DeploymentCondition, now: &Time) -> bool {
    let reason = progressing.reason.as_deref();
    if reason == Some(AVAILABLE) {
        return false;
    }
    let since = progressing.last_update_time.as_ref();
    let over = || {
        let at = since?
            .0
            .checked_add(SignedDuration::from_secs(deadline(deployment)?))
            .ok()?;
        Some(at < now.0)
    };
    reason == Some(TIMED_OUT) || over().unwrap_or_default()
}

/// A ReplicaSet that cannot make its pods says so here too; the new one's word counts most.
fn failures(sets: &[Arc<ReplicaSet>], new: Option<&ReplicaSet>, conditions: &mut Conditions) {
    let failure = new
        .into_iter()
        .chain(sets.iter().map(|set| &**set))
        .find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|condition| condition.type_ == "ReplicaFailure")
        });
    match failure {
        Some(failure) => conditions.set_status(
            "ReplicaFailure",
            &failure.status,
            failure.reason.as_deref().unwrap_or_default(),
            failure.message.as_deref().unwrap_or_default(),
        ),
        None => conditions.remove("ReplicaFailure"),
    }
}

struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Time,
}

impl Conditions {
    fn get(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|condition| condition.type_ == type_)
    }

    fn remove(&mut self, type_: &str) {
        self.all.retain(|condition| condition.type_ != type_);
    }

    fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        self.set_status(
            type_,
            if status { "True" } else { "False" },
            reason,
            message,
        );
    }

    /// Nothing changes, not even the message, while status and reason stay.
    fn set_status(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let mut transition = self.now.clone();
        if let Some(current) = self.get(type_)
            && current.status == status
        {
            if current.reason.as_deref() == Some(reason) {
                return;
            }
            transition = current.last_transition_time.clone().unwrap_or(transition);
        }
        self.remove(type_);
        self.all.push(DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(self.now.clone()),
            last_transition_time: Some(transition),
        });
    }
}
