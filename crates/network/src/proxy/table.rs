//! The desired content of the table, and the way from one content to the next.
//!
//! Each service contributes chains, sets and map elements of its own. Two services may claim the
//! same element (an external address and port): the first by name has it, and when it goes the next
//! one takes over.

use std::collections::{BTreeMap, HashMap};

use crate::netlink::nft::{Rule, Set, Value};
use crate::services::Key;

/// A map or set of the frame, shared by all services.
pub(crate) type SetName = &'static str;

/// What one service puts into the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contribution {
    pub chains: BTreeMap<String, Vec<Rule>>,
    pub sets: BTreeMap<String, Set>,
    pub elements: BTreeMap<(SetName, Vec<u8>), Value>,
}

/// The content the table has, or will have once the collected changes are committed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    contributions: HashMap<Key, Contribution>,
    claims: HashMap<(SetName, Vec<u8>), BTreeMap<Key, Value>>,
}

/// What something was before a transaction and will be after it.
type Turns<K, V> = BTreeMap<K, (Option<V>, Option<V>)>;

/// Changes that lead from one content to another. Every change of one transaction goes into one of
/// these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    sets: Turns<String, Set>,
    chains: Turns<String, Vec<Rule>>,
    elements: Turns<(SetName, Vec<u8>), Value>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddSet(Set),
    AddChain(String),
    DeleteElements(SetName, Vec<Vec<u8>>),
    FlushChain(String),
    AddRule(String, Rule),
    AddElements(SetName, Vec<(Vec<u8>, Value)>),
    DeleteChain(String),
    DeleteSet(String),
}

fn note<K: Ord, V>(map: &mut Turns<K, V>, key: K, before: Option<V>, after: Option<V>) {
    match map.entry(key) {
        std::collections::btree_map::Entry::Vacant(slot) => {
            slot.insert((before, after));
        }
        // Its state before the transaction is the one noted first.
        std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().1 = after,
    }
}

fn differences<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    into: &mut Turns<K, V>,
) {
    for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        note(into, key.clone(), Some(value.clone()), None);
    }
    for (key, value) in new {
        let before = old.get(key);
        if before != Some(value) {
            note(into, key.clone(), before.cloned(), Some(value.clone()));
        }
    }
}

impl Table {
    /// Puts a service's contribution in place of its former one.
    pub fn replace(&mut self, key: &Key, new: Option<Contribution>, changes: &mut Changes) {
        let new = new.unwrap_or_default();
        let old = self.contributions.remove(key).unwrap_or_default();
        differences(&old.sets, &new.sets, &mut changes.sets);
        differences(&old.chains, &new.chains, &mut changes.chains);
        for element in old
            .elements
            .keys()
            .filter(|e| !new.elements.contains_key(*e))
        {
            self.claim(key, element, None, changes);
        }
        for (element, value) in &new.elements {
            if old.elements.get(element) != Some(value) {
                self.claim(key, element, Some(value.clone()), changes);
            }
        }
        if new != Contribution::default() {
            self.contributions.insert(key.clone(), new);
        }
    }

    fn claim(
        &mut self,
        key: &Key,
        element: &(SetName, Vec<u8>),
        value: Option<Value>,
        changes: &mut Changes,
    ) {
        let claims = self.claims.entry(element.clone()).or_default();
        let before = claims.first_key_value().map(|(_, value)| value.clone());
        match value {
            Some(value) => claims.insert(key.clone(), value),
            None => claims.remove(key),
        };
        let after = claims.first_key_value().map(|(_, value)| value.clone());
        if claims.is_empty() {
            self.claims.remove(element);
        }
        if before != after {
            note(&mut changes.elements, element.clone(), before, after);
        }
    }

    /// The names of the services' own sets.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.contributions
            .values()
            .flat_map(|c| c.sets.keys())
            .map(String::as_str)
    }

    /// The keys of the services that contribute.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.contributions.keys()
    }

    /// Everything, as changes from an empty table.
    pub fn whole(&self) -> Changes {
        let mut changes = Changes::default();
        let empty = Contribution::default();
        for contribution in self.contributions.values() {
            differences(&empty.sets, &contribution.sets, &mut changes.sets);
            differences(&empty.chains, &contribution.chains, &mut changes.chains);
        }
        for (element, claims) in &self.claims {
            let value = claims.first_key_value().map(|(_, value)| value.clone());
            note(&mut changes.elements, element.clone(), None, value);
        }
        changes
    }
}

impl Changes {
    /// The steps, in an order in which every one refers only to what exists and nothing is removed
    /// while it is referred to.
    pub fn steps(self) -> Vec<Step> {
        let mut steps = Vec::new();
        let sets: Vec<_> = self.sets.into_iter().filter(|(_, (a, b))| a != b).collect();
        let chains: Vec<_> = self
            .chains
            .into_iter()
            .filter(|(_, (a, b))| a != b)
            .collect();
        let mut added: BTreeMap<SetName, Vec<(Vec<u8>, Value)>> = BTreeMap::new();
        let mut deleted: BTreeMap<SetName, Vec<Vec<u8>>> = BTreeMap::new();
        for ((set, key), (before, after)) in self.elements {
            if before == after {
                continue;
            }
            if before.is_some() {
                deleted.entry(set).or_default().push(key.clone());
            }
            if let Some(value) = after {
                added.entry(set).or_default().push((key, value));
            }
        }
        for (name, (before, after)) in &sets {
            // A set's name tells all of its definition, so one that stays never changes.
            if let (None, Some(set)) = (before, after) {
                steps.push(Step::AddSet(set.clone()));
            } else if after.is_some() {
                tracing::error!(
                    set = name,
                    "a set changed its definition without changing its name"
                );
            }
        }
        for (name, (before, _)) in &chains {
            if before.is_none() {
                steps.push(Step::AddChain(name.clone()));
            }
        }
        steps.extend(
            deleted
                .into_iter()
                .map(|(set, keys)| Step::DeleteElements(set, keys)),
        );
        let mut gone = Vec::new();
        for (name, (before, after)) in chains {
            if before.is_some() {
                steps.push(Step::FlushChain(name.clone()));
            }
            match after {
                Some(rules) => steps.extend(
                    rules
                        .into_iter()
                        .map(|rule| Step::AddRule(name.clone(), rule)),
                ),
                None => gone.push(name),
            }
        }
        steps.extend(
            added
                .into_iter()
                .map(|(set, elements)| Step::AddElements(set, elements)),
        );
        steps.extend(gone.into_iter().map(Step::DeleteChain));
        let gone = sets.into_iter().filter(|(_, (_, after))| after.is_none());
        steps.extend(gone.map(|(name, _)| Step::DeleteSet(name)));
        steps
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
