//! Makes the pod's sandbox.

use std::sync::Arc;

use client::events::EventType;
use cri::v1;

use crate::{
    agent::Agent,
    pods::{cri_config, dns, view::PodView},
    runtime_client::RuntimeError,
};

/// Makes the sandbox and reads back its addresses.
pub async fn create(
    agent: Arc<Agent>,
    pod: PodView,
    attempt: u32,
) -> Result<v1::PodSandboxStatus, RuntimeError> {
    if attempt > 0 {
        agent.pod_event(
            &pod,
            None,
            EventType::Normal,
            "SandboxChanged",
            "Pod sandbox changed, it will be killed and re-created.",
        );
    }
    let host_dns = dns::host(&agent.config.resolv_conf).await;
    let request = v1::RunPodSandboxRequest {
        config: Some(cri_config::sandbox(&agent, &pod, attempt, &host_dns)),
        runtime_handler: pod.spec().runtime_class_name.clone().unwrap_or_default(),
    };
    // The runtime opens no logs here, but a runtime may want the directory to be there.
    let _ = tokio::fs::create_dir_all(cri_config::log_dir(&agent, &pod)).await;
    let result = match agent.runtime.run_pod_sandbox(request).await {
        Ok(answer) => agent.runtime.sandbox(&answer.pod_sandbox_id).await,
        Err(error) => Err(error),
    };
    match &result {
        Ok(_) => {
            agent.metrics.started_sandboxes.inc();
        }
        Err(error) => agent.pod_event(
            &pod,
            None,
            EventType::Warning,
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {error}"),
        ),
    }
    result
}
