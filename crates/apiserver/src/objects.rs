//! Reading objects for the server's own decisions: authentication, authorization and admission look
//! here, past authorization and encoding.

use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;
use store::{Entry, Key, ListOptions, Store};

/// The objects as they are now.
pub struct Objects {
    store: Arc<Store>,
}

impl Objects {
    /// Over this store.
    pub fn new(store: Arc<Store>) -> Objects {
        Objects { store }
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
    pub fn value(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        serde_json::from_slice(&self.entry(group, plural, namespace, name)?.json).ok()
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
    pub fn values(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Value> {
        self.list(group, plural, namespace)
            .iter()
            .filter_map(|entry| serde_json::from_slice(&entry.json).ok())
            .collect()
    }
}
