//! The process's registry of metrics, and the families of this crate under upstream's names.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The label upstream puts on queue metrics and on leader election.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Name {
    /// The queue's or lease's name.
    pub name: String,
}

/// A handle on the registry; clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    depth: Family<Name, Gauge>,
    adds: Family<Name, Counter>,
    retries: Family<Name, Counter>,
    waited: Family<Name, Histogram>,
    worked: Family<Name, Histogram>,
    leading: Family<Name, Gauge>,
    events_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with this crate's families in it.
    pub fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(1e-5, 10.0, 7));
        let metrics = Self {
            registry: Arc::default(),
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            waited: Family::new_with_constructor(seconds),
            worked: Family::new_with_constructor(seconds),
            leading: Family::default(),
            events_dropped: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register("workqueue_depth", "Current depth of workqueue", metrics.depth.clone());
            registry.register("workqueue_adds", "Total number of adds handled by workqueue", metrics.adds.clone());
            registry.register("workqueue_retries", "Total number of retries handled by workqueue", metrics.retries.clone());
            registry.register(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
                metrics.waited.clone(),
            );
            registry.register(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes",
                metrics.worked.clone(),
            );
            registry.register(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease",
                metrics.leading.clone(),
            );
            registry.register(
                "corten_events_dropped",
                "Events that were not written because the recorder's queue was full or the source too chatty",
                metrics.events_dropped.clone(),
            );
        });
        metrics
    }

    /// Adds families of another part.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// The text form of everything registered.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }

    pub(crate) fn queue(&self, name: &str) -> QueueMetrics {
        let name = Name {
            name: name.to_owned(),
        };
        QueueMetrics {
            depth: self.depth.get_or_create_owned(&name),
            adds: self.adds.get_or_create_owned(&name),
            retries: self.retries.get_or_create_owned(&name),
            waited: self.waited.get_or_create_owned(&name),
            worked: self.worked.get_or_create_owned(&name),
        }
    }

    pub(crate) fn leading(&self, name: &str) -> Gauge {
        self.leading.get_or_create_owned(&Name {
            name: name.to_owned(),
        })
    }

    pub(crate) fn events_dropped(&self) -> Counter {
        self.events_dropped.clone()
    }
}

/// What one queue counts.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    pub depth: Gauge,
    pub adds: Counter,
    pub retries: Counter,
    pub waited: Histogram,
    pub worked: Histogram,
}
