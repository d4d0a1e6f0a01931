//! Reading objects for the server's own decisions: authentication, authorization and admission look
//! here, past authorization and encoding.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::Value;
use store::{Entry, Key, ListOptions, Revision, Store};

/// Parsed objects kept; at the bound all of them go, and those asked for again come back.
const KEPT: usize = 256;
/// Of longer lists no parsed objects are kept: whoever walks thousands does so rarely.
const KEPT_OF_LIST: usize = 32;

/// The objects as they are now.
pub struct Objects {
    store: Arc<Store>,
    /// Every write asks for the same few (its namespace, its account, the classes), which change
    /// rarely.
    parsed: Mutex<HashMap<Key, (Revision, Arc<Value>)>>,
}

impl Objects {
    /// Over this store.
    pub fn new(store: Arc<Store>) -> Objects {
        Objects {
            store,
            parsed: Mutex::default(),
        }
    }

    /// One object; `namespace` is empty for the cluster's.
    pub fn entry(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Entry>> {
        if name.is_empty() {
            return None;
        }
        let namespace = (!namespace.is_empty()).then_some(namespace);
        self.store.get(&Key::of(group, plural, namespace, name))
    }

    /// One object, parsed.
    pub fn value(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.kept(&*self.entry(group, plural, namespace, name)?)
    }

    /// The entry, parsed now or before.
    fn kept(&self, entry: &Entry) -> Option<Arc<Value>> {
        if let Some((revision, value)) = self.parsed.lock().get(&entry.key)
            && *revision == entry.revision
        {
            return Some(value.clone());
        }
        let value = Arc::new(serde_json::from_slice(&entry.json).ok()?);
        let mut parsed = self.parsed.lock();
        if parsed.len() >= KEPT && !parsed.contains_key(&entry.key) {
            parsed.clear();
        }
        parsed.insert(entry.key.clone(), (entry.revision, Arc::clone(&value)));
        Some(value)
    }

    /// All objects of a resource, or those of one namespace.
    pub fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        self.select(
            group,
            plural,
            &ListOptions {
                namespace,
                ..ListOptions::default()
            },
        )
    }

    /// The objects with this value of a selectable field.
    pub fn by_field(&self, group: &str, plural: &str, field: (&str, &str)) -> Vec<Arc<Entry>> {
        self.select(
            group,
            plural,
            &ListOptions {
                field: Some(field),
                ..ListOptions::default()
            },
        )
    }

    fn select(&self, group: &str, plural: &str, options: &ListOptions<'_>) -> Vec<Arc<Entry>> {
        let prefix = Key::prefix_of(group, plural);
        // A list of the present is answered from memory without waiting.
        self.store
            .list(&prefix, options, None)
            .now_or_never()
            .and_then(Result::ok)
            .map_or_else(Vec::new, |list| list.items)
    }

    /// `list`, parsed.
    pub fn values(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let entries = self.list(group, plural, namespace);
        let few = entries.len() <= KEPT_OF_LIST;
        entries
            .iter()
            .filter_map(|entry| match few {
                true => self.kept(entry),
                false => serde_json::from_slice(&entry.json).ok().map(Arc::new),
            })
            .collect()
    }
}
