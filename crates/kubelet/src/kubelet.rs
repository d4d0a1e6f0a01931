//! One kubelet, put together.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use client::events::EventType;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::RwLock;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::Agent,
    config::Config,
    metrics::Metrics,
    node::{self, conditions::Pressure, machine::Machine},
    pods::{cgroups::Cgroups, manager::Pods},
    runtime_client::{ConnectError, RuntimeClient},
    server,
    volumes::{self, VolumeError},
};

/// How long the parts may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A kubelet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The runtime's socket.
    #[error(transparent)]
    Runtime(#[from] ConnectError),
    /// A directory.
    #[error("kubelet directory {path}: {source}")]
    Directory {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The volumes' tmpfs.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The pods' cgroups.
    #[error(transparent)]
    Cgroup(#[from] crate::pods::cgroups::CgroupError),
    /// The server's port.
    #[error("kubelet server cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server's certificates.
    #[error(transparent)]
    Tls(#[from] server::tls::TlsError),
}

/// The agent of one node.
pub struct Kubelet {
    agent: Arc<Agent>,
}

impl Kubelet {
    /// Puts a kubelet together on the machine's own clock. Must be called within a tokio runtime.
    pub fn new(config: Config) -> Result<Self, KubeletError> {
        let context = client::Context::new(config.client.clone(), "kubelet");
        Self::with_context(config, context)
    }

    /// As [`Self::new`], with given clock, randomness and caches.
    pub fn with_context(config: Config, context: client::Context) -> Result<Self, KubeletError> {
        for path in [&config.root_dir, &config.pod_logs_dir] {
            std::fs::create_dir_all(path).map_err(|source| KubeletError::Directory {
                path: path.clone(),
                source,
            })?;
        }
        volumes::mount_memory(&config.root_dir)?;
        let cgroups = Cgroups::detect(&config.cgroup_mount, &config.cgroup_root);
        cgroups.set_up()?;
        let metrics = Metrics::default();
        context
            .metrics
            .register(|registry| metrics.register(registry));
        let primary = config.node_ip.unwrap_or_else(node::primary_address);
        let selector = format!("spec.nodeName={}", config.node_name);
        let pods = context
            .informers
            .get::<Pod>(client::Scope::Fields(selector));
        let services = context.informers.get::<Service>(client::Scope::All);
        let agent = Agent {
            recorder: context.recorder.with_host(&config.node_name),
            runtime: RuntimeClient::new(&config.cri_socket)?,
            runtime_name: OnceLock::new(),
            machine: Machine::detect(&config.root_dir),
            host_ips: RwLock::new(vec![primary]),
            node: watch::Sender::new(None),
            pods,
            services,
            pulls: Arc::new(Semaphore::new(config.parallel_pulls.max(1))),
            cgroups,
            metrics,
            context,
            config,
        };
        Ok(Self {
            agent: Arc::new(agent),
        })
    }

    /// Runs until shutdown; containers go on without it.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), KubeletError>> {
        Box::pin(async move {
            let agent = self.agent;
            let pods = Arc::new(Pods::new(agent.clone()));
            let mut port = i32::from(agent.config.listen.port());
            let mut tasks = tokio::task::JoinSet::new();
            if let Some(tls) = &agent.config.tls {
                let address = agent.config.listen;
                let acceptor = server::tls::acceptor(tls)?;
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|source| KubeletError::Listen { address, source })?;
                port = listener.local_addr().map_or(port, |a| i32::from(a.port()));
                tasks.spawn(server::serve(
                    listener,
                    acceptor,
                    server::App::new(agent.clone(), pods.clone()),
                    shutdown.clone(),
                ));
            }
            agent.node_event(EventType::Normal, "Starting", "Starting kubelet.");
            let (pressure_in, pressure) = watch::channel(Pressure::default());
            tasks.spawn(node::run(agent.clone(), port, pressure, shutdown.clone()));
            tasks.spawn(crate::housekeeping::run(
                agent.clone(),
                pods.clone(),
                pressure_in,
                shutdown.clone(),
            ));
            tasks.spawn(pods.run(shutdown.clone()));
            shutdown.cancelled().await;
            let ended = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(PATIENCE, ended).await.is_err() {
                // A call to a runtime or an API that hangs is not waited for.
                tasks.abort_all();
            }
            volumes::unmount_memory(&agent.config.root_dir);
            Ok(())
        })
    }
}
