//! Creating, starting, stopping, removing containers, and running commands in them.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd, sync::Arc, time::Duration};

use cri::v1;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::{At, Runtime, RuntimeError};
use crate::{
    container::{
        plan::{self, Places},
        record::{Container, Failure, Life},
    },
    images::{Image, remove_tree},
    shim::{
        self,
        client::{ShimClient, ShimError},
        protocol::{Reply, Request, Streams},
        spec::{ContainerSpec, Exit},
    },
    state,
};

/// File with the plan between creation and start.
const SPEC_FILE: &str = "spec.json";
/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(60);
/// Most output an ExecSync keeps of each stream; the rest is read and dropped.
const MAX_OUTPUT: usize = 16 << 20;

/// A command under way in a container.
pub(crate) struct RunningExec {
    pub number: u64,
    pub streams: Streams,
    pub fds: Vec<OwnedFd>,
    pub exit: oneshot::Receiver<Exit>,
    pub shim: Arc<ShimClient>,
}

impl Runtime {
    /// Makes a container ready to be started.
    pub async fn create_container(
        self: &Arc<Self>,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, RuntimeError> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.is_ready() {
            return Err(RuntimeError::State(format!(
                "sandbox {} is not ready",
                sandbox.id
            )));
        }
        if config.metadata.is_none() {
            return Err(RuntimeError::Invalid(
                "container config has no metadata".into(),
            ));
        }
        let id = state::new_id();
        let name = config.image.clone().unwrap_or_default().image;
        let volumes: Vec<String> = config
            .mounts
            .iter()
            .filter_map(|m| m.image.as_ref())
            .map(|i| i.image.clone())
            .collect();
        let mut names = vec![name.as_str()];
        names.extend(volumes.iter().map(String::as_str));
        let images = self.images.hold(&id, &names)?;
        let made = self.make_container(&id, &sandbox, config, sandbox_config, &images, &volumes);
        if made.is_err() {
            let _ = self.images.release(&id);
            let _ = remove_tree(&self.storage(&id));
            let _ = fs::remove_dir_all(sandbox.directory.join("containers").join(&id));
        }
        let container = made?;
        self.containers.write().insert(id.clone(), container);
        self.announce(&sandbox, &id, v1::ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    fn make_container(
        &self,
        id: &str,
        sandbox: &crate::sandbox::record::Sandbox,
        config: v1::ContainerConfig,
        sandbox_config: Option<v1::PodSandboxConfig>,
        images: &[Image],
        volumes: &[String],
    ) -> Result<Arc<Container>, RuntimeError> {
        let Some((image, rest)) = images.split_first() else {
            return Err(RuntimeError::NoImage(String::new()));
        };
        let volumes: BTreeMap<String, Image> =
            volumes.iter().cloned().zip(rest.iter().cloned()).collect();
        let sandbox_config = match sandbox_config {
            Some(config) if config.metadata.is_some() => config,
            _ => sandbox.config.lock().clone(),
        };
        let directory = sandbox.directory.join("containers").join(id);
        let storage = self.storage(id);
        let places = Places {
            directory: directory.clone(),
            storage: storage.clone(),
            layers: self.images.layers_directory(),
            sandbox: sandbox.directory.clone(),
            shm: sandbox.shm.clone().unwrap_or_else(|| "/dev/shm".into()),
            cgroup: self.cgroup_of(id, &sandbox.id, &sandbox_config),
        };
        let spec = plan::plan(&plan::Request {
            id,
            config: &config,
            sandbox: &sandbox_config,
            image,
            volumes: &volumes,
            places: &places,
            kernel: self.kernel,
            unified: self.hierarchies.only_unified().is_some(),
        })?;
        for path in [
            &storage,
            &spec.rootfs.upper,
            &spec.rootfs.work,
            &spec.rootfs.target,
            &directory,
        ] {
            fs::create_dir(path).at(path)?;
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&spec.rootfs.upper, fs::Permissions::from_mode(0o755))
            .at(&spec.rootfs.upper)?;
        for mount in &config.mounts {
            let missing = mount.image.is_none() && fs::symlink_metadata(&mount.host_path).is_err();
            if missing {
                fs::create_dir_all(&mount.host_path).at(mount.host_path.as_ref())?;
            }
        }
        let spec_path = directory.join(SPEC_FILE);
        let text = serde_json::to_vec(&spec)
            .map_err(std::io::Error::from)
            .at(&spec_path)?;
        state::write(&spec_path, &text).at(&spec_path)?;
        let container = Container {
            id: id.to_owned(),
            sandbox: sandbox.id.clone(),
            directory: directory.clone(),
            stop_signal: plan::stop_signal(&config, image.config.stop_signal.as_deref()),
            config: Mutex::new(config),
            image: image.id.clone(),
            image_ref: image.digests.first().unwrap_or(&image.id).clone(),
            process: spec.process,
            cgroup: spec.cgroup.path,
            log_path: spec.log_path,
            life: watch::Sender::new(Life {
                created_at: shim::now(),
                ..Life::default()
            }),
            busy: tokio::sync::Mutex::default(),
        };
        container.save().at(&directory)?;
        Ok(Arc::new(container))
    }

    fn cgroup_of(&self, id: &str, sandbox: &str, config: &v1::PodSandboxConfig) -> String {
        let parent = config
            .linux
            .as_ref()
            .map(|l| l.cgroup_parent.as_str())
            .unwrap_or_default();
        if parent.is_empty() {
            let own = self.config.cgroup_parent.trim_end_matches('/');
            return format!("{own}/sandbox-{}/{id}", &sandbox[..16.min(sandbox.len())]);
        }
        format!("{}/{id}", parent.trim_end_matches('/'))
    }

    /// Starts a created container.
    pub async fn start_container(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let container = self.container(id)?;
        let _busy = container.busy.lock().await;
        if container.state() != v1::ContainerState::ContainerCreated {
            return Err(RuntimeError::State(format!(
                "container {id} is in state {}, not created",
                container.state().as_str_name()
            )));
        }
        let spec_path = container.directory.join(SPEC_FILE);
        let text = fs::read(&spec_path).at(&spec_path)?;
        let spec: ContainerSpec = serde_json::from_slice(&text)
            .map_err(std::io::Error::from)
            .at(&spec_path)?;
        let shim = self.shim_of(&container.sandbox)?;
        let sandbox = self.sandbox(&container.sandbox)?;
        match shim.ask(Request::Start(Box::new(spec))).await {
            Ok((Reply::Started(started), _)) => {
                // Its end may have been announced before this answer was taken up.
                container
                    .life
                    .send_modify(|life| life.started = Some(started.into()));
                container.save().at(&container.directory)?;
                let _ = fs::remove_file(&spec_path);
                self.announce(
                    &sandbox,
                    &container.id,
                    v1::ContainerEventType::ContainerStartedEvent,
                );
                if container.state() == v1::ContainerState::ContainerExited {
                    self.announce(
                        &sandbox,
                        &container.id,
                        v1::ContainerEventType::ContainerStoppedEvent,
                    );
                }
                Ok(())
            }
            Ok(_) => Err(shim.unexpected().into()),
            Err(ShimError::Failed(reason)) => {
                let error = RuntimeError::Start {
                    id: container.id.clone(),
                    reason,
                };
                container.life.send_modify(|life| {
                    life.exit = Some(Exit {
                        code: 128,
                        at: shim::now(),
                        ..Exit::default()
                    });
                    life.failure = Some(Failure {
                        reason: "StartError".into(),
                        message: error.to_string(),
                    });
                });
                container.save().at(&container.directory)?;
                self.announce(
                    &sandbox,
                    &container.id,
                    v1::ContainerEventType::ContainerStoppedEvent,
                );
                Err(error)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Asks a container to end, and after `patience` makes it. Fine when it has ended.
    pub async fn stop_container(
        self: &Arc<Self>,
        id: &str,
        patience: Duration,
    ) -> Result<(), RuntimeError> {
        let container = match self.container(id) {
            Ok(container) => container,
            // Whoever asks for an end that has come and gone has what was wanted.
            Err(RuntimeError::NoContainer(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        if !container.is_running() {
            return Ok(());
        }
        if !patience.is_zero() {
            let shim = self.shim_of(&container.sandbox)?;
            let request = Request::Signal {
                container: container.id.clone(),
                signal: container.stop_signal,
                all: false,
            };
            match shim.tell(request).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(container = container.id, %error, "stop signal not delivered");
                }
            }
            if tokio::time::timeout(patience, container.ended())
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    /// Kills a container and waits until it is gone.
    pub(crate) async fn kill_container(&self, container: &Container) -> Result<(), RuntimeError> {
        if !container.is_running() {
            return Ok(());
        }
        let shim = self.shim_of(&container.sandbox)?;
        let request = Request::Signal {
            container: container.id.clone(),
            signal: libc::SIGKILL,
            all: false,
        };
        if let Err(error) = shim.tell(request).await {
            tracing::debug!(container = container.id, %error, "kill not delivered");
        }
        match tokio::time::timeout(KILL_PATIENCE, container.ended()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(RuntimeError::Timeout(format!(
                "container {} does not end although killed",
                container.id
            ))),
        }
    }

    /// Forgets a container, killing it first. Fine when there is none.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let container = match self.container(id) {
            Ok(container) => container,
            Err(RuntimeError::NoContainer(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        self.kill_container(&container).await?;
        let _busy = container.busy.lock().await;
        let sandbox = self.sandbox(&container.sandbox)?;
        if let Some(shim) = sandbox.shim() {
            let request = Request::Delete {
                container: container.id.clone(),
            };
            match shim.tell(request).await {
                Ok(()) | Err(ShimError::Gone(_)) => {}
                Err(other) => return Err(other.into()),
            }
        } else {
            shim::cgroup::remove(&self.hierarchies, &container.cgroup);
        }
        let storage = self.storage(&container.id);
        let directory = container.directory.clone();
        let trees = tokio::task::spawn_blocking(move || -> Result<(), RuntimeError> {
            remove_tree(&storage).at(&storage)?;
            remove_tree(&directory).at(&directory)
        });
        trees
            .await
            .map_err(|e| RuntimeError::State(e.to_string()))??;
        self.images.release(&container.id)?;
        self.containers.write().remove(&container.id);
        self.stats.forget(&container.id);
        self.announce(
            &sandbox,
            &container.id,
            v1::ContainerEventType::ContainerDeletedEvent,
        );
        Ok(())
    }

    /// Changes a container's limits.
    pub async fn update_container(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        let container = self.container(id)?;
        if container.is_running() {
            let shim = self.shim_of(&container.sandbox)?;
            let request = Request::Update {
                container: container.id.clone(),
                resources: Box::new(plan::limits(&linux)),
            };
            shim.tell(request).await?;
        }
        {
            let mut config = container.config.lock();
            let resources = &mut config.linux.get_or_insert_default().resources;
            merge(resources.get_or_insert_default(), linux);
        }
        container.save().at(&container.directory)
    }

    /// Starts a command in a running container.
    pub(crate) async fn start_exec(
        &self,
        id: &str,
        command: &[String],
        terminal: bool,
        stdin: bool,
    ) -> Result<RunningExec, RuntimeError> {
        let container = self.container(id)?;
        if !container.is_running() {
            return Err(RuntimeError::State(format!(
                "container {id} is in state {}, not running",
                container.state().as_str_name()
            )));
        }
        let shim = self.shim_of(&container.sandbox)?;
        let number = self.new_exec();
        let (sender, exit) = oneshot::channel();
        self.execs.lock().insert(number, sender);
        let request = Request::Exec {
            exec: number,
            container: container.id.clone(),
            process: Box::new(plan::exec(&container.process, command, terminal)),
            stdin,
        };
        match shim.ask(request).await {
            Ok((Reply::Streams(streams), fds)) => Ok(RunningExec {
                number,
                streams,
                fds,
                exit,
                shim,
            }),
            other => {
                self.execs.lock().remove(&number);
                match other {
                    Err(error) => Err(error.into()),
                    Ok(_) => Err(shim.unexpected().into()),
                }
            }
        }
    }

    /// Runs a command to its end and gives its output and exit code.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<(Vec<u8>, Vec<u8>, i32), RuntimeError> {
        let exec = self.start_exec(id, command, false, false).await?;
        let mut fds = exec.fds.into_iter();
        let path = std::path::Path::new("exec");
        let mut stdout = None;
        let mut stderr = None;
        for (there, slot) in [
            (exec.streams.stdout, &mut stdout),
            (exec.streams.stderr, &mut stderr),
        ] {
            if let (true, Some(fd)) = (there, fds.next()) {
                *slot = Some(tokio::net::unix::pipe::Receiver::from_owned_fd(fd).at(path)?);
            }
        }
        let work = async {
            let (exit, stdout, stderr) = tokio::join!(exec.exit, collect(stdout), collect(stderr));
            (exit, stdout, stderr)
        };
        let outcome = match timeout {
            Some(limit) => tokio::time::timeout(limit, work).await,
            None => Ok(work.await),
        };
        match outcome {
            Ok((Ok(exit), stdout, stderr)) => Ok((stdout, stderr, exit.code)),
            Ok((Err(_), ..)) => Err(ShimError::Gone(id.to_owned()).into()),
            Err(_) => {
                self.execs.lock().remove(&exec.number);
                // Gone by itself in the meantime is fine.
                let _ = exec
                    .shim
                    .tell(Request::KillExec { exec: exec.number })
                    .await;
                Err(RuntimeError::Timeout(format!(
                    "command {command:?} timed out: timeout {:?} exceeded",
                    timeout.unwrap_or_default()
                )))
            }
        }
    }
}

/// Reads a stream to its end, keeping a bounded part.
async fn collect(pipe: Option<tokio::net::unix::pipe::Receiver>) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut out = Vec::new();
    let Some(mut pipe) = pipe else {
        return out;
    };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let room = MAX_OUTPUT - out.len();
        out.extend_from_slice(&buffer[..count.min(room)]);
    }
    out
}

/// Takes over what an update names; the rest stays.
fn merge(into: &mut v1::LinuxContainerResources, new: v1::LinuxContainerResources) {
    let number = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
        }
    };
    number(&mut into.cpu_period, new.cpu_period);
    number(&mut into.cpu_quota, new.cpu_quota);
    number(&mut into.cpu_shares, new.cpu_shares);
    number(&mut into.memory_limit_in_bytes, new.memory_limit_in_bytes);
    number(
        &mut into.memory_swap_limit_in_bytes,
        new.memory_swap_limit_in_bytes,
    );
    number(&mut into.oom_score_adj, new.oom_score_adj);
    for (old, new) in [
        (&mut into.cpuset_cpus, new.cpuset_cpus),
        (&mut into.cpuset_mems, new.cpuset_mems),
    ] {
        if !new.is_empty() {
            *old = new;
        }
    }
    into.unified.extend(new.unified);
    if !new.hugepage_limits.is_empty() {
        into.hugepage_limits = new.hugepage_limits;
    }
}
