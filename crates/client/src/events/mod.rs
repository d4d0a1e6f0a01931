//! Events about objects, for people who ask `kubectl describe` what happened.
//!
//! [`Recorder::event`] never waits: it puts the event into a queue of [`QUEUE_LIMIT`]; when that is
//! full the event is dropped and counted (`corten_events_dropped_total`). A task of its own merges
//! repetitions ([`correlate`]) and writes core/v1 Events; a write that fails is tried
//! [`WRITE_TRIES`] times and then given up.

pub mod correlate;

use std::sync::Arc;

use api::clock::Clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tracing::debug;

use self::correlate::{Correlator, Noted, Verdict};
use crate::metrics::Metrics;

/// Events waiting to be written, per process.
pub const QUEUE_LIMIT: usize = 1_000;
/// How often one event is tried.
pub const WRITE_TRIES: u32 = 3;

/// Is it news or trouble?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Something did not.
    Warning,
}

impl EventType {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Takes events; clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Noted>,
    component: Arc<str>,
    host: Arc<str>,
    clock: Arc<dyn Clock>,
    dropped: Counter,
}

impl Recorder {
    /// A recorder whose events say they are from `component`. Must be called within a tokio runtime.
    pub fn new(
        client: kube::Client,
        component: &str,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let (queue, noted) = mpsc::channel(QUEUE_LIMIT);
        let dropped = metrics.events_dropped();
        tokio::spawn(write_all(client, noted, dropped.clone()));
        Self {
            queue,
            component: component.into(),
            host: "".into(),
            clock,
            dropped,
        }
    }

    /// The same queue under another component's name.
    #[must_use]
    pub fn with_component(&self, component: &str) -> Self {
        Self {
            component: component.into(),
            ..self.clone()
        }
    }

    /// The same queue, naming the host the events are from (a kubelet's node).
    #[must_use]
    pub fn with_host(&self, host: &str) -> Self {
        Self {
            host: host.into(),
            ..self.clone()
        }
    }

    /// Notes an event about an object of a kind known at compile time.
    pub fn on<K>(&self, object: &K, kind: EventType, reason: &str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event(reference(object), kind, reason, message);
    }

    /// Notes an event about what the reference names.
    pub fn event(
        &self,
        about: ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let noted = Noted {
            about,
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            component: self.component.clone(),
            host: self.host.clone(),
            at: self.clock.now(),
        };
        if self.queue.try_send(noted).is_err() {
            self.dropped.inc();
        }
    }
}

/// A reference to an object as events carry it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let mut about = object.object_ref(&());
    about
        .resource_version
        .clone_from(&object.meta().resource_version);
    about
}

async fn write_all(client: kube::Client, mut noted: mpsc::Receiver<Noted>, dropped: Counter) {
    let mut correlator = Correlator::default();
    while let Some(event) = noted.recv().await {
        let verdict = correlator.judge(&event);
        if matches!(verdict, Verdict::Drop)
            || !write(&client, &mut correlator, event, verdict).await
        {
            dropped.inc();
        }
    }
}

async fn write(
    client: &kube::Client,
    correlator: &mut Correlator,
    event: Noted,
    verdict: Verdict,
) -> bool {
    let namespace = match event.about.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => namespace,
        // Events about cluster-scoped objects live here.
        _ => "default",
    };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let body = body(&event, &verdict, namespace);
    for attempt in 1..=WRITE_TRIES {
        let result = match &verdict {
            Verdict::Again { name, .. } if attempt == 1 => {
                let patch = serde_json::json!({
                    "count": body.count,
                    "lastTimestamp": body.last_timestamp,
                    "message": body.message,
                });
                match api
                    .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                {
                    // It expired, or was deleted: this one starts anew.
                    Err(kube::Error::Api(status)) if status.is_not_found() => {
                        api.create(&PostParams::default(), &body).await
                    }
                    result => result,
                }
            }
            _ => api.create(&PostParams::default(), &body).await,
        };
        match result {
            Ok(written) => {
                correlator.written(&event, written.metadata.name.unwrap_or_default());
                return true;
            }
            // Written by a try whose answer was lost, or not welcome here (the namespace ends).
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                debug!(reason = event.reason, "event refused: {status}");
                return status.is_already_exists();
            }
            Err(failure) => debug!(
                reason = event.reason,
                attempt, "event not written: {failure}"
            ),
        }
    }
    false
}

fn body(event: &Noted, verdict: &Verdict, namespace: &str) -> Event {
    let (count, first, message) = match verdict {
        Verdict::Again {
            count,
            first,
            message,
            ..
        } => (*count, *first, message.clone()),
        Verdict::First { message } => (1, event.at, message.clone()),
        Verdict::Drop => (1, event.at, event.message.clone()),
    };
    let host = Some(event.host.to_string()).filter(|host| !host.is_empty());
    let nanos = event.at.as_nanosecond();
    Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}.{nanos:x}",
                event.about.name.as_deref().unwrap_or_default()
            )),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: event.about.clone(),
        type_: Some(event.kind.as_str().to_owned()),
        reason: Some(event.reason.clone()),
        message: Some(message),
        count: Some(count),
        first_timestamp: Some(Time(first)),
        last_timestamp: Some(Time(event.at)),
        source: Some(EventSource {
            component: Some(event.component.to_string()),
            host: host.clone(),
        }),
        reporting_component: Some(event.component.to_string()),
        reporting_instance: host,
        ..Event::default()
    }
}
