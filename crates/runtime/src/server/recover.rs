//! Finding everything again after a restart, and taking up what shims report.

use std::{
    fs,
    sync::{Arc, Weak},
};

use cri::v1;
use tokio::sync::mpsc;

use super::{At, Runtime, RuntimeError};
use crate::{
    container::record::{Container, Failure},
    sandbox::record::Sandbox,
    shim::{
        self,
        client::{News, ShimClient},
        protocol::{Event, Reply, Request},
        spec::Exit,
    },
};

impl Runtime {
    /// Reads the state directory and connects to every shim that lives.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let path = self.config.state_dir.join("sandboxes");
        for entry in fs::read_dir(&path).at(&path)?.flatten() {
            let directory = entry.path();
            let Some(sandbox) = Sandbox::load(&directory) else {
                // A crash came before its record: nothing else of it can exist.
                let _ = fs::remove_dir_all(&directory);
                continue;
            };
            let sandbox = Arc::new(sandbox);
            let containers = directory.join("containers");
            for entry in fs::read_dir(&containers).into_iter().flatten().flatten() {
                match Container::load(&entry.path()) {
                    Some(container) => {
                        self.containers
                            .write()
                            .insert(container.id.clone(), Arc::new(container));
                    }
                    None => drop(crate::images::remove_tree(&entry.path())),
                }
            }
            self.sandboxes
                .write()
                .insert(sandbox.id.clone(), Arc::clone(&sandbox));
            self.reconnect(&sandbox).await;
        }
        self.sweep()
    }

    async fn reconnect(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        if let Ok(client) = ShimClient::connect(&sandbox.id, &sandbox.directory, self.news.clone())
            && let Ok((Reply::State(state), _)) = client.ask(Request::State).await
        {
            for (id, known) in state.containers {
                let Ok(container) = self.container(&id) else {
                    continue;
                };
                container.life.send_modify(|life| {
                    life.started = Some(known.started.into());
                    life.exit = life.exit.take().or(known.exit);
                });
                if let Err(error) = container.save() {
                    tracing::warn!(container = id, %error, "state not saved");
                }
            }
            *sandbox.shim.lock() = Some(client);
            return;
        }
        self.lost(sandbox);
    }

    /// Removes what belongs to no container: left by a crash during creation or removal.
    fn sweep(&self) -> Result<(), RuntimeError> {
        let known = |id: &str| self.containers.read().contains_key(id);
        let path = self.config.root.join("containers");
        for entry in fs::read_dir(&path).at(&path)?.flatten() {
            if !known(&entry.file_name().to_string_lossy()) {
                let _ = crate::images::remove_tree(&entry.path());
            }
        }
        for id in self.images.holders()? {
            if !known(&id) {
                self.images.release(&id)?;
            }
        }
        Ok(())
    }

    /// A sandbox's shim is gone: what it held cannot go on.
    fn lost(&self, sandbox: &Arc<Sandbox>) {
        sandbox.shim.lock().take();
        let was_ready = std::mem::replace(&mut sandbox.life.lock().ready, false);
        for container in self.containers_of(&sandbox.id) {
            if !container.is_running() {
                continue;
            }
            shim::cgroup::signal_all(&self.hierarchies, &container.cgroup, libc::SIGKILL);
            // The shim may still have seen the end.
            let record = fs::read(container.directory.join(shim::EXIT_FILE)).ok();
            let seen = record.and_then(|text| serde_json::from_slice::<Exit>(&text).ok());
            let failure = seen.is_none().then(|| Failure {
                reason: "ContainerStatusUnknown".into(),
                message: "the process holding the pod ended unexpectedly".into(),
            });
            let exit = seen.unwrap_or_else(|| Exit {
                code: 137,
                signal: Some(libc::SIGKILL),
                oom_killed: false,
                at: shim::now(),
            });
            self.ended(sandbox, &container.id, exit, failure);
        }
        if let Err(error) = sandbox.save() {
            tracing::warn!(sandbox = sandbox.id, %error, "state not saved");
        }
        if was_ready {
            self.announce(
                sandbox,
                &sandbox.id,
                v1::ContainerEventType::ContainerStoppedEvent,
            );
        }
    }

    fn ended(&self, sandbox: &Sandbox, id: &str, exit: Exit, failure: Option<Failure>) {
        let Ok(container) = self.container(id) else {
            return;
        };
        let mut started = false;
        container.life.send_modify(|life| {
            life.exit.get_or_insert(exit);
            life.failure = life.failure.take().or(failure);
            started = life.started.is_some();
        });
        if let Err(error) = container.save() {
            tracing::warn!(container = id, %error, "state not saved");
        }
        if started {
            self.announce(sandbox, id, v1::ContainerEventType::ContainerStoppedEvent);
        }
    }

    fn take(&self, sandbox: &str, news: News) {
        let Ok(sandbox) = self.sandbox(sandbox) else {
            return;
        };
        match news {
            News::Event(Event::Exited(id, exit)) => self.ended(&sandbox, &id, exit, None),
            News::Event(Event::ExecExited(number, exit)) => {
                if let Some(waiting) = self.execs.lock().remove(&number) {
                    // Whoever asked may have given up.
                    let _ = waiting.send(exit);
                }
            }
            // A sandbox that was stopped on purpose has let go of its connection before.
            News::Gone => {
                if sandbox.shim().is_some() {
                    tracing::warn!(sandbox = sandbox.id, "shim ended unexpectedly");
                    self.lost(&sandbox);
                }
            }
        }
    }
}

/// Takes up news for as long as the runtime exists.
pub(super) async fn listen(
    runtime: Weak<Runtime>,
    mut news: mpsc::UnboundedReceiver<(String, News)>,
) {
    while let Some((sandbox, item)) = news.recv().await {
        match runtime.upgrade() {
            Some(runtime) => runtime.take(&sandbox, item),
            None => return,
        }
    }
}
