//! A part run alone, against the API of a kubeconfig. Several of the same part elect the one that
//! works, by Lease.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use client::{Context, Fence, election};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{ControllerSettings, PartSettings, SchedulerSettings};
use crate::{introspection, networks};

/// Runs the scheduler.
pub async fn scheduler(settings: SchedulerSettings) -> Result<()> {
    let configuration = scheduler_configuration(settings.config.as_deref())?;
    let candidate = connect(&settings.part, "default-scheduler").await?;
    lead(
        &settings.part,
        candidate,
        "kube-scheduler",
        |context, shutdown| async move {
            scheduler::run_with(context, configuration, shutdown).await;
            Ok(())
        },
    )
    .await
}

/// What the scheduler's configuration file says; the defaults where there is none.
pub fn scheduler_configuration(file: Option<&Path>) -> Result<scheduler::Configuration> {
    let Some(path) = file else {
        return Ok(scheduler::Configuration::default());
    };
    let text = fs::read_to_string(path)
        .with_context(|| format!("the scheduler's configuration {}", path.display()))?;
    scheduler::parse_configuration(&text)
        .with_context(|| format!("the scheduler's configuration {}", path.display()))
}

/// Runs the controllers.
pub async fn controller_manager(settings: ControllerSettings) -> Result<()> {
    let candidate = connect(&settings.part, "kube-controller-manager").await?;
    let root_ca_pem = fs::read_to_string(&settings.root_ca_file)
        .with_context(|| format!("--root-ca-file {}", settings.root_ca_file.display()))?;
    let networks = networks::pod_networks(&settings.cluster_cidr)?;
    let node_networks = networks::node_networks(&networks, settings.shares)?;
    lead(
        &settings.part,
        candidate,
        "kube-controller-manager",
        |context, shutdown| async move {
            let client = context.client.clone();
            let config = controllers::Config {
                context,
                clients: Arc::new(move |_| client.clone()),
                node_networks,
                root_ca_pem,
                signer: None,
                load_balancer_reserved_ports: None,
                workers: 5,
                disabled: Vec::new(),
            };
            Ok(controllers::run(config, shutdown).await?)
        },
    )
    .await
}

/// Who may come to lead.
struct Candidate {
    /// What the leader works with: it writes only while it leads.
    context: Context,
    fence: Fence,
    /// For the Lease.
    client: kube::Client,
}

async fn connect(settings: &PartSettings, component: &str) -> Result<Candidate> {
    let client = client::from_kubeconfig(&settings.kubeconfig)
        .await
        .with_context(|| format!("--kubeconfig {}", settings.kubeconfig.display()))?;
    let fence = Fence::default();
    Ok(Candidate {
        context: Context::new(fence.guard(client.clone()), component),
        fence,
        client,
    })
}

async fn lead<F, W>(
    settings: &PartSettings,
    candidate: Candidate,
    name: &str,
    work: F,
) -> Result<()>
where
    F: FnOnce(Context, CancellationToken) -> W + Send,
    W: Future<Output = Result<()>> + Send,
{
    let shutdown = CancellationToken::new();
    cancel_on_signal(&shutdown)?;
    let identity = match &settings.identity {
        Some(identity) => identity.clone(),
        None => format!(
            "{}_{}",
            rustix::system::uname().nodename().to_string_lossy(),
            std::process::id()
        ),
    };
    if let Some(address) = settings.metrics_address {
        introspection::listen(address, candidate.context.metrics.clone()).await?;
    }
    println!("{name}: standing for election as {identity}");
    let config = election::Config::new("kube-system", name, &identity);
    let Candidate {
        context,
        fence,
        client,
    } = candidate;
    let elector = election::LeaderElector::new(
        config,
        client,
        fence,
        context.clock.clone(),
        context.random.clone(),
        context.metrics.clone(),
    );
    let mut outcome = Ok(());
    let ended = elector.run(shutdown, |term| {
        let work = work(context.clone(), term);
        let outcome = &mut outcome;
        async move { *outcome = work.await }
    });
    // A process that lost its lease ends, and whoever started it starts it again with fresh state.
    if ended.await == election::Ended::Lost {
        bail!("{name}: another instance took the lease over, or the API could not be reached");
    }
    outcome
}

/// Cancels when the process is told to end.
pub fn cancel_on_signal(shutdown: &CancellationToken) -> Result<()> {
    let ended = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ended.cancel();
    });
    Ok(())
}
