//! Removes what is left of a pod: containers, sandboxes, volumes, cgroup, directories, logs.

use std::sync::Arc;

use cri::v1;

use super::observe;
use crate::{
    agent::Agent,
    pods::{cri_config, view::PodView},
    runtime_client::RuntimeError,
    volumes,
};

/// Something is still there.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// In the runtime.
    #[error("removing containers: {0}")]
    Runtime(#[from] RuntimeError),
    /// On disk.
    #[error("removing volumes: {0}")]
    Volume(#[from] volumes::VolumeError),
    /// In the cgroup tree.
    #[error(transparent)]
    Cgroup(#[from] crate::pods::cgroups::CgroupError),
    /// The worker thread.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Takes down a pod whose containers have ended but whose object stays: volumes and cgroup go,
/// containers and logs stay to be looked at.
pub async fn release(agent: Arc<Agent>, pod: PodView) -> Result<(), CleanupError> {
    volumes::tear_down(&agent, pod.uid()).await?;
    remove_cgroup(agent, pod).await
}

/// Removes everything. Doing it again is no error.
pub async fn remove(agent: Arc<Agent>, pod: PodView) -> Result<(), CleanupError> {
    runtime_objects(&agent, pod.uid()).await?;
    release(agent.clone(), pod.clone()).await?;
    let logs = cri_config::log_dir(&agent, &pod);
    if let Err(error) = tokio::fs::remove_dir_all(&logs).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %logs.display(), %error, "pod logs stay behind");
    }
    Ok(())
}

/// Removes containers and sandboxes of a pod, running or not.
pub async fn runtime_objects(agent: &Arc<Agent>, uid: &str) -> Result<(), RuntimeError> {
    let gone = |result: Result<(), RuntimeError>| match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    };
    let observed = observe::pod(agent.clone(), uid.to_owned()).await?;
    for run in &observed.runs {
        let request = v1::RemoveContainerRequest {
            container_id: run.id.clone(),
        };
        gone(agent.runtime.remove_container(request).await.map(drop))?;
    }
    for sandbox in &observed.sandboxes {
        if sandbox.ready {
            let request = v1::StopPodSandboxRequest {
                pod_sandbox_id: sandbox.id.clone(),
            };
            gone(agent.runtime.stop_pod_sandbox(request).await.map(drop))?;
        }
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        gone(agent.runtime.remove_pod_sandbox(request).await.map(drop))?;
    }
    Ok(())
}

async fn remove_cgroup(agent: Arc<Agent>, pod: PodView) -> Result<(), CleanupError> {
    tokio::task::spawn_blocking(move || agent.cgroups.remove(&pod)).await??;
    Ok(())
}
