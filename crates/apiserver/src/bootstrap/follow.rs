//! Following a resource in the store, for indexes that requests look into.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;
use store::{EventKind, Key, ListOptions, Revision, Scope, Store};
use tokio_util::sync::CancellationToken;

/// Follows one resource.
pub struct Follower {
    store: Arc<Store>,
    prefix: String,
}

impl Follower {
    /// Of this group and plural.
    pub fn new(store: Arc<Store>, group: &str, plural: &str) -> Follower {
        Follower {
            prefix: Key::prefix_of(group, plural),
            store,
        }
    }

    /// Shows `seen` every object now, before this returns, and every change from now on, in a task
    /// that ends with `ending`.
    pub fn start(
        self,
        seen: impl Fn(&str, &str, Option<&Value>) + Send + Sync + 'static,
        ending: CancellationToken,
    ) {
        let mut known: HashSet<Key> = HashSet::new();
        let mut from = self.relist(&mut known, &seen);
        tokio::spawn(async move {
            while !ending.is_cancelled() {
                if let Ok(mut changes) = self.store.watch(&self.prefix, from, Scope::default()) {
                    loop {
                        let batch = tokio::select! {
                            () = ending.cancelled() => return,
                            batch = changes.next() => batch,
                        };
                        let Some(Ok(batch)) = batch else { break };
                        for event in batch {
                            let key = &event.entry.key;
                            let gone = event.kind == EventKind::Delete;
                            let object = if gone {
                                known.remove(key);
                                None
                            } else {
                                known.insert(key.clone());
                                serde_json::from_slice::<Value>(&event.entry.json).ok()
                            };
                            seen(key.namespace().unwrap_or(""), key.name(), object.as_ref());
                        }
                    }
                    // Dropped for slowness, or the store is closing: take stock again.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                from = self.relist(&mut known, &seen);
            }
        });
    }

    fn relist(
        &self,
        known: &mut HashSet<Key>,
        seen: &(impl Fn(&str, &str, Option<&Value>) + Send + Sync),
    ) -> Revision {
        let options = ListOptions::default();
        let Some(Ok(list)) = self.store.list(&self.prefix, &options, None).now_or_never() else {
            return self.store.revision();
        };
        let mut gone = std::mem::take(known);
        for entry in &list.items {
            gone.remove(&entry.key);
            known.insert(entry.key.clone());
            let object = serde_json::from_slice::<Value>(&entry.json).ok();
            seen(
                entry.key.namespace().unwrap_or(""),
                entry.key.name(),
                object.as_ref(),
            );
        }
        for key in gone {
            seen(key.namespace().unwrap_or(""), key.name(), None);
        }
        list.revision
    }
}
