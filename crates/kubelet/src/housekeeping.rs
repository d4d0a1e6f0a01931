//! What is done now and then, none of it for one pod alone: one task, one look per period.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    agent::Agent, config::EvictionThresholds, node::conditions::Pressure, pods::manager::Pods,
};

mod disk;
mod eviction;
mod images;
pub(crate) mod logs;
mod storage;

/// Time between looks at memory, disk and logs.
const PERIOD: Duration = Duration::from_secs(10);
/// Looks between two looks at what pods keep on disk.
const STORAGE_EVERY: u32 = 3;
/// Looks between two looks at the images.
const IMAGES_EVERY: u32 = 30;

/// Why a node with this root directory has disk pressure from its start, if it has.
pub fn disk_pressure(root: &Path, limits: &EvictionThresholds) -> Option<String> {
    let (what, least) = eviction::disk_short(root, limits)?;
    Some(format!(
        "disk pressure: less than {:.0} % of the {what} at {} is free; until there is more the node \
         takes no ordinary pods",
        least * 100.0,
        root.display()
    ))
}

/// Runs until shutdown.
pub async fn run(
    agent: Arc<Agent>,
    pods: Arc<Pods>,
    pressure: watch::Sender<Pressure>,
    shutdown: CancellationToken,
) {
    let mut evictor = eviction::Evictor::default();
    let mut collector = images::Collector::default();
    let mut round: u32 = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        round = round.wrapping_add(1);
        logs::rotate(&agent).await;
        let now = evictor.look(&agent, &pods).await;
        pressure.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
        if round.is_multiple_of(STORAGE_EVERY) {
            storage::look(&agent, &pods).await;
        }
        if round.is_multiple_of(IMAGES_EVERY) || now.disk {
            collector.collect(&agent, now.disk).await;
        }
    }
}
