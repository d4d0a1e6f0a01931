//! What is counted of EndpointSlices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Key;
use client::metrics::Metrics;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use parking_lot::Mutex;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::plan::SLICE_LIMIT;
use crate::discovery::packing::{Action, Group};
use crate::discovery::{hints, topology};
use crate::measure::Labels;

/// What one Service has, as far as it is summed up over all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Share {
    endpoints: i64,
    slices: i64,
    /// As many slices as would do.
    needed: i64,
    distribution: Option<String>,
}

pub(super) struct Counted {
    added: Histogram,
    removed: Histogram,
    endpoints: Gauge,
    slices: Gauge,
    needed: Gauge,
    distributions: Family<Labels<1>, Gauge>,
    /// An entry per Service.
    shares: Mutex<HashMap<Key, Share>>,
}

/// What a look at a Service comes to.
#[derive(Debug, Default)]
pub(super) struct Change {
    added: usize,
    removed: usize,
    share: Share,
}

fn identities<'e>(
    endpoints: impl Iterator<Item = &'e Endpoint>,
) -> BTreeSet<(Option<&'e str>, &'e [String])> {
    endpoints.map(super::plan::identity).collect()
}

impl Change {
    /// From what is there, what should be, and the writes that lead from the one to the other.
    pub fn new(
        service: &Service,
        existing: &[Arc<EndpointSlice>],
        wanted: &BTreeMap<Group, Vec<Endpoint>>,
    ) -> Self {
        let before = identities(existing.iter().flat_map(|s| s.endpoints.iter().flatten()));
        let after = identities(wanted.values().flatten());
        let counts = wanted.values().map(Vec::len);
        let needed: usize = counts.map(|count| count.div_ceil(SLICE_LIMIT).max(1)).sum();
        let spec = service.spec.as_ref();
        let distribution = spec.and_then(|spec| spec.traffic_distribution.clone());
        let heeded =
            !topology::is_wanted(service) && hints::of(service) != hints::Distribution::Any;
        Self {
            added: after.difference(&before).count(),
            removed: before.difference(&after).count(),
            share: Share {
                endpoints: number(after.len()),
                slices: number(existing.len()),
                needed: number(needed),
                distribution: distribution.filter(|_| heeded),
            },
        }
    }

    /// The slices there will be after the writes.
    pub fn after(mut self, actions: &[Action]) -> Self {
        for action in actions {
            self.share.slices += match action {
                Action::Create(_) => 1,
                Action::Update(..) => 0,
                Action::Delete(_) => -1,
            };
        }
        self
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Counted {
    pub fn new(metrics: &Metrics) -> Self {
        let histogram = || Histogram::new(exponential_buckets(2.0, 2.0, 15));
        let counted = Self {
            added: histogram(),
            removed: histogram(),
            endpoints: Gauge::default(),
            slices: Gauge::default(),
            needed: Gauge::default(),
            distributions: Family::default(),
            shares: Mutex::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "endpoint_slice_controller_endpoints_added_per_sync",
                "Endpoints that came at a look at a Service",
                counted.added.clone(),
            );
            registry.register(
                "endpoint_slice_controller_endpoints_removed_per_sync",
                "Endpoints that went at a look at a Service",
                counted.removed.clone(),
            );
            registry.register(
                "endpoint_slice_controller_endpoints_desired",
                "Endpoints that there should be",
                counted.endpoints.clone(),
            );
            registry.register(
                "endpoint_slice_controller_num_endpoint_slices",
                "EndpointSlices that there are",
                counted.slices.clone(),
            );
            registry.register(
                "endpoint_slice_controller_desired_endpoint_slices",
                "EndpointSlices that would do for the endpoints",
                counted.needed.clone(),
            );
            registry.register(
                "endpoint_slice_controller_services_count_by_traffic_distribution",
                "Services by their trafficDistribution",
                counted.distributions.clone(),
            );
        });
        counted
    }

    /// A Service was looked at.
    pub fn looked(&self, key: &Key, change: Change) {
        self.added.observe(change.added as f64);
        self.removed.observe(change.removed as f64);
        let old = self.shares.lock().insert(key.clone(), change.share.clone());
        self.sum(&old.unwrap_or_default(), &change.share);
    }

    /// A Service is gone, or no concern any more.
    pub fn forget(&self, key: &Key) {
        if let Some(old) = self.shares.lock().remove(key) {
            self.sum(&old, &Share::default());
        }
    }

    fn sum(&self, old: &Share, new: &Share) {
        self.endpoints.inc_by(new.endpoints - old.endpoints);
        self.slices.inc_by(new.slices - old.slices);
        self.needed.inc_by(new.needed - old.needed);
        if old.distribution == new.distribution {
            return;
        }
        for (share, by) in [(old, -1), (new, 1)] {
            if let Some(name) = &share.distribution {
                let labels = [("traffic_distribution", name.clone())];
                self.distributions.get_or_create(&labels).inc_by(by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn sums_follow_what_services_have() {
        let metrics = Metrics::new();
        let counted = Counted::new(&metrics);
        let service = |distribution: Value| -> Service {
            let spec = json!({"trafficDistribution": distribution});
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
        };
        let endpoint = |n: usize| -> Endpoint {
            serde_json::from_value(json!({"addresses": [format!("10.0.0.{n}")]})).unwrap()
        };
        let wanted = |count: usize| -> BTreeMap<Group, Vec<Endpoint>> {
            [(("IPv4", Vec::new()), (0..count).map(endpoint).collect())].into()
        };
        let slice = || Box::new(EndpointSlice::default());
        let (a, b) = (Key::new("ns", "a"), Key::new("ns", "b"));
        let first = Change::new(&service(json!("PreferSameZone")), &[], &wanted(150));
        let first = first.after(&[Action::Create(slice()), Action::Create(slice())]);
        counted.looked(&a, first);
        let second = Change::new(&service(Value::Null), &[], &wanted(0));
        counted.looked(&b, second.after(&[Action::Create(slice())]));
        let has = |lines: &[&str]| {
            let text = metrics.encode().unwrap();
            for line in lines {
                let line = format!("endpoint_slice_controller_{line}\n");
                assert!(text.contains(&line), "{line} in {text}");
            }
        };
        has(&[
            "endpoints_desired 150",
            "num_endpoint_slices 3",
            "desired_endpoint_slices 3",
            "endpoints_added_per_sync_sum 150.0",
            "services_count_by_traffic_distribution{traffic_distribution=\"PreferSameZone\"} 1",
        ]);
        counted.forget(&a);
        has(&[
            "endpoints_desired 0",
            "num_endpoint_slices 1",
            "desired_endpoint_slices 1",
            "services_count_by_traffic_distribution{traffic_distribution=\"PreferSameZone\"} 0",
        ]);
    }
}
