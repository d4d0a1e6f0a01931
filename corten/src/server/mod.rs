//! `corten server`: a whole cluster on one machine.
//!
//! Order of the start, chosen so that whatever can fail for a reason the user can mend fails first
//! and leaves nothing behind: settings, the data directory's lock, the ports; then keys and the
//! store; then, at the same time, the control plane and the node's runtime and network; then the
//! kubelet, whose registration makes the node.

mod address;
mod control_plane;
mod identities;
pub mod node;
mod report;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use api::clock::{Clock as _, SystemClock};
use clap::ValueEnum as _;
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::address::Addresses;
pub use self::address::{cgroup_root, instance};
use self::{identities::Identities, report::Report};
use crate::{
    lock,
    networks::node_networks,
    settings::cluster::{Part, ServerSettings},
};

/// How long parts have to end once they are told to.
const DRAIN: Duration = Duration::from_secs(9);

/// What every part of the process is given.
pub struct Process {
    /// What the user decided.
    pub settings: ServerSettings,
    /// The node's name and addresses, and the cluster's.
    pub addresses: Addresses,
    /// Ends everything.
    pub shutdown: CancellationToken,
    /// What runs.
    pub tasks: TaskTracker,
    /// What the user is told.
    pub report: Report,
    /// When it started, to the second, as times in objects are.
    pub started: Timestamp,
}

impl Process {
    /// Runs a part until shutdown; when it ends before, the whole server does, saying why.
    pub fn spawn<E: std::fmt::Display>(
        self: &Arc<Self>,
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let process = self.clone();
        self.tasks.spawn(async move {
            let outcome = work.await;
            if process.shutdown.is_cancelled() {
                return;
            }
            match outcome {
                Ok(()) => process.report.failed(part, "ended unexpectedly"),
                Err(error) => process.report.failed(part, error),
            }
            process.shutdown.cancel();
        });
    }
}

/// The signals that end a process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Process {
    /// A process with these settings, in which nothing runs yet.
    pub fn new(settings: ServerSettings) -> Result<Process> {
        let addresses = Addresses::new(&settings)?;
        address::refuse_what_pods_cannot_have(&settings, &addresses)?;
        Ok(Process {
            addresses,
            settings,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            report: Report::new(),
            started: Timestamp::from_second(SystemClock.now().as_second())?,
        })
    }

    /// Tells once what this machine lacks.
    pub fn note_lacks(&self) {
        for missing in address::machine_lacks() {
            self.report.note(&missing);
        }
    }

    /// Starts, and runs until a signal or until a part fails; then ends every part.
    pub async fn until_told(
        self: Arc<Self>,
        mut signals: Signals,
        start: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let started = tokio::select! {
            started = start => started,
            () = signals.received() => Ok(()),
        };
        if started.is_ok() {
            tokio::select! {
                () = signals.received() => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(left = self.tasks.len(), "parts were still busy at the end");
        }
        started?;
        match self.report.failure() {
            Some(failure) => bail!(failure),
            None => Ok(()),
        }
    }
}

/// Refuses to go on without root.
pub fn needs_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a node runs containers and needs root: use sudo, or leave the node out with --disable kubelet,proxy,dns"
        );
    }
    Ok(())
}

/// Runs the API server alone.
pub async fn apiserver(mut settings: ServerSettings) -> Result<()> {
    settings.disable = Part::value_variants().to_vec();
    run(settings).await
}

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub async fn run(settings: ServerSettings) -> Result<()> {
    let signals = Signals::new()?;
    if settings.runs(Part::Kubelet) {
        needs_root()?;
    }
    // What is wrong with the settings is said before anything is made.
    let addresses = Addresses::new(&settings)?;
    address::refuse_what_pods_cannot_have(&settings, &addresses)?;
    if settings.runs(Part::ControllerManager) {
        node_networks(&addresses.cluster_cidrs, settings.shares)?;
    }
    let data = settings.data.data_dir.clone();
    let _lock = lock::take(&data)?;
    let listener = bind(&settings).await?;
    let process = Arc::new(Process::new(settings)?);
    let started = start(&process, listener, &data);
    process.clone().until_told(signals, started).await
}

async fn bind(settings: &ServerSettings) -> Result<TcpListener> {
    let at = (settings.bind_address, settings.https_listen_port);
    let listener = TcpListener::bind(at).await.with_context(|| {
        format!(
            "cannot listen on {}:{} (choose another port with --https-listen-port)",
            at.0, at.1
        )
    })?;
    if settings.runs(Part::Kubelet) {
        // Only looks: the kubelet binds it later.
        TcpListener::bind((settings.bind_address, settings.kubelet_port))
            .await
            .with_context(|| {
                format!(
                    "cannot listen on {}:{} (choose another port with --kubelet-port)",
                    at.0, settings.kubelet_port
                )
            })?;
    }
    Ok(listener)
}

async fn start(process: &Arc<Process>, listener: TcpListener, data: &Path) -> Result<()> {
    for missing in address::machine_lacks() {
        process.report.note(&missing);
    }
    if process.settings.runs(Part::Kubelet)
        && let Some(short) =
            kubelet::housekeeping::disk_pressure(data, &kubelet::EvictionThresholds::default())
    {
        process.report.note(&short);
    }
    let identities = Identities::ensure(process).await?;
    let (control_plane, prepared) = tokio::try_join!(
        control_plane::start(process, &identities, listener),
        node::prepare(process),
    )?;
    if let Some(prepared) = prepared {
        let access = node::Access::of_server(process, &identities, &control_plane)?;
        node::start(process, access, prepared).await?;
        process
            .report
            .node_ready(&process.addresses.node_name, data);
    } else {
        process.report.serving(data);
    }
    Ok(())
}
