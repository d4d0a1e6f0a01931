//! Startup, liveness and readiness probes: one task per probe of a running container, reporting
//! to the pod's worker only when the result changes.

pub mod check;
mod grpc;
pub mod http;
mod schedule;
pub mod target;

use std::{sync::Arc, time::Duration};

use client::events::EventType;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::{
    agent::Agent,
    pods::{view::PodView, worker::Message},
};

use check::Outcome;
use schedule::{Schedule, Verdict};

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether it has come up; the others wait for it.
    Startup,
    /// Whether it is to be restarted.
    Liveness,
    /// Whether it takes traffic.
    Readiness,
}

impl ProbeKind {
    /// As events begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The probe of a container.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What a probe found, when it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The container's id.
    pub id: String,
    /// Which probe.
    pub kind: ProbeKind,
    /// Whether it is well.
    pub success: bool,
}

/// A running probe; ends when dropped.
#[derive(Debug)]
pub struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a probe looks at.
pub struct Subject {
    /// The pod.
    pub pod: PodView,
    /// The container.
    pub container: Container,
    /// Its id.
    pub id: String,
    /// The pod's address.
    pub pod_ip: String,
    /// How long the container has run already (an adopted one has).
    pub age: Duration,
}

/// Starts a probe.
pub fn start(
    agent: Arc<Agent>,
    kind: ProbeKind,
    subject: Subject,
    mailbox: mpsc::Sender<Message>,
) -> Option<Running> {
    let probe = kind.of(&subject.container)?.clone();
    let task = tokio::spawn(run(agent, kind, probe, subject, mailbox));
    Some(Running(task.abort_handle()))
}

async fn run(
    agent: Arc<Agent>,
    kind: ProbeKind,
    probe: Probe,
    subject: Subject,
    mailbox: mpsc::Sender<Message>,
) {
    let mut schedule = Schedule::new(kind, &probe);
    tokio::time::sleep(schedule.initial_delay.saturating_sub(subject.age)).await;
    loop {
        let outcome = check::run(
            &agent,
            &subject.container,
            &subject.id,
            &subject.pod_ip,
            &probe,
        )
        .await;
        let verdict = schedule.judge(matches!(outcome, Outcome::Success(_)));
        if schedule.counts() {
            note(&agent, kind, &subject, &outcome);
        }
        if let Verdict::Changed(success) = verdict {
            let report = Report {
                id: subject.id.clone(),
                kind,
                success,
            };
            if mailbox.send(Message::Probe(report)).await.is_err() {
                return;
            }
            // A startup probe has one result; a failed liveness probe ends the container.
            if kind == ProbeKind::Startup || (kind == ProbeKind::Liveness && !success) {
                return;
            }
        }
        tokio::time::sleep(schedule.next_wait()).await;
    }
}

fn note(agent: &Agent, kind: ProbeKind, subject: &Subject, outcome: &Outcome) {
    let (reason, text) = match outcome {
        Outcome::Success(None) => return,
        Outcome::Success(Some(warning)) => (
            "ProbeWarning",
            format!("{} probe warning: {warning}", kind.as_str()),
        ),
        Outcome::Failure(output) => (
            "Unhealthy",
            format!("{} probe failed: {output}", kind.as_str()),
        ),
        Outcome::Error(error) => (
            "Unhealthy",
            format!(
                "{} probe errored and resulted in failure state: {error}",
                kind.as_str()
            ),
        ),
    };
    agent.pod_event(
        &subject.pod,
        Some(&subject.container.name),
        EventType::Warning,
        reason,
        text,
    );
}
