//! The objects of a store by something that is read off each of them: their owners, a pod's node.
//! Kept with every change under the store's lock, so that an answer costs what it holds and not what
//! the store holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Store;
use crate::key::Key;

/// Says each value an object is to be found under.
pub type Values<K> = fn(&K, &mut dyn FnMut(&str));

/// A handle on an index; see [`Store::index`].
pub struct Index<K> {
    pub(super) store: Store<K>,
    pub(super) place: usize,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            place: self.place,
        }
    }
}

/// What the store keeps of an index.
pub(super) struct Kept<K> {
    pub(super) name: &'static str,
    values: Values<K>,
    objects: HashMap<Box<str>, BTreeMap<Key, Arc<K>>>,
}

impl<K> Kept<K> {
    pub(super) fn new(name: &'static str, values: Values<K>) -> Self {
        Self {
            name,
            values,
            objects: HashMap::new(),
        }
    }

    pub(super) fn put(&mut self, key: &Key, old: Option<&K>, new: &Arc<K>) {
        if let Some(old) = old {
            let values = self.values;
            self.take_out(key, old, |value| {
                let mut stays = false;
                values(new, &mut |new| stays |= new == value);
                !stays
            });
        }
        let objects = &mut self.objects;
        (self.values)(new, &mut |value| match objects.get_mut(value) {
            Some(found) => drop(found.insert(key.clone(), new.clone())),
            None => drop(objects.insert(value.into(), [(key.clone(), new.clone())].into())),
        });
    }

    pub(super) fn remove(&mut self, key: &Key, old: &K) {
        self.take_out(key, old, |_| true);
    }

    fn take_out(&mut self, key: &Key, old: &K, goes: impl Fn(&str) -> bool) {
        let mut gone: Vec<Box<str>> = Vec::new();
        (self.values)(old, &mut |value| {
            if goes(value) {
                gone.push(value.into());
            }
        });
        for value in gone {
            if let Some(found) = self.objects.get_mut(&value) {
                found.remove(key);
                if found.is_empty() {
                    self.objects.remove(&value);
                }
            }
        }
    }

    pub(super) fn get(&self, value: &str) -> Vec<Arc<K>> {
        let found = self.objects.get(value);
        found.map_or_else(Vec::new, |found| found.values().cloned().collect())
    }
}
