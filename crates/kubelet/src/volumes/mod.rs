//! A pod's volumes on this node: set up before its containers, kept up to date while they run,
//! taken down after them.
//!
//! Small files from the API (configMap, secret, projected, downwardAPI) are written by
//! [`atomic`], so that a container sees all of a new version or nothing of it. What may be secret
//! lives on one tmpfs of the node. [`refresh`] follows the objects by watch.

pub mod atomic;
pub mod awaited;
mod claims;
mod downward;
mod empty_dir;
mod host_path;
pub mod ownership;
mod payload;
mod projected;
mod refresh;
pub mod subpath;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Container, Volume};
use tokio::sync::watch;

use crate::{
    agent::Agent,
    pods::{hooks::image, view::PodView},
};

pub use payload::{File, Payload};
pub use refresh::Refresher;

/// A volume could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object it takes its content from.
    #[error("{0}")]
    Object(String),
    /// A key or field it names.
    #[error("{0}")]
    Reference(String),
    /// The file system.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The API.
    #[error("{0}")]
    Api(String),
    /// The kind of volume.
    #[error("volume type is not supported by this node")]
    Unsupported,
}

impl VolumeError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Which volume failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
pub struct MountError {
    /// The volume's name in the pod.
    pub volume: String,
    /// Why.
    pub source: VolumeError,
}

/// Where a volume stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// A directory or file of the node.
    Path {
        /// Where.
        path: PathBuf,
        /// Whether containers may never write to it.
        read_only: bool,
    },
    /// An image, which the runtime mounts.
    Image {
        /// The image's name.
        reference: String,
    },
}

/// All volumes of one pod.
#[derive(Debug, Default)]
pub struct Volumes {
    /// By name.
    pub by_name: BTreeMap<String, Mounted>,
    /// Keeps their content up to date while it lives.
    pub refresher: Option<Refresher>,
}

/// Home of one pod.
pub fn pod_dir(agent: &Agent, uid: &str) -> PathBuf {
    agent.config.root_dir.join("pods").join(uid)
}

/// Home of a pod's secrets.
fn memory_dir(agent: &Agent, uid: &str) -> PathBuf {
    agent.config.root_dir.join("memory").join(uid)
}

/// Mounts the tmpfs that holds secrets. Where the kernel refuses (no privilege), the directory
/// itself serves, readable by its owner alone.
pub fn mount_memory(root: &Path) -> Result<(), VolumeError> {
    let dir = root.join("memory");
    std::fs::create_dir_all(&dir).map_err(VolumeError::io("create", &dir))?;
    ownership::set_mode(&dir, 0o711)?;
    if !empty_dir::is_tmpfs(&dir)
        && let Err(error) = empty_dir::mount_tmpfs(&dir, None, 0o711)
    {
        tracing::warn!(%error, "secrets are kept on disk: no tmpfs can be mounted");
    }
    Ok(())
}

/// Takes that tmpfs away when nothing is in it. Pods that go on running keep theirs.
pub fn unmount_memory(root: &Path) {
    let dir = root.join("memory");
    let empty = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none());
    if empty && empty_dir::is_tmpfs(&dir) {
        // Busy again in this moment: it stays.
        if let Err(error) = rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::empty()) {
            tracing::debug!(dir = %dir.display(), %error, "tmpfs of secrets stays mounted");
        }
    }
}

/// Names of the volumes that some container mounts.
fn used(pod: &PodView) -> BTreeSet<&str> {
    pod.all()
        .flat_map(|(c, _)| {
            c.volume_mounts
                .iter()
                .flatten()
                .map(|m| m.name.as_str())
                .chain(c.volume_devices.iter().flatten().map(|d| d.name.as_str()))
        })
        .collect()
}

/// Sets up every volume that a container uses, all at the same time.
pub async fn mount_all(
    agent: &Arc<Agent>,
    pod: &PodView,
    updates: watch::Receiver<PodView>,
) -> Result<Volumes, MountError> {
    let used = used(pod);
    let mut volumes = Volumes::default();
    let mut refreshed = Vec::new();
    let wanted = pod
        .spec()
        .volumes
        .iter()
        .flatten()
        .filter(|v| used.contains(v.name.as_str()));
    let results = futures::future::join_all(wanted.map(|volume| async move {
        let mounted = mount_one(agent, pod, volume).await;
        (volume, mounted)
    }))
    .await;
    for (volume, result) in results {
        let (mounted, live) = result.map_err(|source| MountError {
            volume: volume.name.clone(),
            source,
        })?;
        volumes.by_name.insert(volume.name.clone(), mounted);
        refreshed.extend(live);
    }
    if !refreshed.is_empty() {
        volumes.refresher = Some(Refresher::start(agent.clone(), refreshed, updates));
    }
    Ok(volumes)
}

async fn mount_one(
    agent: &Arc<Agent>,
    pod: &PodView,
    volume: &Volume,
) -> Result<(Mounted, Option<refresh::Live>), VolumeError> {
    let path = |path| Mounted::Path {
        path,
        read_only: false,
    };
    if let Some(source) = projected::Source::of(volume) {
        let dir = if source.is_secret() {
            memory_dir(agent, pod.uid()).join(&volume.name)
        } else {
            volume_dir(agent, pod, source.plugin(), &volume.name)
        };
        let live = refresh::Live::mount(agent, pod, source, dir.clone()).await?;
        return Ok((path(dir), Some(live)));
    }
    if let Some(source) = &volume.empty_dir {
        let dir = volume_dir(agent, pod, "empty-dir", &volume.name);
        let limit = empty_dir::memory_limit(pod, source);
        let memory = source.medium.as_deref() == Some("Memory");
        let group = pod
            .spec()
            .security_context
            .as_ref()
            .and_then(|s| s.fs_group);
        let target = dir.clone();
        blocking(move || empty_dir::set_up(&target, memory, limit, group)).await?;
        return Ok((path(dir), None));
    }
    if let Some(source) = &volume.host_path {
        let source = source.clone();
        let target = PathBuf::from(&source.path);
        blocking(move || host_path::check(&source)).await?;
        return Ok((path(target), None));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let (target, read_only) = claims::resolve(agent, pod, &source.claim_name).await?;
        let read_only = read_only || source.read_only == Some(true);
        let group = pod
            .spec()
            .security_context
            .as_ref()
            .and_then(|s| s.fs_group);
        if let (Some(group), false) = (group, read_only) {
            let on_mismatch = pod
                .spec()
                .security_context
                .as_ref()
                .and_then(|s| s.fs_group_change_policy.as_deref())
                == Some("OnRootMismatch");
            let target = target.clone();
            blocking(move || ownership::give_to_group(&target, group, false, on_mismatch)).await?;
        }
        return Ok((
            Mounted::Path {
                path: target,
                read_only,
            },
            None,
        ));
    }
    if let Some(source) = &volume.image {
        let image = Container {
            name: volume.name.clone(),
            image: source.reference.clone(),
            image_pull_policy: source.pull_policy.clone(),
            ..Default::default()
        };
        let found = image::ensure(agent.clone(), pod.clone(), image)
            .await
            .map_err(|error| VolumeError::Object(format!("{}: {}", error.reason, error.message)))?;
        return Ok((
            Mounted::Image {
                reference: found.reference,
            },
            None,
        ));
    }
    if *volume
        == (Volume {
            name: volume.name.clone(),
            ..Default::default()
        })
    {
        // No source at all means emptyDir.
        let dir = volume_dir(agent, pod, "empty-dir", &volume.name);
        let target = dir.clone();
        blocking(move || empty_dir::set_up(&target, false, None, None)).await?;
        return Ok((path(dir), None));
    }
    Err(VolumeError::Unsupported)
}

/// Directory of a volume.
pub fn volume_dir(agent: &Agent, pod: &PodView, plugin: &str, name: &str) -> PathBuf {
    pod_dir(agent, pod.uid())
        .join("volumes")
        .join(format!("kubernetes.io~{plugin}"))
        .join(name)
}

/// File system work on a thread that may wait.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(VolumeError::Object(format!("file system work: {error}"))),
    }
}

/// Takes down everything a pod had: mounts first, then its directories. Doing it again is no error.
pub async fn tear_down(agent: &Arc<Agent>, uid: &str) -> Result<(), VolumeError> {
    let (home, memory) = (pod_dir(agent, uid), memory_dir(agent, uid));
    blocking(move || {
        empty_dir::unmount_below(&home)?;
        for dir in [&home, &memory] {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(VolumeError::io("remove", dir)(error));
                }
                _ => {}
            }
        }
        Ok(())
    })
    .await
}
