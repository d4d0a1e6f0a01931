//! Directories, cgroup and volumes of a pod.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use client::events::EventType;
use tokio::sync::watch;

use crate::{
    agent::Agent,
    pods::{cri_config, view::PodView},
    volumes::{self, Volumes, awaited::Awaited},
};

/// First and longest wait before another try.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(122);

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

impl PrepareError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Volume(_) => "FailedMount",
            Self::Cgroup(_) => "FailedCreatePodContainer",
            Self::Directory { .. } | Self::Task(_) => "Failed",
        }
    }
}

/// Prepares the pod, however often it takes: after a failure it tries again when an object that
/// the volumes name has changed, or after a growing wait.
pub async fn prepare(
    agent: Arc<Agent>,
    pod: PodView,
    updates: watch::Receiver<PodView>,
) -> Volumes {
    let mut wait = FIRST_WAIT;
    let mut awaited: Option<Awaited> = None;
    loop {
        let error = match once(&agent, &pod, &updates).await {
            Ok(volumes) => return volumes,
            Err(error) => error,
        };
        tracing::info!(pod = %pod.full_name(), %error, "volumes are not ready");
        agent.pod_event(
            &pod,
            None,
            EventType::Warning,
            error.reason(),
            error.to_string(),
        );
        let awaited = awaited.get_or_insert_with(|| Awaited::new(&agent, &pod));
        tokio::select! {
            () = awaited.changed() => {}
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}

async fn once(
    agent: &Arc<Agent>,
    pod: &PodView,
    updates: &watch::Receiver<PodView>,
) -> Result<Volumes, PrepareError> {
    let (a, p) = (agent.clone(), pod.clone());
    tokio::task::spawn_blocking(move || directories(&a, &p)).await??;
    Ok(volumes::mount_all(agent, pod, updates.clone()).await?)
}

fn directories(agent: &Agent, pod: &PodView) -> Result<(), PrepareError> {
    let home = volumes::pod_dir(agent, pod.uid());
    for path in [home.join("volumes"), cri_config::log_dir(agent, pod)] {
        fs::create_dir_all(&path).map_err(|source| PrepareError::Directory { path, source })?;
    }
    agent.cgroups.create(pod)?;
    Ok(())
}
