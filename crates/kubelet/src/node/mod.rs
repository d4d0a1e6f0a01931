//! The node: its object in the API, its status, its heartbeat.

mod addresses;
pub mod conditions;
mod heartbeat;
pub mod machine;
mod registration;
mod status;

use std::{sync::Arc, time::Duration};

use client::{Change, Scope};
use cri::v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use conditions::Pressure;

pub use addresses::primary as primary_address;

/// The status is written at least this often, changed or not.
const REPORT: SignedDuration = SignedDuration::from_mins(5);
/// Looks at the runtime: often while it is not ready, then together with the heartbeat.
const LOOK_EAGER: Duration = Duration::from_millis(50);
const LOOK_EAGER_MOST: Duration = Duration::from_secs(1);
const LOOK_CALM: Duration = Duration::from_secs(10);

/// What the node says of its runtime.
#[derive(Clone, Debug, Default, PartialEq)]
struct Runtime {
    version: v1::VersionResponse,
    status: Option<v1::StatusResponse>,
    images: Vec<v1::Image>,
    error: Option<String>,
}

/// Keeps the Node object until shutdown.
pub async fn run(
    agent: Arc<Agent>,
    server_port: i32,
    pressure: watch::Receiver<Pressure>,
    shutdown: CancellationToken,
) {
    let heart = tokio::spawn(heartbeat::run(agent.clone(), shutdown.clone()));
    let keeper = Keeper {
        agent,
        server_port,
        pressure,
        runtime: Runtime::default(),
        sent: None,
        sent_at: Timestamp::UNIX_EPOCH,
        pod_cidr: None,
        failures: 0,
    };
    keeper.run(shutdown).await;
    heart.abort();
}

struct Keeper {
    agent: Arc<Agent>,
    server_port: i32,
    pressure: watch::Receiver<Pressure>,
    runtime: Runtime,
    sent: Option<NodeStatus>,
    sent_at: Timestamp,
    pod_cidr: Option<String>,
    failures: u32,
}

impl Keeper {
    async fn run(mut self, shutdown: CancellationToken) {
        let selector = format!("metadata.name={}", self.agent.config.node_name);
        let mut eager = LOOK_EAGER;
        self.look().await;
        let mut registered = tokio::select! {
            () = shutdown.cancelled() => return,
            node = self.register() => node,
        };
        let informer = self
            .agent
            .context
            .informers
            .get::<Node>(Scope::Fields(selector));
        let mut changes = informer.subscribe();
        loop {
            if let Some(node) = registered.take() {
                self.seen(node).await;
            }
            self.report().await;
            let ready = self.sent.as_ref().is_some_and(conditions::is_ready);
            let pause = if ready && self.failures == 0 {
                eager = LOOK_EAGER;
                LOOK_CALM
            } else {
                let pause = eager;
                eager = (eager * 2).min(LOOK_EAGER_MOST);
                pause
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.next() => match change {
                    Change::Applied { new, .. } => {
                        eager = LOOK_EAGER;
                        registered = Some(new);
                    }
                    Change::Deleted(_) => {
                        // Somebody deleted the node under its agent: it comes back.
                        self.sent = None;
                        registered = tokio::select! {
                            () = shutdown.cancelled() => return,
                            node = self.register() => node,
                        };
                    }
                },
                Ok(()) = self.pressure.changed() => {}
                () = tokio::time::sleep(pause) => self.look().await,
            }
        }
    }

    /// Registers, however often it takes.
    async fn register(&mut self) -> Option<Arc<Node>> {
        let mut wait = LOOK_EAGER;
        loop {
            let status = self.status();
            match registration::register(&self.agent, status.clone()).await {
                Ok(node) => {
                    self.sent = node.status.clone();
                    return Some(Arc::new(node));
                }
                Err(error) => tracing::info!(%error, "the node is not registered yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOK_EAGER_MOST);
            self.look().await;
        }
    }

    /// Takes in the API's Node.
    async fn seen(&mut self, node: Arc<Node>) {
        let cidr = node
            .spec
            .as_ref()
            .and_then(|s| match s.pod_cidrs.as_deref() {
                Some(list) if !list.is_empty() => Some(list.join(",")),
                _ => s.pod_cidr.clone(),
            })
            .filter(|cidr| !cidr.is_empty());
        self.agent.node.send_replace(Some(node));
        if cidr.is_none() || cidr == self.pod_cidr {
            return;
        }
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig {
                network_config: Some(v1::NetworkConfig {
                    pod_cidr: cidr.clone().unwrap_or_default(),
                }),
            }),
        };
        match self.agent.runtime.update_runtime_config(request).await {
            Ok(_) => {
                self.pod_cidr = cidr;
                // The network may be ready now.
                self.look().await;
            }
            Err(error) => tracing::warn!(%error, "the runtime does not take the pod addresses"),
        }
    }

    /// Looks at the runtime.
    async fn look(&mut self) {
        let runtime = &self.agent.runtime;
        let result = async {
            if self.runtime.version.runtime_name.is_empty() {
                self.runtime.version = runtime.version(v1::VersionRequest::default()).await?;
                let _ = self
                    .agent
                    .runtime_name
                    .set(self.runtime.version.runtime_name.clone());
            }
            let status = runtime.status(v1::StatusRequest::default()).await?;
            let images = runtime
                .list_images(v1::ListImagesRequest::default())
                .await?
                .images;
            Ok::<_, crate::runtime_client::RuntimeError>((status, images))
        }
        .await;
        match result {
            Ok((status, images)) => {
                self.runtime.status = Some(status);
                self.runtime.images = images;
                self.runtime.error = None;
            }
            Err(error) => {
                self.runtime.status = None;
                self.runtime.error = Some(error.to_string());
            }
        }
        if self.pod_cidr.is_some() && self.runtime.error.is_some() {
            // A runtime that was away is told again.
            self.pod_cidr = None;
        }
    }

    fn status(&self) -> NodeStatus {
        status::generate(&status::Input {
            agent: &self.agent,
            runtime: &self.runtime,
            server_port: self.server_port,
            pressure: *self.pressure.borrow(),
            previous: self.sent.as_ref(),
        })
    }

    /// Writes the status if it changed or is old.
    async fn report(&mut self) {
        let now = self.agent.now();
        let status = self.status();
        let old = now.duration_since(self.sent_at) >= REPORT;
        let same = self
            .sent
            .as_ref()
            .is_some_and(|sent| status::same(sent, &status));
        if same && !old {
            return;
        }
        let was_ready = self.sent.as_ref().map(conditions::is_ready);
        match registration::report(&self.agent, &status).await {
            Ok(()) => {
                let ready = conditions::is_ready(&status);
                conditions::tell(&self.agent, was_ready, ready);
                self.sent = Some(status);
                self.sent_at = now;
                self.failures = 0;
            }
            Err(error) => {
                self.failures += 1;
                tracing::info!(%error, "the node's status is not written");
            }
        }
    }
}
