//! What a controller is given to work with, and how it wires caches to its queue.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use client::controller::{self, Requeue};
use client::events::Recorder;
use client::informer::Object;
use client::metrics::Metrics;
use client::queue::WorkQueue;
use client::random::Random;
use client::{Change, Informer, Informers, Key};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio_util::sync::CancellationToken;

/// Changes of many objects that come together are summed up together: one may wait so long for its
/// turn in a status or in endpoints, and fifty pods that start at once do not make fifty writes.
pub(crate) const GATHER: Duration = Duration::from_millis(10);

/// Every object is looked at again after this long even if nothing changed, so that what a missed
/// change left behind is mended.
const RESYNC: Duration = Duration::from_secs(10 * 3600);

/// One controller's tools: its own identity for writes, the shared caches, time and chance.
#[derive(Clone)]
pub(crate) struct Kit {
    pub name: &'static str,
    /// Its queue's name.
    pub queue: &'static str,
    pub client: kube::Client,
    pub informers: Informers,
    pub recorder: Recorder,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Metrics,
    pub workers: usize,
    pub shutdown: CancellationToken,
}

impl Kit {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn time(&self) -> Time {
        // The API keeps whole seconds; a finer time would differ from what is read back.
        let now = self.now();
        Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    pub fn queue<Q>(&self) -> WorkQueue<Q>
    where
        Q: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    {
        WorkQueue::new(self.queue, &self.metrics, self.random.clone())
    }

    /// Feeds the queue from an informer's changes.
    pub fn follow<K, Q, I>(
        &self,
        informer: &Informer<K>,
        queue: &WorkQueue<Q>,
        keys: impl FnMut(Change<K>) -> I + Send + 'static,
    ) where
        K: Object,
        Q: Clone + Eq + Hash + Debug + Send + Sync + 'static,
        I: IntoIterator<Item = Q> + 'static,
        I::IntoIter: Send,
    {
        self.follow_within(Duration::ZERO, informer, queue, keys);
    }

    /// As [`Self::follow`], taking the changes of so long together: for what sums up many objects.
    pub fn follow_within<K, Q, I>(
        &self,
        delay: Duration,
        informer: &Informer<K>,
        queue: &WorkQueue<Q>,
        keys: impl FnMut(Change<K>) -> I + Send + 'static,
    ) where
        K: Object,
        Q: Clone + Eq + Hash + Debug + Send + Sync + 'static,
        I: IntoIterator<Item = Q> + 'static,
        I::IntoIter: Send,
    {
        tokio::spawn(controller::feed(
            informer.subscribe(),
            queue.clone(),
            delay,
            keys,
            self.shutdown.clone(),
        ));
    }

    /// Feeds the queue with the changed objects themselves, and with all of them at a slow resync.
    pub fn follow_own<K: Object>(&self, informer: &Informer<K>, queue: &WorkQueue<Key>) {
        self.follow(informer, queue, |change| [Key::of(&**change.object())]);
        let (informer, queue, kit) = (informer.clone(), queue.clone(), self.clone());
        tokio::spawn(async move {
            loop {
                let pause = RESYNC.mul_f64(1.0 + kit.random.unit());
                tokio::select! {
                    () = kit.shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                for object in informer.store().list() {
                    queue.add(Key::of(&*object));
                }
            }
        });
    }

    /// Waits for a cache; false when the shutdown came first.
    pub async fn synced<K: Object>(&self, informer: &Informer<K>) -> bool {
        tokio::select! {
            () = informer.synced() => true,
            () = self.shutdown.cancelled() => false,
        }
    }

    /// Does the cluster serve this resource (`certificates.k8s.io/v1beta1`, `clustertrustbundles`)?
    /// What a cluster serves is settled at its start, so it is asked once. None when the shutdown
    /// came first.
    pub async fn serves(&self, api_version: &str, plural: &str) -> Option<bool> {
        let mut pause = Duration::from_secs(1);
        loop {
            match self.client.list_api_group_resources(api_version).await {
                Ok(list) => return Some(list.resources.iter().any(|r| r.name == plural)),
                Err(kube::Error::Api(status)) if status.code == 404 => return Some(false),
                Err(error) => {
                    tracing::warn!(controller = self.name, %error, "ask what the cluster serves");
                }
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    /// Runs the reconciler over the queue until the shutdown.
    pub async fn run<Q, F, Fut, E>(&self, queue: WorkQueue<Q>, reconcile: F)
    where
        Q: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static,
        F: Fn(Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, E>> + Send,
        E: Display + Send,
    {
        controller::run(
            self.name,
            queue,
            self.workers,
            reconcile,
            self.shutdown.clone(),
        )
        .await;
    }
}

/// The earlier of two wishes to be called again.
pub(crate) fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A wish to be called again as the runner takes it.
pub(crate) fn requeue(after: Option<Duration>) -> Requeue {
    after.map_or(Requeue::OnChange, Requeue::After)
}

/// How long from `now` until `at`; at least a moment, so that a rounded time does not spin.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(10))
}
