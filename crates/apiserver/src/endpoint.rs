//! What is served under a resource path: the resource with what requests need of it, made once.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::resource::Resource;
use api::serving::Serving;
use api::status::Status;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use serde_json::Value;
use store::Key;

/// A resource that lives as long as the program (built in) or until its definition goes.
pub enum Held {
    /// Of the built-in catalog.
    Static(&'static Resource),
    /// Made from a definition at run time.
    Shared(Arc<Resource>),
}

impl Deref for Held {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        match self {
            Held::Static(resource) => resource,
            Held::Shared(resource) => resource,
        }
    }
}

/// Brings objects from the form they rest in into the one that is served, and back, where the
/// program's own conversions do not: custom resources.
pub trait Form: Send + Sync {
    /// From the store, whatever version each of them rests in.
    fn to_served(&self, objects: Vec<Value>) -> BoxFuture<'_, Result<Vec<Value>, Status>>;
    /// For the store.
    fn to_storage(&self, object: Value) -> BoxFuture<'_, Result<Value, Status>>;
    /// The version as its definition has it, for publication.
    fn version(&self) -> Value;
    /// What changes when the version does.
    fn mark(&self) -> u64;
}

/// One served version of one resource.
pub struct Endpoint {
    /// The resource.
    pub resource: Held,
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `/<group>/<plural>/`
    pub prefix: String,
    /// Objects rest in another form than they are served in.
    pub converts: bool,
    /// What converts them; none for the program's own conversions.
    pub form: Option<Arc<dyn Form>>,
    /// The resource has `/status`.
    pub has_status: bool,
    /// Selectable fields are those of converted objects, not of what rests.
    pub selects_converted: bool,
    /// What every request is told: the version is deprecated.
    pub warning: Option<String>,
    /// Why nothing new can be created, while the definition is going.
    pub closing: Option<&'static str>,
    /// Objects rest (reviews do not).
    pub stored: bool,
}

impl Endpoint {
    /// Does something outside the program make what is served of what rests?
    pub fn is_converted_elsewhere(&self) -> bool {
        self.converts && self.form.is_some()
    }

    fn builtin(resource: &'static Resource) -> Endpoint {
        let group = &resource.gvk.group;
        let converts = resource.storage_version != resource.gvk.version
            || resource.storage_group != resource.gvk.group;
        Endpoint {
            api_version: api::meta::join_api_version(group, &resource.gvk.version),
            prefix: Key::prefix_of(&resource.storage_group, &resource.storage_plural),
            converts,
            form: None,
            selects_converted: false,
            warning: api::deprecation::warning(&resource.gvk),
            closing: None,
            has_status: resource.subresources.iter().any(|s| &*s.name == "status"),
            stored: resource.verbs.iter().any(|v| &**v == "watch"),
            resource: Held::Static(resource),
        }
    }

    /// The key of an object; `namespace` counts for namespaced resources only.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        let namespace = self.resource.namespaced.then_some(namespace);
        Key::of(
            &self.resource.storage_group,
            &self.resource.storage_plural,
            namespace,
            name,
        )
    }

    /// Is the verb served?
    pub fn has_verb(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|v| &**v == verb)
    }
}

type Path = (Box<str>, Box<str>, Box<str>);

/// All endpoints by group, version and plural.
pub struct Endpoints {
    map: RwLock<HashMap<Box<str>, Vec<Arc<Endpoint>>>>,
    /// Moves with every change: documents made of the endpoints are as good as their number.
    changes: AtomicU64,
}

impl Endpoints {
    /// The endpoints of built-in kinds.
    pub fn builtin(serving: &Serving) -> Endpoints {
        let mut map: HashMap<Box<str>, Vec<Arc<Endpoint>>> = HashMap::new();
        for resource in serving.resources() {
            map.entry(resource.plural.clone())
                .or_default()
                .push(Arc::new(Endpoint::builtin(resource)));
        }
        Endpoints {
            map: RwLock::new(map),
            changes: AtomicU64::new(0),
        }
    }

    /// A number that moves with every change.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The endpoint of a path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Endpoint>> {
        let map = self.map.read();
        map.get(plural)?
            .iter()
            .find(|e| *e.resource.gvk.version == *version && *e.resource.gvk.group == *group)
            .cloned()
    }

    /// The other endpoints of the same objects: further versions, or another group.
    pub fn equivalent(&self, endpoint: &Endpoint) -> Vec<Arc<Endpoint>> {
        let map = self.map.read();
        let own = &endpoint.resource;
        map.get(&own.plural)
            .into_iter()
            .flatten()
            .filter(|e| e.stored && e.prefix == endpoint.prefix && e.resource.gvk != own.gvk)
            .cloned()
            .collect()
    }

    /// The endpoint of objects of a kind.
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Endpoint>> {
        let map = self.map.read();
        let found = map.values().flatten().find(|e| {
            let gvk = &e.resource.gvk;
            *gvk.kind == *kind && *gvk.group == *group && *gvk.version == *version && e.stored
        });
        found.cloned()
    }

    /// All of them, one per served version.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        self.map.read().values().flatten().cloned().collect()
    }

    /// Those that were made at run time, by group, version and name.
    pub fn custom(&self) -> Vec<Arc<Endpoint>> {
        let mut list: Vec<_> = self
            .all()
            .into_iter()
            .filter(|endpoint| matches!(endpoint.resource, Held::Shared(_)))
            .collect();
        list.sort_by_cached_key(|endpoint| Self::path(endpoint));
        list
    }

    /// Adds one, or puts it in the place of the one with the same path.
    pub fn insert(&self, endpoint: Arc<Endpoint>) {
        let path = Self::path(&endpoint);
        let mut map = self.map.write();
        let list = map.entry(endpoint.resource.plural.clone()).or_default();
        list.retain(|e| Self::path(e) != path);
        list.push(endpoint);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the endpoint of a path away.
    pub fn remove(&self, group: &str, version: &str, plural: &str) {
        let mut map = self.map.write();
        if let Some(list) = map.get_mut(plural) {
            list.retain(|e| *e.resource.gvk.version != *version || *e.resource.gvk.group != *group);
            if list.is_empty() {
                map.remove(plural);
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn path(endpoint: &Endpoint) -> Path {
        let resource = &endpoint.resource;
        (
            resource.gvk.group.clone(),
            resource.gvk.version.clone(),
            resource.plural.clone(),
        )
    }
}
