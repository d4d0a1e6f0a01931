//! The fan-out: many watchers of the same pods, and what one delivery costs the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;

use super::{Bench, PHASE, objects};
use crate::endpoint::Body;

/// Changes that every watcher is to see.
const EVENTS: u64 = 1000;

impl Bench<'_> {
    /// `patch_cpu` is what one of the changes costs without watchers.
    pub(super) async fn fan_out(&mut self, patch_cpu: Option<f64>) -> Result<()> {
        let (pods, watchers) = (self.pods(), self.arguments.watchers);
        // Servers let 100 to 250 streams run on a connection
        let connections = usize::try_from(watchers.div_ceil(50))?;
        let endpoint = self.arguments.access.connect(connections).await?;
        let one = format!("{pods}?limit=1");
        let list = self.endpoint.read(Method::GET, &one, Body::Empty).await?;
        let revision = list["metadata"]["resourceVersion"]
            .as_str()
            .context("a list without revision")?;
        let path = format!("{pods}?watch=true&resourceVersion={revision}");

        let seen = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..watchers {
            let response = endpoint.send(Method::GET, &path, Body::Empty).await?;
            ensure!(
                response.status().is_success(),
                "GET {path}: {}",
                response.status()
            );
            let seen = seen.clone();
            tasks.push(tokio::spawn(async move {
                let mut body = response.into_body();
                let mut mine = 0;
                while let Some(frame) = body.frame().await {
                    let frame = frame?;
                    let data = frame.data_ref().map_or(&[][..], |data| data);
                    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u64;
                    mine += lines;
                    seen.fetch_add(lines, Ordering::Relaxed);
                    if mine >= EVENTS {
                        return anyhow::Ok(());
                    }
                }
                anyhow::bail!("a watch ended after {mine} events")
            }));
        }

        let count = self.arguments.pods;
        let (cpu, start) = (self.cpu()?, Instant::now());
        let changes = self.phase(EVENTS, |endpoint, n| {
            let path = format!("{pods}/{}/status", objects::name((n * 7) % count));
            let body = objects::status(100_000 + n);
            async move {
                let patch = Body::Patch("application/strategic-merge-patch+json", &body);
                endpoint.count(Method::PATCH, &path, patch).await
            }
        });
        let changes = changes.await?;
        let all = futures::future::try_join_all(tasks);
        let ended = tokio::time::timeout(PHASE, all).await;
        let deliveries = (EVENTS * watchers) as f64;
        for ended in ended.with_context(|| {
            format!(
                "{} of {deliveries} deliveries in {PHASE:?}",
                seen.load(Ordering::Relaxed)
            )
        })?? {
            ended?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let what = format!("deliver one event to one of {watchers} watchers");
        match (self.cpu()?.zip(cpu), patch_cpu) {
            (Some((now, then)), Some(patch)) => {
                let delivering = now - then - patch * changes.operations;
                self.table
                    .budgeted(&what, delivering * 1000.0 / deliveries, 2.0, "CPU-µs");
            }
            (Some((now, then)), None) => {
                let with = (now - then) * 1000.0 / deliveries;
                self.table.plain(
                    &format!("{what}, and its part of the change"),
                    with,
                    "CPU-µs",
                );
            }
            _ => self.table.note(&what, "no --pid"),
        }
        self.table
            .note("", format!("{:.0} deliveries/s", deliveries / seconds));
        Ok(())
    }
}
