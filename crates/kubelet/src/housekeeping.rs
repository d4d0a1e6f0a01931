//! What is done now and then, none of it for one pod alone: one task, one look per period.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{agent::Agent, node::conditions::Pressure, pods::manager::Pods};

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
