//! `bench pods`: pods from creation to Ready, one by one and fifty at once, and what one costs in
//! memory beside its own processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::endpoint::Access;
use crate::proc;
use crate::table::{Table, percentile};

/// How long a pod, or the whole burst, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The pods' image, which must be present on the node
    #[arg(long, default_value = "corten.local/tools")]
    image: String,
    /// What the container runs
    #[arg(long, default_values_t = ["sleep".to_owned(), "3600".to_owned()], num_args = 1..)]
    args: Vec<String>,
    /// Pods one after the other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=500))]
    serial: u64,
    /// Replicas of the Deployment
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=200))]
    burst: i32,
    /// The server's process: with it, memory per pod is what all processes of its program use
    /// more while the Deployment runs
    #[arg(long)]
    pid: Option<u32>,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::try_from(arguments.access.config().await?)?;
        let name = format!("bench-{}", std::process::id());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await?;
        let mut table = Table::default();
        let result = measure(arguments, &client, &name, &mut table).await;
        // Also after a failure; the namespace takes the rest with it
        let removed = namespaces.delete(&name, &DeleteParams::default()).await;
        table.print();
        result?;
        removed.context("cannot remove the namespace")?;
        Ok(())
    })
}

async fn measure(
    arguments: &Arguments,
    client: &Client,
    namespace: &str,
    table: &mut Table,
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut times = Vec::new();
    for n in 0..arguments.serial {
        let name = format!("serial-{n}");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": spec(arguments),
        }))?;
        let start = Instant::now();
        let made = pods.create(&PostParams::default(), &pod).await?;
        let revision = made
            .metadata
            .resource_version
            .context("a pod without revision")?;
        ready(&pods, &revision, 1).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        pods.delete(&name, &now).await?;
    }
    table.budgeted(
        "pod create to Ready, p50",
        percentile(&mut times, 0.5),
        100.0,
        "ms",
    );
    table.plain(
        "pod create to Ready, p99",
        percentile(&mut times, 0.99),
        "ms",
    );
    burst(arguments, client, namespace, table).await
}

fn spec(arguments: &Arguments) -> serde_json::Value {
    json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "main",
            "image": arguments.image,
            "imagePullPolicy": "IfNotPresent",
            "args": arguments.args,
        }],
    })
}

async fn burst(
    arguments: &Arguments,
    client: &Client,
    namespace: &str,
    table: &mut Table,
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let labels = json!({"app": "burst"});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "burst"},
        "spec": {
            "replicas": arguments.burst,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec(arguments)},
        },
    }))?;
    let before = arguments.pid.map(memory).transpose()?;
    let start = Instant::now();
    let made = deployments
        .create(&PostParams::default(), &deployment)
        .await?;
    let revision = made
        .metadata
        .resource_version
        .context("a Deployment without revision")?;
    ready(&pods, &revision, usize::try_from(arguments.burst)?).await?;
    let took = start.elapsed().as_secs_f64();
    let what = format!("Deployment of {}, create to all Ready", arguments.burst);
    table.budgeted(
        &what,
        took,
        1.5 * f64::from(arguments.burst.max(50)) / 50.0,
        "s",
    );
    if let (Some(pid), Some(before)) = (arguments.pid, before) {
        let each = (memory(pid)? - before) / f64::from(arguments.burst);
        table.budgeted(
            "memory per pod beside its own processes (PSS)",
            each,
            1.5,
            "MB",
        );
    }
    Ok(())
}

fn memory(server: u32) -> Result<f64> {
    Ok(proc::memory(&proc::same_program(server)?)?.pss)
}

/// Waits until so many pods have become Ready since a revision.
async fn ready(pods: &Api<Pod>, revision: &str, count: usize) -> Result<()> {
    let params = WatchParams::default();
    let watch = async {
        let mut events = pods.watch(&params, revision).await?.boxed();
        let mut ready = BTreeMap::new();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    let is = is_ready(&pod);
                    ready.insert(pod.metadata.name, is);
                }
                WatchEvent::Error(status) => bail!("the watch failed: {}", status.message),
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            }
            if ready.values().filter(|ready| **ready).count() >= count {
                return Ok(());
            }
        }
        bail!("the watch ended early")
    };
    let waited = tokio::time::timeout(PATIENCE, watch).await;
    waited.with_context(|| format!("{count} pods were not Ready in {PATIENCE:?}"))?
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}
