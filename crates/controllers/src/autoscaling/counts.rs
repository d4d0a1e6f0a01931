//! What is counted of autoscalers.

use client::metrics::Metrics;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

use crate::measure::{Counters, Exponential, Histograms};

/// What a look at an autoscaler or at one of its metrics came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    /// `scale_up`, `scale_down`, `none`.
    action: &'static str,
    /// `internal`, `none`: what a person wrote wrongly the API has refused.
    error: &'static str,
}

impl Came {
    pub const FAILED: Self = Self {
        action: "none",
        error: "internal",
    };

    pub fn to(from: i32, to: i32) -> Self {
        let action = match to.cmp(&from) {
            std::cmp::Ordering::Greater => "scale_up",
            std::cmp::Ordering::Less => "scale_down",
            std::cmp::Ordering::Equal => "none",
        };
        Self {
            action,
            error: "none",
        }
    }
}

#[derive(Clone)]
pub(super) struct Counted {
    looks: Counters<2>,
    durations: Histograms<2>,
    computations: Counters<3>,
    computing: Histograms<3>,
}

impl Counted {
    pub fn new(metrics: &Metrics) -> Self {
        let buckets = Exponential {
            start: 0.001,
            factor: 2.0,
            count: 15,
        };
        let counted = Self {
            looks: Family::default(),
            durations: Family::new_with_constructor(buckets),
            computations: Family::default(),
            computing: Family::new_with_constructor(buckets),
        };
        metrics.register(|registry| {
            registry.register(
                "horizontal_pod_autoscaler_controller_reconciliations",
                "Looks at autoscalers, by what came of them",
                counted.looks.clone(),
            );
            registry.register(
                "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
                "How long a look at an autoscaler took",
                counted.durations.clone(),
            );
            registry.register(
                "horizontal_pod_autoscaler_controller_metric_computation",
                "Metrics of autoscalers that were read and reckoned with",
                counted.computations.clone(),
            );
            registry.register(
                "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds",
                "How long one metric of an autoscaler took",
                counted.computing.clone(),
            );
        });
        counted
    }

    /// An autoscaler was looked at.
    pub fn looked(&self, came: Came, began: Instant) {
        let labels = [
            ("action", came.action.to_owned()),
            ("error", came.error.to_owned()),
        ];
        self.looks.get_or_create(&labels).inc();
        let took = began.elapsed().as_secs_f64();
        self.durations.get_or_create(&labels).observe(took);
    }

    /// One of its metrics was.
    pub fn computed(&self, metric: &str, came: Came, began: Instant) {
        let labels = [
            ("action", came.action.to_owned()),
            ("error", came.error.to_owned()),
            ("metric_type", metric.to_owned()),
        ];
        self.computations.get_or_create(&labels).inc();
        let took = began.elapsed().as_secs_f64();
        self.computing.get_or_create(&labels).observe(took);
    }
}
