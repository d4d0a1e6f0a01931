//! Running, stopping and removing sandboxes.

use std::{fs, sync::Arc};

use cri::v1;
use parking_lot::Mutex;

use super::{At, Runtime, RuntimeError};
use crate::{
    sandbox::{
        files, plan,
        record::{Life, Sandbox},
    },
    shim::{
        self,
        client::{ShimClient, ShimError},
        protocol::Request,
    },
    state,
};

impl Runtime {
    /// Makes a sandbox: namespaces held by a new shim, then the network in them.
    pub async fn run_sandbox(
        self: &Arc<Self>,
        config: v1::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, RuntimeError> {
        let id = state::new_id();
        let directory = self.config.state_dir.join("sandboxes").join(&id);
        let netns = self.config.state_dir.join("netns").join(&id[..32]);
        let pod = plan::plan(&id, &config, handler, netns, directory.join("shm"))?;
        fs::create_dir(&directory).at(&directory)?;
        fs::create_dir(directory.join("containers")).at(&directory)?;
        if !config.log_directory.is_empty() {
            fs::create_dir_all(&config.log_directory).at(config.log_directory.as_ref())?;
        }
        let sandbox = Arc::new(Sandbox {
            id: id.clone(),
            directory: directory.clone(),
            config: Mutex::new(config.clone()),
            runtime_handler: handler.to_owned(),
            netns: pod.netns.clone(),
            shm: pod.shm.clone(),
            life: Mutex::new(Life {
                created_at: shim::now(),
                ..Life::default()
            }),
            shim: Mutex::new(None),
            busy: tokio::sync::Mutex::default(),
        });
        // On the disk before anything is made, so that a crash leaves nothing unknown.
        sandbox.life.lock().attached = pod.netns.is_some();
        sandbox.save().at(&directory)?;
        let mut effective = config.clone();
        if let Some(name) = &pod.hostname {
            effective.hostname.clone_from(name);
        }
        files::write(&directory, &effective, pod.netns.is_some()).at(&directory)?;
        self.sandboxes
            .write()
            .insert(id.clone(), Arc::clone(&sandbox));
        if let Err(error) = self.furnish(&sandbox, &pod).await {
            tracing::debug!(sandbox = id, %error, "sandbox failed, taking it down");
            if let Err(error) = self.remove_sandbox(&id).await {
                tracing::warn!(sandbox = id, %error, "failed sandbox cannot be taken down whole");
            }
            return Err(error);
        }
        self.announce(&sandbox, &id, v1::ContainerEventType::ContainerCreatedEvent);
        self.announce(&sandbox, &id, v1::ContainerEventType::ContainerStartedEvent);
        Ok(id)
    }

    async fn furnish(
        &self,
        sandbox: &Arc<Sandbox>,
        pod: &shim::spec::PodSpec,
    ) -> Result<(), RuntimeError> {
        shim::client::spawn(&self.config.shim, &sandbox.directory, pod)?;
        let client = ShimClient::connect(&sandbox.id, &sandbox.directory, self.news.clone())
            .at(&sandbox.directory)?;
        // Answered only once the namespaces are there.
        if let Err(error) = client.ask(Request::State).await {
            return Err(match error {
                ShimError::Gone(_) => RuntimeError::State(format!(
                    "the shim of sandbox {} ended: {}",
                    sandbox.id,
                    fs::read_to_string(sandbox.directory.join(shim::LOG_FILE))
                        .unwrap_or_default()
                        .trim()
                )),
                other => other.into(),
            });
        }
        *sandbox.shim.lock() = Some(client);
        if let Some(netns) = &sandbox.netns {
            let attachment =
                plan::attachment(&sandbox.id, &sandbox.config.lock().clone(), netns.clone())?;
            let attached = self.network.add(&attachment).await?;
            sandbox.life.lock().addresses = attached.addresses;
        }
        sandbox.life.lock().ready = true;
        sandbox.save().at(&sandbox.directory)
    }

    /// Ends everything in a sandbox and takes its network down. Fine when that has happened.
    pub async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let sandbox = self.sandbox(id)?;
        let _busy = sandbox.busy.lock().await;
        let was_ready = std::mem::replace(&mut sandbox.life.lock().ready, false);
        let containers = self.containers_of(&sandbox.id);
        let stops = containers.iter().map(|c| self.kill_container(c));
        for result in futures::future::join_all(stops).await {
            if let Err(error) = result {
                tracing::warn!(sandbox = sandbox.id, %error, "container does not end with its sandbox");
            }
        }
        let attached = sandbox.life.lock().attached;
        if let (Some(netns), true) = (&sandbox.netns, attached) {
            let attachment =
                plan::attachment(&sandbox.id, &sandbox.config.lock().clone(), netns.clone())?;
            self.network.del(&attachment).await?;
            sandbox.life.lock().attached = false;
        }
        let shim = sandbox.shim.lock().take();
        if let Some(shim) = shim {
            // A shim that has gone already has nothing left to end.
            if shim.tell(Request::Shutdown).await.is_ok() {
                shim.closed().await;
            }
        }
        shim::clean(sandbox.netns.as_deref(), sandbox.shm.as_deref());
        sandbox.save().at(&sandbox.directory)?;
        if was_ready {
            self.announce(
                &sandbox,
                &sandbox.id,
                v1::ContainerEventType::ContainerStoppedEvent,
            );
        }
        Ok(())
    }

    /// Stops and forgets a sandbox with its containers. Fine when there is none.
    pub async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let sandbox = match self.sandbox(id) {
            Ok(sandbox) => sandbox,
            Err(RuntimeError::NoSandbox(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        self.stop_sandbox(&sandbox.id).await?;
        for container in self.containers_of(&sandbox.id) {
            self.remove_container(&container.id).await?;
        }
        let _busy = sandbox.busy.lock().await;
        match fs::remove_dir_all(&sandbox.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at(&sandbox.directory);
            }
            _ => {}
        }
        self.sandboxes.write().remove(&sandbox.id);
        self.stats.forget(&sandbox.id);
        self.announce(
            &sandbox,
            &sandbox.id,
            v1::ContainerEventType::ContainerDeletedEvent,
        );
        Ok(())
    }

    /// Tells the listeners of container events.
    pub(crate) fn announce(&self, sandbox: &Sandbox, id: &str, kind: v1::ContainerEventType) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let event = v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: shim::now(),
            pod_sandbox_status: Some(self.sandbox_status(sandbox)),
            containers_statuses: self
                .containers_of(&sandbox.id)
                .iter()
                .map(|c| self.container_status(c))
                .collect(),
        };
        // Nobody listening any more is fine.
        let _ = self.events.send(event);
    }
}
