//! What controllers and scheduler do together, against a cluster that has both: ten Deployments
//! rolled at once, a namespace deleted with all its pods, one Deployment that runs, stands and goes,
//! and then nothing at all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::json;

use super::{Arguments, PHASE, cluster::Cluster, create_and_wait, deployment, objects};
use crate::{proc, table::Table};

/// Deployments that are rolled at once.
const ROLLED: u64 = 10;
/// How long nothing is done.
const IDLE: Duration = Duration::from_secs(30);

/// CPU time and memory of the control plane over a step.
struct Meter<'a> {
    pids: &'a [u32],
    since: Instant,
    cpu_ms: f64,
}

impl<'a> Meter<'a> {
    fn start(pids: &'a [u32]) -> Result<Meter<'a>> {
        Ok(Meter {
            pids,
            since: Instant::now(),
            cpu_ms: cpu(pids)?,
        })
    }

    fn report(self, what: &str, table: &mut Table) -> Result<()> {
        let took = self.since.elapsed();
        table.plain(what, took.as_secs_f64(), "s");
        if self.pids.is_empty() {
            return Ok(());
        }
        let used = cpu(self.pids)? - self.cpu_ms;
        table.plain("  CPU of the measured processes", used / 1000.0, "s");
        let share = used / 10.0 / took.as_secs_f64().max(1e-3);
        table.plain("  of one core", share, "%");
        let rss = proc::memory(self.pids)?.rss;
        table.plain("  their memory afterwards (RSS)", rss, "MB");
        Ok(())
    }
}

fn cpu(pids: &[u32]) -> Result<f64> {
    match pids.is_empty() {
        true => Ok(0.0),
        false => proc::cpu_ms(pids),
    }
}

fn name(index: u64) -> String {
    format!("rolled-{index}")
}

/// Waits until every Deployment has all its pods available and none of an older kind.
async fn all_rolled(api: &Api<Deployment>, wanted: i32) -> Result<()> {
    let waiting = (0..ROLLED).map(|index| async move {
        let done = |deployment: Option<&Deployment>| {
            deployment.is_some_and(|deployment| {
                let status = deployment.status.clone().unwrap_or_default();
                status.observed_generation == deployment.metadata.generation
                    && status.updated_replicas == Some(wanted)
                    && status.available_replicas == Some(wanted)
                    && status.replicas == Some(wanted)
            })
        };
        await_condition(api.clone(), &name(index), done).await
    });
    let all = futures::future::try_join_all(waiting);
    tokio::time::timeout(PHASE, all)
        .await
        .with_context(|| format!("the Deployments were not rolled out in {PHASE:?}"))??;
    Ok(())
}

/// Makes ten Deployments and gives all of them another template at once. Needs simulated kubelets.
pub async fn rollout(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    table: &mut Table,
) -> Result<()> {
    let each = arguments.pods.div_ceil(ROLLED);
    let api: Api<Deployment> = Api::namespaced(cluster.client().clone(), namespace);
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let meter = Meter::start(&arguments.pid)?;
    for index in 0..ROLLED {
        let mut object = objects::Variant::deployment(each);
        let app = name(index);
        object["metadata"]["name"] = json!(app);
        object["spec"]["selector"]["matchLabels"]["app"] = json!(app);
        object["spec"]["template"]["metadata"]["labels"]["app"] = json!(app);
        cluster
            .post(&path, &Bytes::from(object.to_string()))
            .await?;
    }
    let wanted = i32::try_from(each)?;
    all_rolled(&api, wanted).await?;
    let what = format!("{ROLLED} Deployments of {each}: creation to all available");
    meter.report(&what, table)?;
    let meter = Meter::start(&arguments.pid)?;
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"rolled": "once"}}}}});
    for index in 0..ROLLED {
        let params = PatchParams::default();
        api.patch(&name(index), &params, &Patch::Merge(&change))
            .await?;
    }
    all_rolled(&api, wanted).await?;
    meter.report(
        &format!("{ROLLED} Deployments of {each}, rolled at once"),
        table,
    )
}

/// Fills a namespace with pods and deletes it.
pub async fn removal(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    table: &mut Table,
) -> Result<()> {
    let pods = arguments.pods;
    let pod = |n| objects::Variant::Plain.pod(n);
    create_and_wait(arguments, cluster, namespace, pods, pods, pod).await?;
    let meter = Meter::start(&arguments.pid)?;
    cluster.remove_namespace(namespace).await?;
    meter.report(&format!("a namespace of {pods} pods deleted"), table)
}

/// Makes one Deployment, waits until all of it runs, does nothing for a while, and deletes it with
/// its namespace. Needs simulated kubelets.
pub async fn standing(
    arguments: &Arguments,
    cluster: &Cluster,
    namespace: &str,
    table: &mut Table,
) -> Result<()> {
    let (pods, nodes) = (arguments.pods, arguments.nodes);
    let meter = Meter::start(&arguments.pid)?;
    let (_, _, bound, _) = deployment(arguments, cluster, namespace).await?;
    let api: Api<Deployment> = Api::namespaced(cluster.client().clone(), namespace);
    let wanted = i32::try_from(pods)?;
    let available = |deployment: Option<&Deployment>| {
        deployment
            .and_then(|deployment| deployment.status.as_ref())
            .is_some_and(|status| status.available_replicas == Some(wanted))
    };
    let running = await_condition(api, objects::DEPLOYMENT, available);
    tokio::time::timeout(PHASE, running)
        .await
        .with_context(|| format!("{pods} pods did not run in {PHASE:?}"))??;
    table.least(
        &format!("a Deployment of {pods} on {nodes} nodes: creation to all bound"),
        pods as f64 / bound.as_secs_f64().max(1e-3),
        objects::Variant::Standing.budget(),
        "pods/s",
    );
    meter.report("  creation to all available", table)?;
    idle(arguments, table).await?;
    let meter = Meter::start(&arguments.pid)?;
    cluster.remove_namespace(namespace).await?;
    meter.report(&format!("its namespace of {pods} pods deleted"), table)
}

/// Does nothing for a while.
pub async fn idle(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let meter = Meter::start(&arguments.pid)?;
    tokio::time::sleep(IDLE).await;
    meter.report("idle", table)
}
