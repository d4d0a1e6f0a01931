//! What the server counts, in Prometheus' text form.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use store::Store;

use crate::admission::metrics::AdmissionMetrics;
use crate::audit::Counts;
use crate::endpoint::Endpoint;
use crate::request::info::RequestInfo;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabels {
    group: String,
    version: String,
    resource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FlowLabels {
    flow_schema: String,
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RejectionLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

/// What flow control counts. Its labels are the names of FlowSchemas and
/// PriorityLevelConfigurations, which administrators make.
#[derive(Clone)]
pub struct Flows {
    dispatched: Family<FlowLabels, Counter>,
    rejected: Family<RejectionLabels, Counter>,
    waits: Family<FlowLabels, Histogram, fn() -> Histogram>,
    /// Of each level: requests, seats, waiting requests; nominal, least and most seats.
    levels: [Family<LevelLabels, Gauge>; 6],
}

impl Default for Flows {
    fn default() -> Flows {
        let constructor: fn() -> Histogram = || {
            Histogram::new([
                0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0,
            ])
        };
        Flows {
            dispatched: Family::default(),
            rejected: Family::default(),
            waits: Family::new_with_constructor(constructor),
            levels: Default::default(),
        }
    }
}

impl Flows {
    fn register(&self, registry: &mut Registry) {
        let name = |name: &str| format!("apiserver_flowcontrol_{name}");
        registry.register(
            name("dispatched_requests"),
            "Requests let in",
            self.dispatched.clone(),
        );
        registry.register(
            name("rejected_requests"),
            "Requests sent away",
            self.rejected.clone(),
        );
        registry.register(
            name("request_wait_duration_seconds"),
            "How long requests waited for their seats",
            self.waits.clone(),
        );
        let gauges = [
            ("current_executing_requests", "Requests at work"),
            ("current_executing_seats", "Seats they take"),
            ("current_inqueue_requests", "Requests that wait"),
            ("nominal_limit_seats", "Seats of a level's own"),
            ("lower_limit_seats", "Seats that nobody can borrow"),
            ("upper_limit_seats", "Seats with all that may be borrowed"),
        ];
        for ((gauge, help), family) in gauges.into_iter().zip(&self.levels) {
            registry.register(name(gauge), help, family.clone());
        }
    }

    /// A request of this schema and level was let in after so long.
    pub fn dispatched(&self, (schema, level): (&str, &str), waited: Duration) {
        let labels = FlowLabels {
            flow_schema: schema.to_owned(),
            priority_level: level.to_owned(),
        };
        self.dispatched.get_or_create(&labels).inc();
        self.waits
            .get_or_create(&labels)
            .observe(waited.as_secs_f64());
    }

    /// A request of this schema and level was sent away.
    pub fn rejected(&self, (schema, level): (&str, &str), reason: &'static str) {
        let labels = RejectionLabels {
            flow_schema: schema.to_owned(),
            priority_level: level.to_owned(),
            reason,
        };
        self.rejected.get_or_create(&labels).inc();
    }

    /// A level as it is now: requests, seats and waiting requests; nominal, least and most seats.
    pub fn level(&self, name: &str, now: [u64; 3], limits: [u64; 3]) {
        let labels = LevelLabels {
            priority_level: name.to_owned(),
        };
        for (family, value) in self.levels.iter().zip(now.into_iter().chain(limits)) {
            family
                .get_or_create(&labels)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// The server's metrics.
pub struct Metrics {
    /// What flow control counts.
    pub flows: Flows,
    /// What audit counts.
    pub(crate) audit: Counts,
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<VerbLabels, Histogram, fn() -> Histogram>,
    watchers: Family<WatchLabels, Gauge>,
    /// What admission counts.
    pub(crate) admission: AdmissionMetrics,
    store: Arc<Store>,
    revision: Gauge,
    objects: Gauge,
    bytes: Gauge,
    /// What other parts of the process count; as many as there are parts.
    others: Mutex<Vec<Source>>,
}

/// Metrics of another part of the process, in text form.
pub type Source = Box<dyn Fn() -> String + Send + Sync>;

/// The end of a text, which only the last of several may have.
const END: &str = "# EOF\n";

/// Counts one watcher until dropped.
pub struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(store: Arc<Store>) -> Metrics {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and HTTP status",
            requests.clone(),
        );
        let constructor: fn() -> Histogram =
            || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let durations = Family::new_with_constructor(constructor);
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took, watches and proxied connections left out",
            durations.clone(),
        );
        let watchers = Family::default();
        registry.register(
            "apiserver_longrunning_requests",
            "Watches under way",
            watchers.clone(),
        );
        let (revision, objects, bytes) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("corten_store_revision", "Newest revision", revision.clone());
        registry.register("apiserver_storage_objects", "Objects kept", objects.clone());
        registry.register(
            "corten_store_cache_bytes",
            "About how many bytes objects and recent changes take",
            bytes.clone(),
        );
        let admission = AdmissionMetrics::new(&mut registry);
        let flows = Flows::default();
        flows.register(&mut registry);
        let audit = Counts::default();
        audit.register(&mut registry);
        Metrics {
            flows,
            audit,
            admission,
            registry,
            requests,
            durations,
            watchers,
            store,
            revision,
            objects,
            bytes,
            others: Mutex::default(),
        }
    }

    /// Counts one answered request.
    pub fn request(&self, info: &RequestInfo, code: u16, took: Duration) {
        // Paths that name no resource of ours would grow the labels without bound.
        let known = info.is_resource && code != 404;
        let text = |text: &str| {
            if known {
                text.to_owned()
            } else {
                String::new()
            }
        };
        self.requests
            .get_or_create(&RequestLabels {
                verb: info.verb,
                group: text(&info.group),
                version: text(&info.version),
                resource: text(&info.resource),
                subresource: text(&info.subresource),
                code,
            })
            .inc();
        if info.verb != "watch" && info.subresource != "proxy" {
            self.durations
                .get_or_create(&VerbLabels { verb: info.verb })
                .observe(took.as_secs_f64());
        }
    }

    /// Counts one watcher.
    pub fn watching(&self, endpoint: &Endpoint) -> Watching {
        let gvk = &endpoint.resource.gvk;
        let gauge = self
            .watchers
            .get_or_create(&WatchLabels {
                group: gvk.group.to_string(),
                version: gvk.version.to_string(),
                resource: endpoint.resource.plural.to_string(),
            })
            .clone();
        gauge.inc();
        Watching(gauge)
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        let stats = self.store.stats();
        self.revision.set(stats.revision as i64);
        self.objects.set(stats.objects as i64);
        self.bytes.set(stats.bytes as i64);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        joined(text, self.others.lock().iter().map(|source| source()))
    }

    /// Shows what another part of the process counts as well.
    pub fn add(&self, source: Source) {
        self.others.lock().push(source);
    }
}

/// Several texts as one.
fn joined(own: String, others: impl Iterator<Item = String>) -> String {
    let mut text = own.strip_suffix(END).unwrap_or(&own).to_owned();
    for other in others {
        text += other.strip_suffix(END).unwrap_or(&other);
    }
    text + END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_once() {
        let other = ["b 2\n# EOF\n".to_owned(), "c 3\n".to_owned()];
        let text = joined("a 1\n# EOF\n".to_owned(), other.into_iter());
        assert_eq!(text, "a 1\nb 2\nc 3\n# EOF\n");
    }
}
