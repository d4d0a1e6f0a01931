//! Stops a container: preStop hook, then the runtime's TERM and KILL, all within the grace period.

use std::{sync::Arc, time::Duration};

use client::events::EventType;
use cri::v1;

use super::lifecycle;
use crate::{
    agent::Agent,
    pods::view::{Kind, PodView},
    runtime_client::RuntimeError,
};

/// Which container, and how gently.
pub struct Order {
    /// The pod.
    pub pod: PodView,
    /// Its id.
    pub id: String,
    /// Its name.
    pub container: String,
    /// What the event says.
    pub message: String,
    /// Seconds it gets.
    pub grace: i64,
    /// The pod's address.
    pub pod_ip: String,
    /// The preStop hook ran before (the grace period was shortened meanwhile).
    pub again: bool,
}

/// Seconds that the signal gets whatever the hook used up.
const LEAST: i64 = 2;

/// Does it; answers with the container's last status.
pub async fn run(
    agent: Arc<Agent>,
    order: Order,
) -> Result<Option<v1::ContainerStatus>, RuntimeError> {
    if !order.again {
        agent.pod_event(
            &order.pod,
            Some(&order.container),
            EventType::Normal,
            "Killing",
            order.message.clone(),
        );
    }
    let begun = agent.now();
    let found = order.pod.container(&order.container);
    if let Some((container, kind)) = found
        && kind != Kind::Ephemeral
        && order.grace > 0
        && !order.again
        && let Some(handler) = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.pre_stop.as_ref())
    {
        let hook = lifecycle::run(&agent, container, &order.id, &order.pod_ip, handler);
        let limit = Duration::from_secs(u64::try_from(order.grace).unwrap_or(0));
        match tokio::time::timeout(limit, hook).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!(pod = %order.pod.full_name(), container = %order.container, %error, "preStop hook failed");
                agent.pod_event(
                    &order.pod,
                    Some(&order.container),
                    EventType::Warning,
                    "FailedPreStopHook",
                    "PreStopHook failed",
                );
            }
            Err(_) => {
                tracing::info!(pod = %order.pod.full_name(), container = %order.container, "preStop hook did not end within the grace period");
            }
        }
    }
    let used = agent.now().duration_since(begun).as_secs();
    let timeout = (order.grace - used).max(LEAST.min(order.grace));
    let result = agent
        .runtime
        .stop_container(v1::StopContainerRequest {
            container_id: order.id.clone(),
            timeout,
        })
        .await;
    match result {
        Err(error) if !error.is_not_found() => {
            agent.pod_event(
                &order.pod,
                None,
                EventType::Warning,
                "FailedKillPod",
                format!("error killing pod: {error}"),
            );
            return Err(error);
        }
        _ => {}
    }
    match agent.runtime.container(&order.id).await {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Stops a sandbox; one that is gone is stopped.
pub async fn sandbox(
    agent: Arc<Agent>,
    id: &str,
) -> Result<Option<v1::PodSandboxStatus>, RuntimeError> {
    let request = v1::StopPodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    match agent.runtime.stop_pod_sandbox(request).await {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    match agent.runtime.sandbox(id).await {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
