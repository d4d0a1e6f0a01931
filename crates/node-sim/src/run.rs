//! Execute: the watch of bound pods, and the writes it gives rise to.
//!
//! Each pod is in [`Work`] at most once: while something is to be written about it, or while it is
//! stopping. What waits is bounded by the pods of the simulated nodes; what is under way by
//! [`crate::Config::writes`].

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use client::{backoff::Backoff, random::Seeded};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::watcher::{self, Event},
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, time::DelayQueue};

use crate::{
    Config, SimError, heartbeat, object,
    plan::{Action, plan, running},
    pods::SimPod,
};

/// Registers the nodes, then simulates them until `shutdown`.
pub fn run(
    client: Client,
    config: Config,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), SimError>> {
    Box::pin(async move {
        heartbeat::register(&client, &config).await?;
        let beating = tokio::spawn(heartbeat::renew_all(
            client.clone(),
            config.clone(),
            shutdown.clone(),
        ));
        let mut work = Work::new(client.clone(), config);
        let backoff = Backoff::CONNECTION;
        let random = Seeded::from_system();
        // Pods without a node are nobody's here; a server that cannot leave them out sends them too.
        let filter = watcher::Config::default().fields("spec.nodeName!=");
        let mut events = watcher::watcher(Api::<SimPod>::all(client), filter).boxed();
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = work.under_way.next(), if !work.under_way.is_empty() => work.finished(done),
                Some(due) = work.stopping.next(), if !work.stopping.is_empty() => work.due(due.into_inner()),
                event = events.next() => match event {
                    Some(Ok(Event::InitApply(pod) | Event::Apply(pod))) => {
                        failures = 0;
                        work.take(pod);
                    }
                    Some(Ok(Event::Delete(pod))) => work.forget(&pod),
                    Some(Ok(Event::Init | Event::InitDone)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "watch of pods");
                        let delay = backoff.delay(failures, &random);
                        failures += 1;
                        let _ = tokio::time::timeout(delay, shutdown.cancelled()).await;
                    }
                    None => break,
                },
            }
            work.start();
        }
        // It ends by the same token; a panic in it would have been logged where it happened.
        let _ = beating.await;
        Ok(())
    })
}

/// Tries of one write that failed in a row; after them the next event of the pod starts anew.
const TRIES: u32 = 8;

struct Item {
    pod: Arc<SimPod>,
    action: Action,
    tries: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    UnderWay,
    /// Stopping, or waiting to be tried again.
    Delayed(tokio_util::time::delay_queue::Key),
}

type Done = (String, Arc<SimPod>, bool);

struct Work {
    client: Client,
    config: Config,
    items: HashMap<String, Item>,
    waiting: VecDeque<String>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    stopping: DelayQueue<String>,
    addresses: u32,
    random: Seeded,
}

impl Work {
    fn new(client: Client, config: Config) -> Work {
        Work {
            client,
            config,
            items: HashMap::new(),
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            stopping: DelayQueue::new(),
            addresses: 0,
            random: Seeded::from_system(),
        }
    }

    fn take(&mut self, pod: SimPod) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        if object::index(&self.config, &pod.spec.node_name).is_none() {
            return;
        }
        let Some(action) = plan(&pod, self.config.stop, jiff::Timestamp::now()) else {
            return;
        };
        if let Some(item) = self.items.get_mut(&uid) {
            let same = item.action == Action::Run && action == Action::Run;
            let pod = Arc::new(pod);
            match item.place {
                // Looked at again when the write comes back.
                Place::UnderWay => {
                    item.pod = pod;
                    item.action = action;
                    return;
                }
                Place::Waiting if same => {
                    item.pod = pod;
                    return;
                }
                Place::Waiting => self.waiting.retain(|waiting| *waiting != uid),
                Place::Delayed(key) => {
                    self.stopping.remove(&key);
                }
            }
            self.items.remove(&uid);
            self.enqueue(uid, pod, action, 0);
        } else {
            self.enqueue(uid, Arc::new(pod), action, 0);
        }
    }

    fn enqueue(&mut self, uid: String, pod: Arc<SimPod>, action: Action, tries: u32) {
        let place = match action {
            Action::Remove { after } if !after.is_zero() => {
                Place::Delayed(self.stopping.insert_at(uid.clone(), Instant::now() + after))
            }
            _ => {
                self.waiting.push_back(uid.clone());
                Place::Waiting
            }
        };
        let item = Item {
            pod,
            action,
            tries,
            place,
        };
        self.items.insert(uid, item);
    }

    fn forget(&mut self, pod: &SimPod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match self.items.get(uid).map(|item| item.place) {
            Some(Place::Delayed(key)) => {
                self.stopping.remove(&key);
                self.items.remove(uid);
            }
            Some(Place::Waiting) => {
                self.waiting.retain(|waiting| waiting != uid);
                self.items.remove(uid);
            }
            // The write comes back, with "not found" at the worst.
            Some(Place::UnderWay) | None => {}
        }
    }

    /// A pod has stopped, or may be tried again.
    fn due(&mut self, uid: String) {
        if let Some(item) = self.items.get_mut(&uid) {
            item.place = Place::Waiting;
            if let Action::Remove { after } = &mut item.action {
                *after = Duration::ZERO;
            }
            self.waiting.push_back(uid);
        }
    }

    /// Starts writes as far as the bound allows.
    fn start(&mut self) {
        while self.under_way.len() < self.config.writes.max(1) {
            let Some(uid) = self.waiting.pop_front() else {
                return;
            };
            let Some(item) = self.items.get_mut(&uid) else {
                continue;
            };
            item.place = Place::UnderWay;
            let pod = item.pod.clone();
            let api: Api<SimPod> = Api::namespaced(
                self.client.clone(),
                pod.metadata.namespace.as_deref().unwrap_or_default(),
            );
            let address = object::address(10, 128, self.addresses);
            let run = item.action == Action::Run;
            if run {
                self.addresses = self.addresses.wrapping_add(1);
            }
            let write = async move {
                let outcome = if run {
                    report(&api, &pod, &address).await
                } else {
                    remove(&api, &pod).await
                };
                let good = match outcome {
                    Ok(()) => true,
                    // Gone, or another pod of the name: nothing left to do.
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
                    Err(error) => {
                        tracing::debug!(pod = pod.metadata.name, %error, "write failed");
                        false
                    }
                };
                (uid, pod, good)
            };
            self.under_way.push(write.boxed());
        }
    }

    fn finished(&mut self, (uid, pod, good): Done) {
        let Some(mut item) = self.items.remove(&uid) else {
            return;
        };
        // Something newer was seen meanwhile; it may be our own write.
        if !Arc::ptr_eq(&item.pod, &pod) {
            if !good || item.action != Action::Run {
                self.enqueue(uid, item.pod, item.action, 0);
            }
        } else if !good && item.tries < TRIES {
            item.tries += 1;
            let delay = Backoff::CONNECTION.delay(item.tries, &self.random);
            item.place =
                Place::Delayed(self.stopping.insert_at(uid.clone(), Instant::now() + delay));
            self.items.insert(uid, item);
        }
    }
}

async fn report(api: &Api<SimPod>, pod: &SimPod, address: &str) -> Result<(), kube::Error> {
    let now = api::clock::rfc3339(jiff::Timestamp::now());
    let patch = running(pod, address, &now);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .map(drop)
}

async fn remove(api: &Api<SimPod>, pod: &SimPod) -> Result<(), kube::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    api.delete(name, &now).await.map(drop)
}
