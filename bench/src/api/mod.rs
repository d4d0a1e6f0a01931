//! `bench api`: the API operations of the budgets, against any server.

mod objects;
mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;

use crate::endpoint::{Access, Body, Endpoint};
use crate::proc;
use crate::table::{Table, percentile};
use objects::NODES;

/// No phase may take longer.
const PHASE: Duration = Duration::from_secs(180);

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    access: Access,
    /// A process of the server, whose CPU time and memory are counted; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
    /// Pods in the lists
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(50..=50_000))]
    pods: u64,
    /// Requests under way at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    concurrency: u64,
    /// Watchers of the fan-out
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=2_000))]
    watchers: u64,
    /// Objects when the server's memory is read; more pods are made to reach it
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    memory_objects: u64,
    /// Only these phases after the Pods are made, such as for a profile of one
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Phase>,
    /// Times the usual number of operations in each phase
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=50))]
    times: u64,
    /// Leave the objects there
    #[arg(long)]
    keep: bool,
}

/// What is done to the Pods once they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    Get,
    List,
    Label,
    Node,
    Patch,
    Watch,
    Memory,
}

/// One phase's figures.
struct Figures {
    operations: f64,
    seconds: f64,
    cpu_ms: Option<f64>,
    latencies: Vec<f64>,
}

struct Bench<'a> {
    arguments: &'a Arguments,
    endpoint: Arc<Endpoint>,
    namespace: String,
    table: Table,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    // One thread: what is left of the machine is the server's
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let endpoint = Arc::new(arguments.access.connect(4).await?);
        let namespace = format!("bench-{}", std::process::id());
        let table = Table::default();
        let mut bench = Bench {
            arguments,
            endpoint,
            namespace,
            table,
        };
        let result = bench.measure().await;
        if !arguments.keep {
            bench.clean().await.context("cannot clean up")?;
        }
        bench.table.print();
        result
    })
}

impl Bench<'_> {
    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    async fn measure(&mut self) -> Result<()> {
        let (pods, namespace) = (self.pods(), self.namespace.clone());
        let count = self.arguments.pods;
        self.endpoint
            .ensure("/api/v1/namespaces", &objects::namespace(&namespace))
            .await?;
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.endpoint
            .ensure(&accounts, &objects::service_account())
            .await?;
        for node in 0..NODES {
            self.endpoint
                .ensure("/api/v1/nodes", &objects::node(&namespace, node))
                .await?;
        }

        let bodies: Vec<Bytes> = (0..count).map(|n| objects::pod(&namespace, n)).collect();
        let create = self.phase(count, |endpoint, n| {
            let (path, body) = (pods.clone(), bodies[n as usize].clone());
            async move { endpoint.count(Method::POST, &path, Body::Json(&body)).await }
        });
        let create = create.await?;
        self.report("create a Pod, durable", create, 0.18);

        let wanted = |phase| {
            let only = &self.arguments.only;
            only.is_empty() || only.contains(&phase)
        };
        let phases = [
            Phase::Get,
            Phase::List,
            Phase::Label,
            Phase::Node,
            Phase::Patch,
            Phase::Watch,
            Phase::Memory,
        ];
        let phases: Vec<Phase> = phases.into_iter().filter(|phase| wanted(*phase)).collect();
        let mut patch_cpu = None;
        for phase in phases {
            match phase {
                Phase::Get => self.get().await?,
                Phase::List | Phase::Label | Phase::Node => self.list(phase).await?,
                Phase::Patch => patch_cpu = self.patch().await?,
                Phase::Watch => self.fan_out(patch_cpu).await?,
                Phase::Memory => self.memory().await?,
            }
        }
        Ok(())
    }

    async fn get(&mut self) -> Result<()> {
        let (pods, count) = (self.pods(), self.arguments.pods);
        let get = self.phase(4 * count * self.arguments.times, |endpoint, n| {
            let path = format!("{pods}/{}", objects::name(n % count));
            async move { endpoint.count(Method::GET, &path, Body::Empty).await }
        });
        let get = get.await?;
        self.report("get a Pod", get, 0.04);
        Ok(())
    }

    async fn list(&mut self, phase: Phase) -> Result<()> {
        let (pods, count, namespace) = (self.pods(), self.arguments.pods, &self.namespace);
        let (times, part) = (self.arguments.times, self.arguments.pods / NODES);
        let label = |n| format!("{pods}?labelSelector=app%3Dapp-{}", n % NODES);
        let node = |n| {
            format!(
                "{pods}?fieldSelector=spec.nodeName%3D{namespace}-{}",
                n % NODES
            )
        };
        let (what, figures, budget) = match phase {
            Phase::Label => {
                let figures = self.serial(400 * times, label).await?;
                (format!("list {part} of {count} by label"), figures, 0.5)
            }
            Phase::Node => {
                let figures = self.serial(1000 * times, node).await?;
                (format!("list {part} of {count} by node"), figures, 0.1)
            }
            _ => {
                let size = self.endpoint.count(Method::GET, &pods, Body::Empty).await?;
                let figures = self.serial(20 * times, |_| pods.clone()).await?;
                let what = format!("list {count} Pods ({:.0} MB)", size as f64 / 1e6);
                (what, figures, 10.0 * count as f64 / 5000.0)
            }
        };
        self.report(&what, figures, budget);
        Ok(())
    }

    /// CPU milliseconds of one, where they are known.
    async fn patch(&mut self) -> Result<Option<f64>> {
        let (pods, count) = (self.pods(), self.arguments.pods);
        let patches = 3000 * self.arguments.times;
        let bodies: Vec<Bytes> = (0..patches).map(objects::status).collect();
        let patch = self.phase(patches, |endpoint, n| {
            let path = format!("{pods}/{}/status", objects::name(n % count));
            let body = bodies[n as usize].clone();
            async move {
                let patch = Body::Patch("application/strategic-merge-patch+json", &body);
                endpoint.count(Method::PATCH, &path, patch).await
            }
        });
        let patch = patch.await?;
        let each = patch.cpu_ms.map(|cpu| cpu / patch.operations);
        self.report("patch a Pod's status", patch, 0.25);
        Ok(each)
    }

    /// Runs operations concurrently.
    async fn phase<F, W>(&self, count: u64, operation: F) -> Result<Figures>
    where
        F: Fn(Arc<Endpoint>, u64) -> W,
        W: Future<Output = Result<usize>>,
    {
        self.run(count, self.arguments.concurrency, operation).await
    }

    /// Reads one after the other.
    async fn serial(&self, count: u64, path: impl Fn(u64) -> String) -> Result<Figures> {
        let read = |endpoint: Arc<Endpoint>, n| {
            let path = path(n);
            async move { endpoint.count(Method::GET, &path, Body::Empty).await }
        };
        self.run(count, 1, read).await
    }

    async fn run<F, W>(&self, count: u64, concurrency: u64, operation: F) -> Result<Figures>
    where
        F: Fn(Arc<Endpoint>, u64) -> W,
        W: Future<Output = Result<usize>>,
    {
        let next = AtomicU64::new(0);
        let (cpu, start) = (self.cpu()?, Instant::now());
        let workers = (0..concurrency).map(|_| async {
            let mut latencies = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(latencies);
                }
                ensure!(
                    start.elapsed() < PHASE,
                    "{n} of {count} operations took {PHASE:?}"
                );
                let begin = Instant::now();
                operation(self.endpoint.clone(), n).await?;
                latencies.push(begin.elapsed().as_secs_f64() * 1000.0);
            }
        });
        let latencies = futures::future::try_join_all(workers).await?.concat();
        let seconds = start.elapsed().as_secs_f64();
        let cpu_ms = self.cpu()?.zip(cpu).map(|(now, then)| now - then);
        Ok(Figures {
            operations: count as f64,
            seconds,
            cpu_ms,
            latencies,
        })
    }

    fn cpu(&self) -> Result<Option<f64>> {
        let pids = &self.arguments.pid;
        (!pids.is_empty()).then(|| proc::cpu_ms(pids)).transpose()
    }

    fn report(&mut self, what: &str, mut figures: Figures, budget: f64) {
        let (p50, p99) = (
            percentile(&mut figures.latencies, 0.5),
            percentile(&mut figures.latencies, 0.99),
        );
        match figures.cpu_ms {
            Some(cpu) => self
                .table
                .budgeted(what, cpu / figures.operations, budget, "CPU-ms"),
            None => self.table.note(what, "no --pid"),
        }
        let rate = figures.operations / figures.seconds;
        self.table
            .note("", format!("{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms"));
    }

    async fn memory(&mut self) -> Result<()> {
        let (pods, pids) = (self.pods(), &self.arguments.pid);
        if pids.is_empty() {
            return Ok(());
        }
        let (have, want) = (self.arguments.pods, self.arguments.memory_objects);
        let namespace = self.namespace.clone();
        let more = self.phase(want.saturating_sub(have), |endpoint, n| {
            let (path, body) = (pods.clone(), objects::pod(&namespace, have + n));
            async move { endpoint.count(Method::POST, &path, Body::Json(&body)).await }
        });
        more.await?;
        let memory = proc::memory(pids)?;
        let what = format!("memory with {} objects (PSS)", want.max(have));
        self.table.budgeted(&what, memory.pss, 100.0, "MB");
        self.table.note("", format!("RSS {:.0} MB", memory.rss));
        Ok(())
    }

    async fn clean(&self) -> Result<()> {
        let namespace = &self.namespace;
        let mut paths = vec![format!("{}?gracePeriodSeconds=0", self.pods())];
        paths.extend((0..NODES).map(|node| format!("/api/v1/nodes/{namespace}-{node}")));
        paths.push(format!("/api/v1/namespaces/{namespace}"));
        let mut first = Ok(());
        for path in paths {
            let deleted = self
                .endpoint
                .count(Method::DELETE, &path, Body::Empty)
                .await;
            first = first.and(deleted.map(drop));
        }
        first
    }
}
