//! What the scheduler counts, under upstream's names.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    profile: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    r#type: &'static str,
}

/// See the module.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Result, Counter>,
    durations: Family<Result, Histogram>,
    algorithm: Histogram,
    tries: Histogram,
    sli: Family<Attempts, Histogram>,
    pending: Family<Queue, Gauge>,
    preemptions: Counter,
    victims: Histogram,
    cache: Family<Kind, Gauge>,
}

impl Metrics {
    /// Registered with the process's.
    pub fn new(registry: &client::metrics::Metrics) -> Metrics {
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let metrics = Metrics {
            attempts: Family::default(),
            durations: Family::new_with_constructor(seconds),
            algorithm: Histogram::new(exponential_buckets(0.000_01, 2.0, 18)),
            tries: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            sli: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 20))
            }),
            pending: Family::default(),
            preemptions: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            cache: Family::default(),
        };
        registry.register(|registry| {
            registry.register(
                "scheduler_schedule_attempts",
                "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem",
                metrics.attempts.clone(),
            );
            registry.register(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                metrics.durations.clone(),
            );
            registry.register(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Scheduling algorithm latency in seconds",
                metrics.algorithm.clone(),
            );
            registry.register(
                "scheduler_pod_scheduling_attempts",
                "Number of attempts to successfully schedule a pod",
                metrics.tries.clone(),
            );
            registry.register(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue",
                metrics.sli.clone(),
            );
            registry.register(
                "scheduler_pending_pods",
                "Number of pending pods, by the queue type",
                metrics.pending.clone(),
            );
            registry.register(
                "scheduler_preemption_attempts",
                "Total preemption attempts in the cluster till now",
                metrics.preemptions.clone(),
            );
            registry.register(
                "scheduler_preemption_victims",
                "Number of selected preemption victims",
                metrics.victims.clone(),
            );
            registry.register(
                "scheduler_cache_size",
                "Number of nodes and pods in the scheduler cache",
                metrics.cache.clone(),
            );
        });
        metrics
    }

    /// A decision was made, in so much time.
    pub fn decided(&self, took: Duration) {
        self.algorithm.observe(took.as_secs_f64());
    }

    /// A pod's attempt ended: `scheduled`, `unschedulable` or `error`, in so much time.
    pub fn attempted(&self, profile: &str, result: &'static str, took: Duration) {
        let labels = Result {
            profile: profile.to_owned(),
            result,
        };
        self.attempts.get_or_create(&labels).inc();
        self.durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A pod was scheduled at the n-th attempt, so long after it was first seen.
    pub fn scheduled(&self, attempts: u32, since: Duration) {
        self.tries.observe(f64::from(attempts));
        // Upstream's label ends at 15 as well.
        let labels = Attempts {
            attempts: attempts.min(15),
        };
        self.sli.get_or_create(&labels).observe(since.as_secs_f64());
    }

    /// So many pods make room.
    pub fn preempts(&self, victims: usize) {
        self.preemptions.inc();
        self.victims.observe(victims as f64);
    }

    /// How much there is.
    pub fn sizes(&self, depths: [usize; 4], nodes: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (queue, depth) in ["active", "backoff", "unschedulable", "gated"]
            .into_iter()
            .zip(depths)
        {
            self.pending
                .get_or_create(&Queue { queue })
                .set(number(depth));
        }
        self.cache
            .get_or_create(&Kind { r#type: "nodes" })
            .set(number(nodes));
    }
}
