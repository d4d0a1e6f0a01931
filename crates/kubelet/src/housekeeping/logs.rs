//! Rotates container logs by size: the current file is renamed, the runtime opens a new one, the
//! oldest ones go.

use std::{
    io,
    path::{Path, PathBuf},
};

use cri::v1;

use crate::{agent::Agent, pods::observed::keys};

/// Looks at the logs of every running container.
pub async fn rotate(agent: &Agent) {
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            state: Some(v1::ContainerStateValue {
                state: v1::ContainerState::ContainerRunning as i32,
            }),
            ..Default::default()
        }),
    };
    let Ok(answer) = agent.runtime.list_containers(request).await else {
        return;
    };
    for container in answer.containers {
        let Some(path) = log_path(agent, &container) else {
            continue;
        };
        let large = tokio::fs::metadata(&path)
            .await
            .is_ok_and(|m| m.len() > agent.config.log_max_size);
        if large && let Err(error) = rotate_one(agent, &container.id, &path).await {
            tracing::warn!(path = %path.display(), %error, "log is not rotated");
        }
    }
}

fn log_path(agent: &Agent, container: &v1::Container) -> Option<PathBuf> {
    let get = |key: &str| container.labels.get(key);
    let count = container.annotations.get(keys::RESTART_COUNT)?;
    Some(
        agent
            .config
            .pod_logs_dir
            .join(format!(
                "{}_{}_{}",
                get(keys::POD_NAMESPACE)?,
                get(keys::POD_NAME)?,
                get(keys::POD_UID)?
            ))
            .join(get(keys::CONTAINER_NAME)?)
            .join(format!("{count}.log")),
    )
}

async fn rotate_one(agent: &Agent, id: &str, path: &Path) -> io::Result<()> {
    // Names sort by time.
    let stamp = agent.now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    let rotated = PathBuf::from(name);
    tokio::fs::rename(path, &rotated).await?;
    let reopened = agent
        .runtime
        .reopen_container_log(v1::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        })
        .await;
    if let Err(error) = reopened {
        // The runtime still writes to the renamed file: it gets its name back.
        tokio::fs::rename(&rotated, path).await?;
        return Err(io::Error::other(error.to_string()));
    }
    let keep = usize::try_from(agent.config.log_max_files.max(2)).unwrap_or(2) - 1;
    let old = rotations(path).await?;
    for path in old.iter().take(old.len().saturating_sub(keep)) {
        tokio::fs::remove_file(path).await?;
    }
    Ok(())
}

/// The rotated files of a log, the oldest first.
pub async fn rotations(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut out = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.starts_with(&prefix))
        {
            out.push(entry.path());
        }
    }
    out.sort();
    Ok(out)
}
