//! Directories, cgroup and volumes of a pod.

use std::{fs, path::PathBuf, sync::Arc};

use client::events::EventType;
use tokio::sync::watch;

use crate::{
    agent::Agent,
    pods::{cri_config, view::PodView},
    volumes::{self, Volumes},
};

/// What could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A directory.
    #[error("error making pod data directories: {path}: {source}")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The cgroup.
    #[error("unable to ensure pod container exists: {0}")]
    Cgroup(#[from] crate::pods::cgroups::CgroupError),
    /// A volume.
    #[error(transparent)]
    Volume(#[from] volumes::MountError),
    /// The worker thread.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Prepares the pod. Doing it again changes nothing.
pub async fn prepare(
    agent: Arc<Agent>,
    pod: PodView,
    updates: watch::Receiver<PodView>,
) -> Result<Volumes, PrepareError> {
    let result = async {
        let (a, p) = (agent.clone(), pod.clone());
        tokio::task::spawn_blocking(move || directories(&a, &p)).await??;
        Ok(volumes::mount_all(&agent, &pod, updates).await?)
    }
    .await;
    if let Err(error) = &result {
        let reason = match error {
            PrepareError::Volume(_) => "FailedMount",
            PrepareError::Cgroup(_) => "FailedCreatePodContainer",
            _ => "Failed",
        };
        agent.pod_event(&pod, None, EventType::Warning, reason, error.to_string());
    }
    result
}

fn directories(agent: &Agent, pod: &PodView) -> Result<(), PrepareError> {
    let home = volumes::pod_dir(agent, pod.uid());
    for path in [home.join("volumes"), cri_config::log_dir(agent, pod)] {
        fs::create_dir_all(&path).map_err(|source| PrepareError::Directory { path, source })?;
    }
    agent.cgroups.create(pod)?;
    Ok(())
}
