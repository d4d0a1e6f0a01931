//! Nodes register, and renew their Leases: in turn, spread over the period, so that the server sees
//! a steady trickle instead of a burst.

use std::time::Duration;

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Config, SimError, object};

/// Renewals under way at once. At the bound those that are due wait; a node more than a period late is
/// left to its next turn.
const RENEWALS: usize = 512;

/// Registers every node, or takes over the one of its name, with its Lease.
pub async fn register(client: &Client, config: &Config) -> Result<(), SimError> {
    stream::iter((0..config.nodes).map(Ok))
        .try_for_each_concurrent(config.writes.max(1), |index| {
            register_one(client, config, index)
        })
        .await
}

async fn register_one(client: &Client, config: &Config, index: u32) -> Result<(), SimError> {
    let name = object::name(config, index);
    let failed = |source| SimError::Register {
        node: object::name(config, index),
        source,
    };
    let now = micro_time();
    let typed = |value| serde_json::from_value(value).map_err(kube::Error::SerdeError);
    let leases: Api<Lease> = Api::namespaced(client.clone(), object::LEASES);
    let lease = typed(object::lease(config, index, &now)).map_err(failed)?;
    match leases.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.code == 409 => renew(client, &name).await,
        Err(source) => Err(source),
        Ok(_) => Ok(()),
    }
    .map_err(failed)?;
    let nodes: Api<Node> = Api::all(client.clone());
    let seconds = api::clock::rfc3339(jiff::Timestamp::now());
    let node = serde_json::from_value(object::node(config, index, &seconds))
        .map_err(kube::Error::SerdeError);
    let made = nodes
        .create(&PostParams::default(), &node.map_err(failed)?)
        .await;
    match made {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(source) => return Err(failed(source)),
        Ok(node) => {
            let status = node.status.as_ref();
            if status.is_some_and(|s| s.conditions.as_ref().is_some_and(|c| !c.is_empty())) {
                return Ok(());
            }
        }
    }
    // It was there, or the server takes no status at creation.
    let patch = serde_json::json!({"status": object::status(config, index, &seconds)});
    nodes
        .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .map(drop)
        .map_err(failed)
}

async fn renew(client: &Client, name: &str) -> Result<(), kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), object::LEASES);
    let patch = object::renewal(&micro_time());
    leases
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
}

fn micro_time() -> String {
    let now = jiff::Timestamp::now();
    format!("{}", now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"))
}

/// Renews every node's Lease once in each period until `shutdown`. A renewal that fails is made up
/// for by the next: four may be missed.
///
/// Renewals begin when they are due, however long those before them take, so that a slow server
/// delays each by its own answer and not by the sum of all.
pub async fn renew_all(client: Client, config: Config, shutdown: CancellationToken) {
    let mut schedule = Schedule::new(config.nodes, config.heartbeat);
    let start = Instant::now();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < RENEWALS
            && let Some(index) = schedule.next(start.elapsed())
        {
            let (client, name) = (client.clone(), object::name(&config, index));
            under_way.push(async move {
                if let Err(error) = renew(&client, &name).await {
                    tracing::debug!(node = name, %error, "heartbeat failed");
                }
            });
        }
        // Timers have a millisecond's grain: faster than that, several renewals begin at once.
        let due = start
            + schedule
                .due()
                .max(start.elapsed() + Duration::from_millis(1));
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = sleep_until(due), if under_way.len() < RENEWALS => {}
        }
    }
}

/// Which node's renewal begins when: the nodes in turn, spread evenly over the period.
struct Schedule {
    nodes: u32,
    period: Duration,
    /// Renewals begun, or given up, so far.
    begun: u64,
}

impl Schedule {
    fn new(nodes: u32, period: Duration) -> Schedule {
        Schedule {
            nodes: nodes.max(1),
            period: period.max(Duration::from_millis(1)),
            begun: 0,
        }
    }

    /// When the next renewal is due, since the start.
    fn due(&self) -> Duration {
        let nodes = u64::from(self.nodes);
        let (rounds, place) = (self.begun / nodes, (self.begun % nodes) as u32 + 1);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.period.saturating_mul(rounds).saturating_add(
            self.period
                .mul_f64(f64::from(place) / f64::from(self.nodes)),
        )
    }

    /// The node whose renewal is due after so long. What is more than a period behind is left out:
    /// the node's next renewal is due then.
    fn next(&mut self, elapsed: Duration) -> Option<u32> {
        while self.due().saturating_add(self.period) < elapsed {
            self.begun += u64::from(self.nodes);
        }
        if self.due() > elapsed {
            return None;
        }
        let index = (self.begun % u64::from(self.nodes)) as u32;
        self.begun += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn due(schedule: &mut Schedule, elapsed: Duration) -> Vec<u32> {
        std::iter::from_fn(|| schedule.next(elapsed)).collect()
    }

    #[test]
    fn every_node_is_due_once_a_period() {
        let mut schedule = Schedule::new(4, PERIOD);
        let mut seen = Vec::new();
        for step in 0..=20 {
            let elapsed = Duration::from_secs(step);
            seen.extend(due(&mut schedule, elapsed).into_iter().map(|n| (step, n)));
        }
        let wanted = [
            (3, 0),
            (5, 1),
            (8, 2),
            (10, 3),
            (13, 0),
            (15, 1),
            (18, 2),
            (20, 3),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn who_is_late_catches_up_by_one_period_at_most() {
        let mut schedule = Schedule::new(4, PERIOD);
        assert_eq!(due(&mut schedule, PERIOD * 7), [0, 1, 2, 3]);
        assert_eq!(due(&mut schedule, PERIOD * 7), [] as [u32; 0]);
        assert_eq!(due(&mut schedule, PERIOD * 8), [0, 1, 2, 3]);
    }
}
