//! `bench store`: the embedded store without a server around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use store::{
    Attributes, Expect, Key, ListOptions, Options, Registration, Revision, Scope, Store, Stored,
};

use crate::proc;
use crate::table::{Table, percentile};

const PODS: &str = "//pods/";
const NODE: &str = "spec.nodeName";

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to make the stores; they are removed afterwards
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Seconds each rate is measured for
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Objects for the memory and list figures
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    objects: u64,
    /// Bytes of one object
    #[arg(long, default_value_t = 3_800, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    size: u64,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = arguments
        .dir
        .join(format!("bench-store-{}", std::process::id()));
    let result = runtime.block_on(measure(arguments, &dir));
    // Also after a failure
    let removed = std::fs::remove_dir_all(&dir);
    result?;
    removed.with_context(|| format!("cannot remove {}", dir.display()))
}

async fn measure(arguments: &Arguments, dir: &std::path::Path) -> Result<()> {
    let mut table = Table::default();
    let seconds = Duration::from_secs(arguments.seconds);
    // First, so that its memory is not what other work left behind
    objects(arguments, &dir.join("objects"), &mut table).await?;
    for writers in [1, 64] {
        let store = open(&dir.join(format!("w{writers}"))).await?;
        write(&store, writers, seconds, arguments.size, &mut table).await?;
        store.close().await;
    }
    table.print();
    Ok(())
}

async fn open(dir: &std::path::Path) -> Result<Arc<Store>> {
    let store = Store::open(dir, Options::default())?;
    store
        .register(PODS, Registration::new(index).indexed([NODE]))
        .await?;
    Ok(store)
}

fn index(bytes: &[u8]) -> Attributes {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().into();
    Attributes {
        labels: [
            ("app".into(), text(&value["app"])),
            ("tier".into(), "web".into()),
        ]
        .into(),
        fields: [(NODE, text(&value["node"]))].into(),
    }
}

fn object(n: u64, size: u64) -> Stored {
    let (app, node) = (format!("app-{}", n % 50), format!("node-{}", n % 50));
    let pad = "x".repeat(usize::try_from(size.saturating_sub(60)).unwrap_or(0));
    let json = format!(r#"{{"n":{n},"app":"{app}","node":"{node}","pad":"{pad}"}}"#);
    let attributes = index(json.as_bytes());
    Stored::new(Bytes::from(json), 1, attributes)
}

async fn write(
    store: &Arc<Store>,
    writers: u64,
    time: Duration,
    size: u64,
    table: &mut Table,
) -> Result<()> {
    let pids = [std::process::id()];
    let (cpu, start) = (proc::cpu_ms(&pids)?, Instant::now());
    let before = store.stats().engine;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for i in 0u64.. {
                    let begin = Instant::now();
                    if begin - start >= time {
                        break;
                    }
                    let key = Key::of("", "pods", Some("bench"), &format!("w{writer}-{}", i % 200));
                    let expect = match store.get(&key) {
                        Some(entry) => Expect::At(entry.revision),
                        None => Expect::Absent,
                    };
                    store.update(key, expect, object(i, size)).await?;
                    latencies.push(begin.elapsed().as_secs_f64() * 1000.0);
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), proc::cpu_ms(&pids)? - cpu);
    let after = store.stats().engine;
    let count = latencies.len() as f64;
    let name = format!(
        "durable writes, {writers} writer{}",
        if writers == 1 { "" } else { "s" }
    );
    table.plain(&name, count / elapsed, "/s");
    table.plain("  latency p50", percentile(&mut latencies, 0.5), "ms");
    table.plain("  latency p99", percentile(&mut latencies, 0.99), "ms");
    table.plain("  CPU per write", cpu / count, "ms");
    let batches = (after.batches - before.batches) as f64;
    table.plain(
        "  writes per sync",
        (after.writes - before.writes) as f64 / batches,
        "",
    );
    Ok(())
}

async fn objects(arguments: &Arguments, dir: &std::path::Path, table: &mut Table) -> Result<()> {
    let store = open(dir).await?;
    let key = |i: u64| Key::of("", "pods", Some("bench"), &format!("pod-{i:06}"));
    for base in (0..arguments.objects).step_by(64) {
        let end = (base + 64).min(arguments.objects);
        let writes = (base..end).map(|i| store.create(key(i), object(i, arguments.size)));
        for result in futures::future::join_all(writes).await {
            result?;
        }
    }
    let pids = [std::process::id()];
    let bytes = store.stats().bytes as f64;
    let written = proc::memory(&pids)?;
    let what = format!(
        "{} objects of {} bytes, as written: RSS",
        arguments.objects, arguments.size
    );
    table.plain(&what, written.rss, "MB");
    table.plain(
        "  of which objects and recent changes",
        bytes / 1048576.0,
        "MB",
    );

    let labels = &[("app", "app-7")][..];
    let lists = [
        ("list all (wall)", ListOptions::default(), 50),
        (
            "list 1 in 50 by label (wall)",
            ListOptions {
                labels,
                ..ListOptions::default()
            },
            200,
        ),
        (
            "list 1 in 50 by node (wall)",
            ListOptions {
                field: Some((NODE, "node-7")),
                ..ListOptions::default()
            },
            200,
        ),
    ];
    for (what, options, count) in lists {
        let start = Instant::now();
        for _ in 0..count {
            std::hint::black_box(store.list(PODS, &options, None).await?);
        }
        table.plain(what, micros(start) / f64::from(count), "µs");
    }
    let (wanted, start) = (key(17), Instant::now());
    for _ in 0..100_000 {
        std::hint::black_box(store.get(&wanted).context("it is there")?);
    }
    table.plain("get (wall)", micros(start) / 100_000.0, "µs");
    fan_out(&store, arguments.size, table).await?;
    store.close().await;
    drop(store);

    let start = Instant::now();
    let store = open(dir).await?;
    table.plain(
        "open and load (wall)",
        start.elapsed().as_secs_f64() * 1000.0,
        "ms",
    );
    store.close().await;
    Ok(())
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// 200 watchers of everything, each its own task.
async fn fan_out(store: &Arc<Store>, size: u64, table: &mut Table) -> Result<()> {
    const WATCHERS: u64 = 200;
    const EVENTS: u64 = 2000;
    let after: Revision = store.revision();
    let mut tasks = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = store.watch(PODS, after, Scope::default())?;
        tasks.push(tokio::spawn(async move {
            let mut seen = 0;
            while seen < EVENTS {
                let batch = watch.next().await.context("the watch ended")??;
                seen += batch.len() as u64;
            }
            anyhow::Ok(())
        }));
    }
    let pids = [std::process::id()];
    let cpu = proc::cpu_ms(&pids)?;
    for i in 0..EVENTS {
        let key = Key::of("", "pods", Some("fan"), &format!("pod-{}", i % 100));
        let expect = if i < 100 {
            Expect::Absent
        } else {
            Expect::Present
        };
        store.update(key, expect, object(i, size)).await?;
    }
    for task in tasks {
        task.await??;
    }
    let cpu = proc::cpu_ms(&pids)? - cpu;
    let each = cpu * 1000.0 / (EVENTS * WATCHERS) as f64;
    table.plain(
        "write and deliver to 200 watchers: CPU per delivery",
        each,
        "µs",
    );
    Ok(())
}
