//! Shared informers: one watch per kind and scope in a process, one cache that everybody reads, and
//! changes handed to whoever subscribes.
//!
//! [`Informers`] is the registry. An informer starts with its first user and ends with its last.
//! A kind's cached copies have their `managedFields` dropped.

mod cache;
mod index;
mod metadata;
mod subscription;
#[cfg(test)]
mod tests;
mod watch;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Weak};

use apiserver::WITHOUT_MANAGERS;
use http::HeaderValue;
use kube::core::ApiResource;
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use self::cache::Store;
pub use self::index::{Index, Values};
pub use self::metadata::{Metadata, slim};
pub use self::subscription::{Change, Subscription};
use crate::backoff::Backoff;
use crate::random::{Random, Seeded};
use crate::transport::with_look;

/// What an informer needs of a kind.
pub trait Object: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Object for K {}

/// Which objects of a kind an informer holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them.
    All,
    /// Those a field selector matches: `spec.nodeName=x`, `metadata.namespace=y`.
    Fields(String),
    /// Those a label selector matches.
    Labels(String),
}

impl Scope {
    /// `Scope::Fields` from a borrowed selector.
    pub fn fields(selector: &str) -> Self {
        Self::Fields(selector.to_owned())
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Slot {
    kind: TypeId,
    url: String,
    scope: Scope,
}

struct Registry {
    client: kube::Client,
    random: Arc<dyn Random>,
    running: Mutex<HashMap<Slot, Weak<dyn Any + Send + Sync>>>,
}

/// The informers of a process; clones share them.
#[derive(Clone)]
pub struct Informers {
    registry: Arc<Registry>,
}

impl Informers {
    /// A registry that reads through this client.
    pub fn new(client: kube::Client) -> Self {
        Self::with_random(client, Arc::new(Seeded::from_system()))
    }

    /// As [`Self::new`], with given randomness for the jitter of reconnects.
    pub fn with_random(client: kube::Client, random: Arc<dyn Random>) -> Self {
        Self {
            registry: Arc::new(Registry {
                client: without_managers(client),
                random,
                running: Mutex::default(),
            }),
        }
    }

    /// The informer of a kind. Must be called within a tokio runtime.
    pub fn get<K>(&self, scope: Scope) -> Informer<K>
    where
        K: Object + Resource<DynamicType = ()>,
    {
        self.shared(Api::all(self.registry.client.clone()), scope)
    }

    /// The informer of one namespaced object: a list and a watch of the namespace by name, which is
    /// what a node may do with the objects its pods use. Must be called within a tokio runtime.
    pub fn one<K>(&self, namespace: &str, name: &str) -> Informer<K>
    where
        K: Object + Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.shared(
            Api::namespaced(self.registry.client.clone(), namespace),
            Scope::Fields(format!("metadata.name={name}")),
        )
    }

    /// The informer of the metadata of a kind known only at run time. Must be called within a tokio
    /// runtime.
    pub fn metadata(&self, resource: &ApiResource, scope: Scope) -> Informer<Metadata> {
        self.shared(Api::all_with(self.registry.client.clone(), resource), scope)
    }

    fn shared<K: Object>(&self, api: Api<K>, scope: Scope) -> Informer<K> {
        let slot = Slot {
            kind: TypeId::of::<K>(),
            url: api.resource_url().to_owned(),
            scope: scope.clone(),
        };
        let mut running = self.registry.running.lock();
        if let Some(any) = running.get(&slot).and_then(Weak::upgrade)
            && let Ok(shared) = any.downcast::<Shared<K>>()
        {
            return Informer { shared };
        }
        running.retain(|_, informer| informer.strong_count() > 0);
        let shared = Arc::new(Shared {
            store: Store::new(),
            stop: CancellationToken::new(),
        });
        tokio::spawn(watch::run(watch::Task {
            api,
            scope,
            store: shared.store.clone(),
            backoff: Backoff::CONNECTION,
            random: self.registry.random.clone(),
            stop: shared.stop.clone(),
        }));
        let any: Arc<dyn Any + Send + Sync> = shared.clone();
        running.insert(slot, Arc::downgrade(&any));
        Informer { shared }
    }
}

/// The same client, telling the server that nobody here reads `managedFields`.
fn without_managers(client: kube::Client) -> kube::Client {
    with_look(client, |request| {
        let headers = request.headers_mut();
        headers.insert(WITHOUT_MANAGERS, HeaderValue::from_static("true"));
        Ok(())
    })
}

struct Shared<K> {
    store: Store<K>,
    stop: CancellationToken,
}

impl<K> Drop for Shared<K> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A handle on a shared informer. The watch ends when the last handle and subscription is dropped.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Object> Informer<K> {
    /// The cache. Empty or partial until [`Self::synced`].
    pub fn store(&self) -> &Store<K> {
        &self.shared.store
    }

    /// Waits until the cache holds everything that was there at the start.
    pub async fn synced(&self) {
        self.shared.store.synced().await;
    }

    /// Whether [`Self::synced`] would return at once.
    pub fn is_synced(&self) -> bool {
        self.shared.store.is_synced()
    }

    /// The changes from now on, preceded by one `Applied` for every object already in the cache.
    pub fn subscribe(&self) -> Subscription<K> {
        let keep: Arc<dyn Any + Send + Sync> = self.shared.clone();
        self.shared.store.subscribe(keep)
    }
}
