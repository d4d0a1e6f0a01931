//! The runtime itself: sandboxes and containers over their shims, and the CRI services on top.

mod containers;
mod convert;
mod image_service;
mod lists;
mod recover;
mod runtime_service;
mod sandboxes;
mod serve;
mod streams;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cri::v1;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    container::{plan, record::Container},
    images::{ImageError, ImageStore, PullError},
    network::{NetworkError, PodNetwork},
    sandbox::{self, record::Sandbox},
    shim::{
        cgroup::Hierarchies,
        client::{News, ShimClient, ShimError},
        spec::Exit,
    },
};

/// Events kept for a slow listener; one that falls further behind is told that it missed some.
const EVENTS: usize = 1024;

/// Where the runtime keeps things and what it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Images, layers and the writable layers of containers.
    pub root: PathBuf,
    /// State of sandboxes and containers, sockets of shims.
    pub state_dir: PathBuf,
    /// Control group for pods whose request names none.
    pub cgroup_parent: String,
    /// The program that is started as `PROGRAM shim DIRECTORY`.
    pub shim: PathBuf,
}

/// What the runtime could not do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox.
    #[error("sandbox {0:?} not found")]
    NoSandbox(String),
    /// No such container.
    #[error("container {0:?} not found")]
    NoContainer(String),
    /// No such image.
    #[error("image {0:?} not found")]
    NoImage(String),
    /// Not possible in its present state.
    #[error("{0}")]
    State(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A sandbox that cannot be made as asked.
    #[error(transparent)]
    Sandbox(#[from] sandbox::plan::PlanError),
    /// A container that cannot be made as asked.
    #[error(transparent)]
    Container(#[from] plan::PlanError),
    /// The container's process could not be started.
    #[error("failed to start container {id}: {reason}")]
    Start {
        /// Container id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The shim could not do it.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The network could not do it.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The image store could not do it.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry could not do it.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// It took longer than allowed.
    #[error("{0}")]
    Timeout(String),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, RuntimeError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, RuntimeError> {
        self.map_err(|source| RuntimeError::Io {
            path: path.to_owned(),
            source,
        })
    }
}

/// The built-in container runtime.
pub struct Runtime {
    pub(crate) config: Config,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) sandboxes: RwLock<BTreeMap<String, Arc<Sandbox>>>,
    pub(crate) containers: RwLock<BTreeMap<String, Arc<Container>>>,
    pub(crate) news: mpsc::UnboundedSender<(String, News)>,
    pub(crate) events: broadcast::Sender<v1::ContainerEventResponse>,
    pub(crate) execs: Mutex<HashMap<u64, oneshot::Sender<Exit>>>,
    pub(crate) next_exec: AtomicU64,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) kernel: (u32, u32),
    pub(crate) stats: crate::stats::Samples,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Opens the runtime: finds the images, and every pod that is still running.
    pub fn open(
        config: Config,
        network: Arc<dyn PodNetwork>,
    ) -> BoxFuture<'static, Result<Arc<Self>, RuntimeError>> {
        Box::pin(async move {
            let images = ImageStore::open(config.root.join("images"))?;
            for path in [
                config.root.join("containers"),
                config.state_dir.join("sandboxes"),
                config.state_dir.join("netns"),
            ] {
                std::fs::create_dir_all(&path).at(&path)?;
            }
            let (news, arriving) = mpsc::unbounded_channel();
            let runtime = Arc::new(Self {
                images,
                network,
                sandboxes: RwLock::default(),
                containers: RwLock::default(),
                news,
                events: broadcast::Sender::new(EVENTS),
                execs: Mutex::default(),
                // Numbers must not meet those of a server before this one.
                next_exec: AtomicU64::new(crate::shim::now() as u64),
                hierarchies: Hierarchies::detect(),
                kernel: kernel_version(),
                stats: crate::stats::Samples::default(),
                config,
            });
            runtime.recover().await?;
            tokio::spawn(recover::listen(Arc::downgrade(&runtime), arriving));
            Ok(runtime)
        })
    }

    /// The image store.
    pub fn images(&self) -> &Arc<ImageStore> {
        &self.images
    }

    /// The sandbox of an id, or of an unambiguous beginning of one.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        by_prefix(&self.sandboxes.read(), id).ok_or_else(|| RuntimeError::NoSandbox(id.to_owned()))
    }

    /// The container of an id, or of an unambiguous beginning of one.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        by_prefix(&self.containers.read(), id)
            .ok_or_else(|| RuntimeError::NoContainer(id.to_owned()))
    }

    /// The containers of a sandbox.
    pub(crate) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let containers = self.containers.read();
        containers
            .values()
            .filter(|c| c.sandbox == sandbox)
            .cloned()
            .collect()
    }

    /// The live connection to a sandbox's shim.
    pub(crate) fn shim_of(&self, sandbox: &str) -> Result<Arc<ShimClient>, RuntimeError> {
        let sandbox = self.sandbox(sandbox)?;
        sandbox
            .shim()
            .ok_or_else(|| RuntimeError::State(format!("sandbox {} is not running", sandbox.id)))
    }

    pub(crate) fn new_exec(&self) -> u64 {
        self.next_exec.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a container's own files are.
    pub(crate) fn storage(&self, container: &str) -> PathBuf {
        self.config.root.join("containers").join(container)
    }
}

fn by_prefix<T>(map: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(found) = map.get(id) {
        return Some(Arc::clone(found));
    }
    if id.is_empty() {
        return None;
    }
    let mut matching = map
        .range(id.to_owned()..)
        .take_while(|(key, _)| key.starts_with(id));
    let (_, first) = matching.next()?;
    match matching.next() {
        None => Some(Arc::clone(first)),
        Some(_) => None,
    }
}

fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
