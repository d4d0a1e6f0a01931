//! `bench schedule`: how fast pods are bound to nodes, durably, in the variants of the budgets.
//!
//! Two ways. With a kubeconfig, against any cluster: nodes are registered and kept alive without
//! kubelets, pods are created as fast as the server takes them while its scheduler works. With
//! `--in-process DIR`, store, API server and scheduler run in this process and the pods are there
//! before the scheduler starts, so that binding alone is measured. A pod counts as bound when the
//! watch says so: after its binding is durable.

mod cluster;
mod objects;
mod workloads;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use crate::endpoint::Access;
use crate::proc;
use crate::table::Table;
use cluster::Cluster;
use objects::Variant;

/// No phase may take longer.
const PHASE: Duration = Duration::from_secs(400);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Instead of a cluster: run store, API server and scheduler in this process, with data in this
    /// (new) folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "server"])]
    in_process: Option<PathBuf>,
    /// A process of the control plane, whose CPU time and memory are counted; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
    /// Nodes that are registered
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    nodes: u32,
    /// Pods of each variant
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    pods: u64,
    /// Only these variants
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Variant::Plain, Variant::ZoneSpread, Variant::AntiAffinity, Variant::Unschedulable, Variant::Preemption])]
    only: Vec<Variant>,
    /// Creations under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=512))]
    concurrency: u64,
    /// Run simulated kubelets in this process too, which report the pods Running
    #[arg(long)]
    kubelets: bool,
}

/// One variant's figures.
struct Figures {
    created: Duration,
    first: Duration,
    last: Duration,
    bound: u64,
    cpu_ms: Option<f64>,
    rss: Option<f64>,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut table = Table::default();
        let cluster = match &arguments.in_process {
            Some(dir) => Cluster::here(dir).await?,
            None => Cluster::remote(&arguments.access).await?,
        };
        let name = format!("bench-{}-", std::process::id());
        let _nodes = cluster
            .register(arguments.nodes, &name, arguments.kubelets)
            .await?;
        let mut result = Ok(());
        for variant in &arguments.only {
            result = measure(arguments, &cluster, &name, *variant, &mut table).await;
            if result.is_err() {
                break;
            }
        }
        cluster.remove_nodes(arguments.nodes, &name).await;
        table.print();
        result
    })
}

async fn measure(
    arguments: &Arguments,
    cluster: &Cluster,
    name: &str,
    variant: Variant,
    table: &mut Table,
) -> Result<()> {
    let namespace = format!("{name}{}", variant.name());
    cluster.namespace(&namespace).await?;
    for class in objects::priority_classes() {
        cluster
            .ensure("/apis/scheduling.k8s.io/v1/priorityclasses", &class)
            .await?;
    }
    let done = match variant {
        Variant::Rollout => workloads::rollout(arguments, cluster, &namespace, table).await,
        Variant::Removal => {
            return workloads::removal(arguments, cluster, &namespace, table).await;
        }
        Variant::Standing => {
            return workloads::standing(arguments, cluster, &namespace, table).await;
        }
        Variant::Idle => workloads::idle(arguments, table).await,
        _ => bindings(arguments, cluster, &namespace, variant, table).await,
    };
    done.and(cluster.remove_namespace(&namespace).await)
}

/// A variant that is measured by when its pods are bound.
async fn bindings(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    variant: Variant,
    table: &mut Table,
) -> Result<()> {
    let figures = async {
        if variant == Variant::Preemption {
            let fill = u64::from(arguments.nodes) * objects::FILL;
            let start = cluster.start_scheduler().await?;
            create_and_wait(arguments, cluster, namespace, fill, fill, objects::filler)
                .await
                .context("the less important pods")?;
            drop(start);
        }
        variant_run(arguments, cluster, namespace, variant).await
    }
    .await;
    report(arguments, variant, figures?, table);
    Ok(())
}

/// Creates pods and waits until so many more are bound than before.
async fn create_and_wait(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    pods: u64,
    wanted: u64,
    object: impl Fn(u64) -> Value,
) -> Result<(Duration, Duration, Duration, u64)> {
    let mut bound = cluster.bound(namespace).await?;
    let start = Instant::now();
    let creating = async {
        create(arguments, cluster, namespace, pods, object).await?;
        anyhow::Ok(start.elapsed())
    };
    let waiting = async {
        let (mut count, mut first) = (0, None);
        while count < wanted {
            count += bound.more().await?;
            if count > 0 {
                first.get_or_insert_with(|| start.elapsed());
            }
        }
        anyhow::Ok((first.unwrap_or_default(), start.elapsed(), count))
    };
    let both = async { tokio::try_join!(creating, waiting) };
    let (created, (first, last, count)) = tokio::time::timeout(PHASE, both)
        .await
        .with_context(|| format!("{wanted} pods were not bound in {PHASE:?}"))??;
    Ok((created, first, last, count))
}

async fn create(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    pods: u64,
    object: impl Fn(u64) -> Value,
) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let bodies = (0..pods).map(|n| Bytes::from(object(n).to_string()));
    let concurrency = usize::try_from(arguments.concurrency)?;
    let mut writes = futures::stream::iter(bodies)
        .map(|body| {
            let path = &path;
            async move { cluster.post(path, &body).await }
        })
        .buffer_unordered(concurrency);
    while let Some(outcome) = writes.next().await {
        outcome?;
    }
    Ok(())
}

async fn variant_run(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    variant: Variant,
) -> Result<Figures> {
    let wanted = variant.bound(arguments.pods);
    let object = |n| variant.pod(n);
    let pids = match cluster.is_here() {
        true => vec![std::process::id()],
        false => arguments.pid.clone(),
    };
    let cpu =
        || -> Result<Option<f64>> { (!pids.is_empty()).then(|| proc::cpu_ms(&pids)).transpose() };
    let (created, first, last, bound, used) = if cluster.is_here() && variant.ahead() {
        let start = Instant::now();
        create(arguments, cluster, namespace, arguments.pods, object).await?;
        let created = start.elapsed();
        let before = cpu()?;
        let mut seen = cluster.bound(namespace).await?;
        let _scheduler = cluster.start_scheduler().await?;
        let start = Instant::now();
        let (mut count, mut first) = (0, None);
        while count < wanted {
            count += tokio::time::timeout(PHASE, seen.more())
                .await
                .context("no pod was bound for long")??;
            first.get_or_insert_with(|| start.elapsed());
        }
        let used = cpu()?.zip(before).map(|(after, before)| after - before);
        (
            created,
            first.unwrap_or_default(),
            start.elapsed(),
            count,
            used,
        )
    } else {
        let _scheduler = cluster.start_scheduler().await?;
        let before = cpu()?;
        let (created, first, last, count) = match variant {
            Variant::Deployment => deployment(arguments, cluster, namespace).await?,
            _ => {
                create_and_wait(
                    arguments,
                    cluster,
                    namespace,
                    arguments.pods,
                    wanted,
                    object,
                )
                .await?
            }
        };
        let used = cpu()?.zip(before).map(|(after, before)| after - before);
        (created, first, last, count, used)
    };
    ensure!(bound >= wanted, "{bound} of {wanted} pods were bound");
    let rss = match pids.is_empty() {
        true => None,
        false => Some(proc::memory(&pids)?.rss),
    };
    Ok(Figures {
        created,
        first,
        last,
        bound,
        cpu_ms: used,
        rss,
    })
}

/// Creates a Deployment and waits until its pods are bound.
async fn deployment(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
) -> Result<(Duration, Duration, Duration, u64)> {
    let mut bound = cluster.bound(namespace).await?;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let body = Bytes::from(Variant::deployment(arguments.pods).to_string());
    let start = Instant::now();
    cluster.post(&path, &body).await?;
    let (created, mut first, mut count) = (start.elapsed(), None, 0);
    while count < arguments.pods {
        count += tokio::time::timeout(PHASE, bound.more())
            .await
            .context("no pod was bound for long")??;
        first.get_or_insert_with(|| start.elapsed());
    }
    Ok((created, first.unwrap_or_default(), start.elapsed(), count))
}

fn report(arguments: &Arguments, variant: Variant, figures: Figures, table: &mut Table) {
    let (pods, nodes) = (arguments.pods, arguments.nodes);
    let what = format!("{pods} pods on {nodes} nodes, {}", variant.name());
    let rate = |time: Duration| figures.bound as f64 / time.as_secs_f64().max(1e-3);
    table.least(
        &format!("{what}: first to last binding"),
        rate(figures.last.saturating_sub(figures.first)),
        variant.budget(),
        "pods/s",
    );
    table.plain(
        "  from the start (creations, or the scheduler's start)",
        rate(figures.last),
        "pods/s",
    );
    table.plain("  creations took", figures.created.as_secs_f64(), "s");
    if let Some(cpu) = figures.cpu_ms {
        table.plain(
            "  CPU of the measured processes per pod",
            cpu / figures.bound as f64,
            "ms",
        );
    }
    if let Some(rss) = figures.rss {
        table.plain("  their memory afterwards (RSS)", rss, "MB");
    }
}
