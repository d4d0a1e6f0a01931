//! The metadata informers of all kinds, and the questions asked of them together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use client::backoff::Backoff;
use client::informer::Metadata;
use client::queue::WorkQueue;
use client::{Informer, Key, Scope};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::core::ApiResource;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Absent, Item, SYNC_PATIENCE, on_change};
use crate::kinds::{self, Kind};
use crate::kit::Kit;

/// Changes to what is served come in bursts; one discovery answers for all of a burst.
const SETTLE: Duration = Duration::from_secs(1);
/// Kinds whose changes change which kinds there are.
const DEFINING: [&str; 2] = [
    "apiextensions.k8s.io/customresourcedefinitions",
    "apiregistration.k8s.io/apiservices",
];
/// Many, short-lived, and nobody's owners or dependents.
const IGNORED: [&str; 2] = ["/events", "events.k8s.io/events"];

pub(super) struct Monitor {
    pub kind: Kind,
    since: Timestamp,
    informer: Informer<Metadata>,
    /// Ends the feeding of the queue when the kind is no longer served.
    stop: CancellationToken,
}

/// An object found in a cache.
pub(super) struct Found {
    pub item: Item,
    pub object: Arc<Metadata>,
}

/// One per kind that is served.
pub(super) struct Monitors {
    kit: Kit,
    queue: WorkQueue<Item>,
    absent: Arc<Absent>,
    all: RwLock<HashMap<Arc<str>, Monitor>>,
}

impl Monitors {
    pub fn new(kit: Kit, queue: WorkQueue<Item>, absent: Arc<Absent>) -> Self {
        Self {
            kit,
            queue,
            absent,
            all: RwLock::default(),
        }
    }

    /// Discovers the kinds and starts watching them and their coming and going.
    pub async fn start(self: &Arc<Self>) {
        let mut attempt = 0;
        while !self.refresh().await {
            tokio::time::sleep(Backoff::CONNECTION.delay(attempt, &*self.kit.random)).await;
            attempt += 1;
        }
        let defining: Vec<_> = {
            let all = self.all.read();
            DEFINING
                .iter()
                .filter_map(|name| all.get(*name).map(|monitor| monitor.informer.clone()))
                .collect()
        };
        for informer in defining {
            let (this, shutdown) = (Arc::downgrade(self), self.kit.shutdown.clone());
            tokio::spawn(async move {
                informer.synced().await;
                let mut changes = informer.subscribe();
                // What is there already was part of the first discovery.
                while changes.try_next().is_some() {}
                loop {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        _ = changes.next() => {}
                    }
                    tokio::time::sleep(SETTLE).await;
                    while changes.try_next().is_some() {}
                    let Some(monitors) = Weak::upgrade(&this) else {
                        return;
                    };
                    monitors.refresh().await;
                }
            });
        }
    }

    /// Brings the monitors in line with discovery; false when that did not answer.
    async fn refresh(self: &Arc<Self>) -> bool {
        let kinds = match kinds::served(&self.kit.client).await {
            Ok(served) => served.deletable,
            Err(error) => {
                warn!("garbage collector: {error}");
                return false;
            }
        };
        let mut served: HashMap<Arc<str>, Kind> = kinds
            .into_iter()
            .filter(Kind::is_watchable)
            .map(|kind| (name_of(&kind.resource), kind))
            .filter(|(name, _)| !IGNORED.contains(&&**name))
            .collect();
        let mut all = self.all.write();
        all.retain(|name, monitor| {
            let same = served
                .get(name)
                .is_some_and(|kind| kind.resource == monitor.kind.resource);
            if !same {
                monitor.stop.cancel();
            }
            same
        });
        served.retain(|name, _| !all.contains_key(name));
        for (name, kind) in served {
            debug!(kind = &*name, "collecting");
            let informer = self.kit.informers.metadata(&kind.resource, Scope::All);
            let stop = self.kit.shutdown.child_token();
            self.feed(name.clone(), informer.clone(), stop.clone());
            all.insert(
                name,
                Monitor {
                    kind,
                    since: self.kit.now(),
                    informer,
                    stop,
                },
            );
        }
        true
    }

    fn feed(
        self: &Arc<Self>,
        name: Arc<str>,
        informer: Informer<Metadata>,
        stop: CancellationToken,
    ) {
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut changes = informer.subscribe();
            loop {
                let change = tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.next() => change,
                };
                let Some(monitors) = Weak::upgrade(&this) else {
                    return;
                };
                on_change(&change, &name, &monitors, &monitors.absent, &monitors.queue);
            }
        });
    }

    /// Waits until every cache is filled.
    pub async fn synced(&self) {
        let informers: Vec<_> = self
            .all
            .read()
            .values()
            .map(|monitor| monitor.informer.clone())
            .collect();
        for informer in informers {
            informer.synced().await;
        }
    }

    /// May a dependent be of a kind that was found only now, and whose cache is still empty?
    pub fn are_filling(&self) -> bool {
        let now = self.kit.now();
        let all = self.all.read();
        all.values().any(|monitor| {
            !monitor.informer.is_synced() && is_patient(now.duration_since(monitor.since))
        })
    }

    /// The kind of this name.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.all
            .read()
            .get(name)
            .map(|monitor| monitor.kind.clone())
    }

    /// The object as cached.
    pub fn get(&self, item: &Item) -> Option<Arc<Metadata>> {
        self.all
            .read()
            .get(&item.kind)?
            .informer
            .store()
            .get_key(&item.key)
    }

    /// Is there an object of this kind and uid, wherever?
    pub fn has(&self, kind: &str, uid: &str) -> bool {
        self.all.read().get(kind).is_some_and(|monitor| {
            let objects = monitor.informer.store().list();
            objects
                .iter()
                .any(|object| object.meta().uid.as_deref() == Some(uid))
        })
    }

    /// Everything that names this uid as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Found> {
        let mut found = Vec::new();
        for (name, monitor) in self.all.read().iter() {
            for object in monitor.informer.store().owned_by(uid) {
                found.push(Found {
                    item: Item {
                        kind: name.clone(),
                        key: Key::of(&*object),
                    },
                    object,
                });
            }
        }
        found
    }

    /// The kind an owner reference means, by group and kind; the version does not matter.
    pub fn kind_of(&self, owner: &OwnerReference) -> Option<(Arc<str>, Kind)> {
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let all = self.all.read();
        all.iter()
            .find(|(_, monitor)| {
                monitor.kind.resource.group == group && monitor.kind.resource.kind == owner.kind
            })
            .map(|(name, monitor)| (name.clone(), monitor.kind.clone()))
    }

    /// The owner, if the cache has it under this uid.
    pub fn owner_in_cache(&self, owner: &OwnerReference, namespace: Option<&str>) -> Option<Found> {
        let (name, kind) = self.kind_of(owner)?;
        let namespace = if kind.namespaced { namespace? } else { "" };
        let item = Item {
            kind: name,
            key: Key::new(namespace, &owner.name),
        };
        let object = self.get(&item)?;
        (object.meta().uid.as_deref() == Some(owner.uid.as_str())).then_some(Found { item, object })
    }
}

/// Is a cache of that age waited for?
fn is_patient(age: SignedDuration) -> bool {
    age.unsigned_abs() < SYNC_PATIENCE
}

fn name_of(resource: &ApiResource) -> Arc<str> {
    format!("{}/{}", resource.group, resource.plural).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_does_not_fill_is_not_waited_for_long() {
        assert!(is_patient(SignedDuration::from_secs(2)));
        assert!(!is_patient(SignedDuration::from_secs(31)));
    }
}
