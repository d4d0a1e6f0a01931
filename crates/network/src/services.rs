//! Services and their EndpointSlices as the informers bring them, and which services changed.
//!
//! Proxy and DNS both work per service, so both take the changes of the two kinds from here,
//! already joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::{Change, Informer, Informers, Scope, Subscription};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The label that ties a slice to its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Namespace and name of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A service's slices, by name.
pub type Slices = BTreeMap<String, Arc<EndpointSlice>>;

/// The objects, and the services that changed since they were last asked for.
#[derive(Debug, Default)]
pub struct Objects {
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, Slices>,
    changed: BTreeSet<Key>,
}

fn key(service: &Service) -> Key {
    Key {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    }
}

fn owner(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(Key {
        namespace: slice.metadata.namespace.clone()?,
        name: name.clone(),
    })
}

impl Objects {
    /// A service was made or changed.
    pub fn put_service(&mut self, service: Arc<Service>) {
        let key = key(&service);
        self.changed.insert(key.clone());
        self.services.insert(key, service);
    }

    /// A service went.
    pub fn remove_service(&mut self, service: &Service) {
        let key = key(service);
        self.services.remove(&key);
        self.changed.insert(key);
    }

    /// A slice was made or changed.
    pub fn put_slice(&mut self, slice: Arc<EndpointSlice>) {
        let (Some(owner), Some(name)) = (owner(&slice), slice.metadata.name.clone()) else {
            return;
        };
        self.slices
            .entry(owner.clone())
            .or_default()
            .insert(name, slice);
        self.changed.insert(owner);
    }

    /// A slice went.
    pub fn remove_slice(&mut self, slice: &EndpointSlice) {
        let (Some(owner), Some(name)) = (owner(slice), &slice.metadata.name) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.changed.insert(owner);
    }

    /// A service.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The slices of a service.
    #[must_use]
    pub fn slices(&self, key: &Key) -> Option<&Slices> {
        self.slices.get(key)
    }

    /// Whether nothing changed since [`Self::take_changed`].
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// The services that changed, themselves or in their slices.
    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    fn service_changed(&mut self, change: Change<Service>) {
        match change {
            Change::Applied { new, .. } => self.put_service(new),
            Change::Deleted(old) => self.remove_service(&old),
        }
    }

    fn slice_changed(&mut self, change: Change<EndpointSlice>) {
        match change {
            Change::Applied { old, new } => {
                // A slice may change the service it is of.
                if let Some(old) = old.filter(|old| owner(old) != owner(&new)) {
                    self.remove_slice(&old);
                }
                self.put_slice(new);
            }
            Change::Deleted(old) => self.remove_slice(&old),
        }
    }
}

/// The changes of both kinds.
pub(crate) struct Sources {
    services: (Informer<Service>, Subscription<Service>),
    slices: (Informer<EndpointSlice>, Subscription<EndpointSlice>),
}

impl Sources {
    pub fn new(informers: &Informers) -> Self {
        let services = informers.get::<Service>(Scope::All);
        let slices = informers.get::<EndpointSlice>(Scope::All);
        let subscriptions = (services.subscribe(), slices.subscribe());
        Self {
            services: (services, subscriptions.0),
            slices: (slices, subscriptions.1),
        }
    }

    /// Waits until the caches hold everything that was there at the start.
    pub async fn synced(&self) {
        self.services.0.synced().await;
        self.slices.0.synced().await;
    }

    /// Takes what has come already.
    pub fn take(&mut self, objects: &mut Objects) {
        while let Some(change) = self.services.1.try_next() {
            objects.service_changed(change);
        }
        while let Some(change) = self.slices.1.try_next() {
            objects.slice_changed(change);
        }
    }

    /// Waits for a change, and takes what has come with it.
    pub async fn next(&mut self, objects: &mut Objects) {
        tokio::select! {
            change = self.services.1.next() => objects.service_changed(change),
            change = self.slices.1.next() => objects.slice_changed(change),
        }
        self.take(objects);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(owner: &str) -> Arc<EndpointSlice> {
        let labels = json!({SERVICE_NAME_LABEL: owner});
        let object = json!({
            "metadata": {"namespace": "ns", "name": "s", "labels": labels},
            "addressType": "IPv4", "endpoints": [],
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn named(name: &str) -> Key {
        Key {
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_slice_that_changes_its_service_changes_both() {
        let mut objects = Objects::default();
        let (old, new) = (slice("a"), slice("b"));
        objects.slice_changed(Change::Applied {
            old: None,
            new: old.clone(),
        });
        assert_eq!(objects.take_changed(), BTreeSet::from([named("a")]));
        objects.slice_changed(Change::Applied {
            old: Some(old),
            new: new.clone(),
        });
        assert_eq!(
            objects.take_changed(),
            BTreeSet::from([named("a"), named("b")])
        );
        assert!(objects.slices(&named("a")).is_none());
        assert_eq!(objects.slices(&named("b")).map(BTreeMap::len), Some(1));
        objects.slice_changed(Change::Deleted(new));
        assert!(objects.slices(&named("b")).is_none() && !objects.is_unchanged());
    }
}
