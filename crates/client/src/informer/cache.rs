//! What an informer knows: the objects by name, who owns them, up to which revision the watch has
//! come, and the subscriptions that have to hear of changes.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kube::Resource;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::index::{Index, Kept, Values};
use super::subscription::{Change, Inbox, Subscription};
use crate::key::{Key, revision_of};

/// The cache of an informer; clones share it. Reads never wait for the API.
pub struct Store<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<K> {
    contents: RwLock<Contents<K>>,
    /// Changes are handed out under this lock, so that every subscription sees them in one order.
    inboxes: Mutex<Vec<Arc<Inbox<K>>>>,
    synced: watch::Sender<bool>,
}

struct Contents<K> {
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<K>>>,
    owned: Kept<K>,
    indexes: Vec<Kept<K>>,
    orphans: BTreeSet<Key>,
    count: usize,
    revision: u64,
    /// Of the objects of a list under way: they come in the order of their names, so that none of
    /// them says how far the whole has come until the list is complete.
    listed_revision: u64,
}

impl<K: Resource + Send + Sync + 'static> Store<K> {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                contents: RwLock::new(Contents {
                    objects: BTreeMap::new(),
                    owned: Kept::new("owners", owners),
                    indexes: Vec::new(),
                    orphans: BTreeSet::new(),
                    count: 0,
                    revision: 0,
                    listed_revision: 0,
                }),
                inboxes: Mutex::default(),
                synced: watch::Sender::new(false),
            }),
        }
    }

    /// The object of this name; the namespace of cluster-scoped objects is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.inner
            .contents
            .read()
            .objects
            .get(namespace)?
            .get(name)
            .cloned()
    }

    /// The object of this key.
    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        let contents = self.inner.contents.read();
        contents
            .objects
            .values()
            .flat_map(|space| space.values().cloned())
            .collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let contents = self.inner.contents.read();
        contents
            .objects
            .get(namespace)
            .map(|space| space.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The objects that name this uid among their owners, ordered by namespace and name.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.inner.contents.read().owned.get(uid)
    }

    /// The index of this name, which is kept from now on if it was not.
    pub fn index(&self, name: &'static str, values: Values<K>) -> Index<K> {
        let mut contents = self.inner.contents.write();
        let known = contents.indexes.iter().position(|kept| kept.name == name);
        let place = known.unwrap_or_else(|| {
            let mut kept = Kept::new(name, values);
            for object in contents.objects.values().flat_map(BTreeMap::values) {
                kept.put(&Key::of(&**object), None, object);
            }
            contents.indexes.push(kept);
            contents.indexes.len() - 1
        });
        Index {
            store: self.clone(),
            place,
        }
    }

    /// The objects of one namespace that no controller owns, ordered by name.
    pub fn orphans_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let contents = self.inner.contents.read();
        contents
            .orphans
            .range(Key::new(namespace, "")..)
            .take_while(|key| *key.namespace == *namespace)
            .filter_map(|key| contents.objects.get(namespace)?.get(&key.name).cloned())
            .collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.contents.read().count
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest revision of this kind seen so far: a write that was answered with a revision no
    /// higher than this is visible here (or already superseded).
    pub fn revision(&self) -> u64 {
        self.inner.contents.read().revision
    }

    pub(super) async fn synced(&self) {
        let mut synced = self.inner.synced.subscribe();
        // The sender lives in the store this future borrows, so waiting cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    pub(super) fn is_synced(&self) -> bool {
        *self.inner.synced.borrow()
    }

    pub(super) fn mark_synced(&self) {
        self.inner
            .synced
            .send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    pub(super) fn subscribe(&self, keep: Arc<dyn Any + Send + Sync>) -> Subscription<K> {
        let inbox = Arc::new(Inbox::default());
        let mut inboxes = self.inner.inboxes.lock();
        for object in self.list() {
            inbox.put(&Change::Applied {
                old: None,
                new: object,
            });
        }
        inboxes.push(inbox.clone());
        Subscription::new(inbox, keep)
    }

    /// An object was seen, in a list or in the watch after it. Nothing happens when this very state
    /// of it is cached already.
    pub(super) fn apply(&self, object: K, listing: bool) {
        let new = Arc::new(object);
        let mut inboxes = self.inner.inboxes.lock();
        let old = {
            let mut contents = self.inner.contents.write();
            let revision = revision_of(&*new);
            if listing {
                contents.listed_revision = contents.listed_revision.max(revision);
            } else {
                contents.revision = contents.revision.max(revision);
            }
            contents.insert(new.clone())
        };
        match old {
            Some(old) if old.meta().uid != new.meta().uid => {
                hand_out(&mut inboxes, &Change::Deleted(old));
                hand_out(&mut inboxes, &Change::Applied { old: None, new });
            }
            Some(old)
                if old.meta().resource_version == new.meta().resource_version
                    && new.meta().resource_version.is_some() => {}
            old => hand_out(&mut inboxes, &Change::Applied { old, new }),
        }
    }

    /// An object is gone; `object` is its last state.
    pub(super) fn delete(&self, object: K) {
        let mut inboxes = self.inner.inboxes.lock();
        let removed = {
            let mut contents = self.inner.contents.write();
            contents.revision = contents.revision.max(revision_of(&object));
            contents.remove(&Key::of(&object))
        };
        if removed.is_some() {
            hand_out(&mut inboxes, &Change::Deleted(Arc::new(object)));
        }
    }

    /// A list is complete: what it did not contain is gone.
    pub(super) fn retain(&self, listed: &HashSet<Key>) {
        let mut inboxes = self.inner.inboxes.lock();
        let gone: Vec<_> = {
            let mut contents = self.inner.contents.write();
            contents.revision = contents
                .revision
                .max(std::mem::take(&mut contents.listed_revision));
            let keys: Vec<Key> = contents
                .objects
                .values()
                .flat_map(|space| space.values().map(|object| Key::of(&**object)))
                .filter(|key| !listed.contains(key))
                .collect();
            keys.iter().filter_map(|key| contents.remove(key)).collect()
        };
        for object in gone {
            hand_out(&mut inboxes, &Change::Deleted(object));
        }
    }
}

impl<K: Resource> Contents<K> {
    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let key = Key::of(&*object);
        let space = self.objects.entry(key.namespace.clone()).or_default();
        let old = space.insert(key.name.clone(), object.clone());
        self.count += usize::from(old.is_none());
        for kept in self.kept() {
            kept.put(&key, old.as_deref(), &object);
        }
        match (controlled(&*object), old.as_deref().map(controlled)) {
            (false, None | Some(true)) => drop(self.orphans.insert(key)),
            (true, Some(false)) => drop(self.orphans.remove(&key)),
            _ => {}
        }
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let space = self.objects.get_mut(&key.namespace)?;
        let old = space.remove(&key.name)?;
        if space.is_empty() {
            self.objects.remove(&key.namespace);
        }
        self.count -= 1;
        self.orphans.remove(key);
        for kept in self.kept() {
            kept.remove(key, &old);
        }
        Some(old)
    }

    fn kept(&mut self) -> impl Iterator<Item = &mut Kept<K>> {
        std::iter::once(&mut self.owned).chain(&mut self.indexes)
    }
}

impl<K: Resource + Send + Sync + 'static> Index<K> {
    /// The objects under this value, ordered by namespace and name.
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        let contents = self.store.inner.contents.read();
        let kept = contents.indexes.get(self.place);
        kept.map_or_else(Vec::new, |kept| kept.get(value))
    }
}

fn owners<K: Resource>(object: &K, say: &mut dyn FnMut(&str)) {
    for owner in object.meta().owner_references.iter().flatten() {
        say(&owner.uid);
    }
}

fn controlled<K: Resource>(object: &K) -> bool {
    let owners = object.meta().owner_references.as_deref();
    owners
        .unwrap_or_default()
        .iter()
        .any(|owner| owner.controller == Some(true))
}

fn hand_out<K: Resource>(inboxes: &mut Vec<Arc<Inbox<K>>>, change: &Change<K>) {
    inboxes.retain(|inbox| inbox.put(change));
}
