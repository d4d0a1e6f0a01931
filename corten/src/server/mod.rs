//! `corten server`: a whole cluster on one machine.
//!
//! Order of the start, chosen so that whatever can fail for a reason the user can mend fails first
//! and leaves nothing behind: settings, the data directory's lock, the ports; then keys and the
//! store; then, at the same time, the control plane and the node's runtime and network; then the
//! kubelet, whose registration makes the node.

mod address;
mod control_plane;
mod identities;
mod node;
mod report;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use api::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::address::{cgroup_root, instance};
use self::{address::Addresses, identities::Identities, report::Report};
use crate::{
    lock,
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

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub async fn run(settings: ServerSettings) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if settings.runs(Part::Kubelet) && !rustix::process::geteuid().is_root() {
        bail!(
            "a node runs containers and needs root: use sudo, or leave the node out with --disable kubelet,proxy,dns"
        );
    }
    let addresses = Addresses::new(&settings)?;
    let data = settings.data.data_dir.clone();
    let _lock = lock::take(&data)?;
    let listener = bind(&settings).await?;
    let process = Arc::new(Process {
        settings,
        addresses,
        shutdown: CancellationToken::new(),
        tasks: TaskTracker::new(),
        report: Report::new(),
        started: Timestamp::from_second(SystemClock.now().as_second())?,
    });
    let started = tokio::select! {
        started = start(&process, listener, &data) => started,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if started.is_ok() {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = process.shutdown.cancelled() => {}
        }
    }
    process.shutdown.cancel();
    process.tasks.close();
    if tokio::time::timeout(DRAIN, process.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            left = process.tasks.len(),
            "parts were still busy at the end"
        );
    }
    started?;
    match process.report.failure() {
        Some(failure) => bail!(failure),
        None => Ok(()),
    }
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
        node::start(process, &identities, &control_plane, prepared).await?;
        process
            .report
            .node_ready(&process.addresses.node_name, data);
    } else {
        process.report.serving(data);
    }
    Ok(())
}
