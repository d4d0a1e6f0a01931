//! The process's registry of metrics, and the families of this crate under upstream's names.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// The label upstream puts on queue metrics and on leader election.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Name {
    /// The queue's or lease's name.
    pub name: String,
}

/// Since when the work under way has been going on, by queue: at most as many entries as workers.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<BTreeMap<String, Started>>>);

type Started = Arc<Mutex<Vec<Instant>>>;

/// Work that hangs shows only while it is going on, so its age is taken when somebody looks.
impl Collector for Running {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = Instant::now();
        let ages: Vec<(Name, Vec<f64>)> = self
            .0
            .lock()
            .iter()
            .map(|(name, started)| {
                let ages = started
                    .lock()
                    .iter()
                    .map(|at| (now - *at).as_secs_f64())
                    .collect();
                (Name { name: name.clone() }, ages)
            })
            .collect();
        let sum: fn(&[f64]) -> f64 = |ages| ages.iter().sum();
        let longest: fn(&[f64]) -> f64 = |ages| ages.iter().copied().fold(0.0, f64::max);
        let families = [
            (
                "workqueue_unfinished_work_seconds",
                "How many seconds of work has been done that is in progress and has not been observed by work_duration",
                sum,
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "How many seconds has the longest running processor for workqueue been running",
                longest,
            ),
        ];
        for (name, help, value) in families {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (queue, ages) in &ages {
                ConstGauge::new(value(ages)).encode(family.encode_family(queue)?)?;
            }
        }
        Ok(())
    }
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
    running: Running,
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
            running: Running::default(),
            leading: Family::default(),
            events_dropped: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register_collector(Box::new(metrics.running.clone()));
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
            running: self.running.0.lock().entry(name.name).or_default().clone(),
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
    running: Started,
}

impl QueueMetrics {
    /// A worker took a key.
    pub fn began(&self, at: Instant) {
        self.running.lock().push(at);
    }

    /// It is done with it.
    pub fn ended(&self, began: Instant) {
        self.worked.observe(began.elapsed().as_secs_f64());
        let mut running = self.running.lock();
        if let Some(at) = running.iter().position(|at| *at == began) {
            running.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_under_way_shows_its_age() {
        let metrics = Metrics::new();
        let queue = metrics.queue("deployment");
        let line = |text: &str, name: &str| {
            let text = text.to_owned();
            let found = text
                .lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned);
            found
                .unwrap()
                .rsplit(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        let began = Instant::now() - std::time::Duration::from_secs(60);
        queue.began(began);
        let busy = metrics.encode().unwrap();
        assert!(
            line(
                &busy,
                "workqueue_unfinished_work_seconds{name=\"deployment\"}"
            ) >= 60.0
        );
        assert!(
            line(
                &busy,
                "workqueue_longest_running_processor_seconds{name=\"deployment\"}"
            ) >= 60.0
        );
        queue.ended(began);
        let idle = metrics.encode().unwrap();
        assert!(
            line(
                &idle,
                "workqueue_unfinished_work_seconds{name=\"deployment\"}"
            ) < 1.0
        );
        assert!(
            line(
                &idle,
                "workqueue_work_duration_seconds_sum{name=\"deployment\"}"
            ) >= 60.0
        );
    }
}
