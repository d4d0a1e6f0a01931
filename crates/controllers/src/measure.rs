//! How controllers count what they do, under upstream's names and labels.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Names and values.
pub(crate) type Labels<const N: usize> = [(&'static str, String); N];
pub(crate) type Counters<const N: usize> = Family<Labels<N>, Counter>;
pub(crate) type Histograms<const N: usize> = Family<Labels<N>, Histogram, Exponential>;

/// Buckets from `start` on, each `factor` times the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exponential {
    pub start: f64,
    pub factor: f64,
    pub count: u16,
}

impl MetricConstructor<Histogram> for Exponential {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.start, self.factor, self.count))
    }
}
