//! Execute: the loop between the informers, the plan in [`crate::decide`] and the API.

use std::sync::Arc;

use api::{clock::rfc3339, labels::Selector};
use client::{
    Change, Context, Scope,
    events::{EventType, reference},
    informer::Store,
};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::Resource;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    bind::{self, BindError},
    cache::PodInfo,
    decide::{Decision, Scheduler},
    framework::{diagnosis::Diagnosis, profile::Profile},
    preemption::Candidate,
};

/// How many writes are under way at once. At the bound the loop decides no further pod until one
/// has come back; events are taken in meanwhile.
const WRITES: usize = 128;

/// What became of a binding.
type Outcome = (Arc<PodInfo>, Result<(), BindError>);

/// Schedules until `shutdown`.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let pods = context.informers.get::<Pod>(Scope::All);
    let nodes = context.informers.get::<Node>(Scope::All);
    let namespaces = context.informers.get::<Namespace>(Scope::All);
    let budgets = context.informers.get::<PodDisruptionBudget>(Scope::All);
    let mut pod_changes = pods.subscribe();
    let mut node_changes = nodes.subscribe();
    let mut namespace_changes = namespaces.subscribe();
    tokio::select! {
        () = async { pods.synced().await; nodes.synced().await; namespaces.synced().await } => {}
        () = shutdown.cancelled() => return,
    }
    let (report, mut outcomes) = mpsc::channel::<Outcome>(WRITES);
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    let mut under_way = 0;
    loop {
        let now = Instant::now();
        let decision = if under_way < WRITES {
            let mut tie =
                |n: usize| usize::try_from(context.random.next() % n as u64).unwrap_or_default();
            scheduler.next(now, &mut tie, &|pod| shielded(budgets.store(), pod))
        } else {
            None
        };
        let idle = decision.is_none();
        if let Some(decision) = decision {
            under_way += 1;
            tokio::spawn(carry_out(context.clone(), decision, report.clone()));
        }
        let wake = scheduler.wake_at(now);
        // Events that have arrived are taken in before the next decision; without a decision to
        // make, wait for one.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some((pod, result)) = outcomes.recv() => {
                under_way -= 1;
                match result {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(%error, "will be tried again");
                        if matches!(error, BindError::Binding { .. }) {
                            scheduler.bind_failed(&pod, Instant::now());
                        }
                    }
                }
            }
            change = namespace_changes.next() => match change {
                Change::Applied { new, .. } => scheduler.namespace_applied(&new, Instant::now()),
                Change::Deleted(namespace) => scheduler.namespace_deleted(namespace.meta().name.as_deref().unwrap_or_default()),
            },
            change = node_changes.next() => match change {
                Change::Applied { new, .. } => scheduler.node_applied(new, Instant::now()),
                Change::Deleted(node) => scheduler.node_deleted(node.meta().name.as_deref().unwrap_or_default()),
            },
            change = pod_changes.next() => match change {
                Change::Applied { new, .. } => scheduler.pod_applied(new, Instant::now()),
                Change::Deleted(pod) => scheduler.pod_deleted(pod.meta().uid.as_deref().unwrap_or_default(), Instant::now()),
            },
            () = std::future::ready(()), if !idle => {}
            () = async { match wake { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {}
        }
    }
}

/// Whether a PodDisruptionBudget with nothing left to give covers the pod.
fn shielded(budgets: &Store<PodDisruptionBudget>, pod: &PodInfo) -> bool {
    let labels = pod.pod.metadata.labels.iter().flatten();
    budgets.list_in(pod.namespace()).iter().any(|budget| {
        let exhausted = budget
            .status
            .as_ref()
            .is_some_and(|s| s.disruptions_allowed.unwrap_or_default() <= 0);
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        let selector = selector.and_then(|s| serde_json::to_value(s).ok());
        let covers = selector.and_then(|s| Selector::from_label_selector(&s).ok());
        exhausted
            && covers
                .is_some_and(|s| s.matches(labels.clone().map(|(k, v)| (k.as_str(), v.as_str()))))
    })
}

async fn carry_out(context: Context, decision: Decision, report: mpsc::Sender<Outcome>) {
    let (pod, result) = match decision {
        Decision::Bind { pod, node } => {
            let result = bind::bind(&context.client, &pod, &node).await;
            if result.is_ok() {
                let note = format!("Successfully assigned {} to {node}", pod.key);
                context
                    .recorder
                    .event(reference(&*pod.pod), EventType::Normal, "Scheduled", note);
            }
            (pod, result)
        }
        Decision::Unschedulable {
            pod,
            diagnosis,
            preempt,
        } => {
            let result = explain(&context, &pod, &diagnosis, preempt).await;
            (pod, result)
        }
    };
    // The loop is gone only at shutdown; nobody needs the outcome then.
    let _ = report.send((pod, result)).await;
}

async fn explain(
    context: &Context,
    pod: &Arc<PodInfo>,
    diagnosis: &Diagnosis,
    preempt: Option<Candidate>,
) -> Result<(), BindError> {
    let message = diagnosis.message();
    context.recorder.event(
        reference(&*pod.pod),
        EventType::Warning,
        "FailedScheduling",
        message.as_str(),
    );
    let now = || rfc3339(context.clock.now());
    let nominated = preempt.as_ref().map(|c| &*c.node);
    bind::set_unschedulable(
        &context.client,
        pod,
        "Unschedulable",
        &message,
        nominated,
        now(),
    )
    .await?;
    for victim in preempt.iter().flat_map(|c| &c.victims) {
        bind::evict(
            &context.client,
            victim,
            pod.spec()
                .scheduler_name
                .as_deref()
                .unwrap_or("default-scheduler"),
            now(),
        )
        .await?;
        let note = format!(
            "Preempted by pod {} on node {}",
            pod.uid,
            preempt.as_ref().map_or("", |c| &*c.node)
        );
        context.recorder.event(
            reference(&*victim.pod),
            EventType::Normal,
            "Preempted",
            note,
        );
    }
    Ok(())
}
