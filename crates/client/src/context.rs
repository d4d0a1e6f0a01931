//! What every reconciler of a process shares.

use std::sync::Arc;

use api::clock::{Clock, SystemClock};

use crate::events::Recorder;
use crate::informer::Informers;
use crate::metrics::Metrics;
use crate::random::{Random, Seeded};

/// Client, caches, events, time and chance, handed to everything that runs beside the API.
#[derive(Clone)]
pub struct Context {
    /// For writes and for reads that must not be stale.
    pub client: kube::Client,
    /// The process's caches.
    pub informers: Informers,
    /// Where events go.
    pub recorder: Recorder,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Jitter and suffixes.
    pub random: Arc<dyn Random>,
    /// What to count.
    pub metrics: Metrics,
}

impl Context {
    /// A context on the machine's own clock. `component` is who the events say they are from.
    /// Must be called within a tokio runtime: the recorder's task starts here.
    pub fn new(client: kube::Client, component: &str) -> Self {
        Self::with(
            client,
            component,
            Arc::new(SystemClock),
            Arc::new(Seeded::from_system()),
        )
    }

    /// A context on a given clock and randomness.
    pub fn with(
        client: kube::Client,
        component: &str,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let metrics = Metrics::new();
        Self {
            informers: Informers::with_random(client.clone(), random.clone()),
            recorder: Recorder::new(client.clone(), component, clock.clone(), &metrics),
            client,
            clock,
            random,
            metrics,
        }
    }
}
