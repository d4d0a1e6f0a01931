//! What the proxy counts, under kube-proxy's names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters of one proxy; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    duration: Histogram,
    last: Gauge,
    failures: Counter,
    services: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            last: Gauge::default(),
            failures: Counter::default(),
            services: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
            self.duration.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "The last time proxy rules were successfully synced",
            self.last.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures",
            "Cumulative proxy nftables sync failures",
            self.failures.clone(),
        );
        registry.register(
            "corten_proxy_services",
            "Services that are served",
            self.services.clone(),
        );
    }

    pub(super) fn synced(&self, took: Duration, succeeded: bool, services: usize) {
        self.duration.observe(took.as_secs_f64());
        if succeeded {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.last
                .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            self.services
                .set(i64::try_from(services).unwrap_or(i64::MAX));
        } else {
            self.failures.inc();
        }
    }
}
