//! Which devices one node can use: the pools with slices for it, in the order they are searched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::resource::v1::ResourceSlice;

use super::slice::{Amounts, PoolId, Slice};
use crate::cache::NodeInfo;

/// All slices, by pool and name.
#[derive(Debug, Default)]
pub struct Pools {
    all: BTreeMap<PoolId, BTreeMap<Box<str>, Arc<Slice>>>,
    /// Pools with slices for one node, by that node.
    by_node: HashMap<Box<str>, BTreeMap<PoolId, usize>>,
    /// Pools with slices for more than one, and how many.
    common: BTreeMap<PoolId, usize>,
    /// Which pool an object's slice is in, by name.
    places: HashMap<Box<str>, PoolId>,
}

/// A pool as one node sees it.
#[derive(Debug)]
pub struct Pool<'c> {
    /// Which.
    pub id: &'c PoolId,
    /// Whether it can be searched.
    pub state: State,
    /// Slices with devices for the node, by name.
    pub slices: Vec<&'c Arc<Slice>>,
    /// The others of the same generation, whose devices take counters as well.
    pub elsewhere: Vec<&'c Arc<Slice>>,
    /// Counters its devices share, by set.
    pub counters: BTreeMap<&'c str, &'c Amounts>,
}

/// Whether a pool can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Whole,
    /// Its driver is replacing it.
    Incomplete,
    /// Its slices contradict each other.
    Invalid,
}

impl Pools {
    /// A slice came or changed.
    pub fn insert(&mut self, object: Arc<ResourceSlice>) {
        let slice = Arc::new(Slice::new(object));
        let name: Box<str> = slice.name().into();
        self.remove(&name);
        self.count(&slice, 1);
        self.places.insert(name.clone(), slice.pool.clone());
        let pool = self.all.entry(slice.pool.clone()).or_default();
        pool.insert(name, slice);
    }

    /// A slice went.
    pub fn remove(&mut self, name: &str) {
        let Some(id) = self.places.remove(name) else {
            return;
        };
        let Some(pool) = self.all.get_mut(&id) else {
            return;
        };
        let gone = pool.remove(name);
        if pool.is_empty() {
            self.all.remove(&id);
        }
        if let Some(slice) = gone {
            self.count(&slice, -1);
        }
    }

    fn count(&mut self, slice: &Slice, by: isize) {
        fn change(counts: &mut BTreeMap<PoolId, usize>, id: &PoolId, by: isize) {
            let count = counts.entry(id.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                counts.remove(id);
            }
        }
        match slice.own_node() {
            None => change(&mut self.common, &slice.pool, by),
            Some(node) => {
                let counts = self.by_node.entry(node.into()).or_default();
                change(counts, &slice.pool, by);
                if counts.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
    }

    /// The pools a node can use, those that make a pod wait for its devices last.
    pub fn of(&self, node: &NodeInfo) -> Vec<Pool<'_>> {
        let own = self.by_node.get(&*node.name);
        let ids: BTreeSet<&PoolId> = own
            .into_iter()
            .flat_map(BTreeMap::keys)
            .chain(self.common.keys())
            .collect();
        let pools = ids.into_iter().filter_map(|id| {
            let (id, slices) = self.all.get_key_value(id)?;
            pool(id, slices, node)
        });
        let (waiting, mut pools): (Vec<_>, Vec<_>) = pools.partition(has_conditions);
        pools.extend(waiting);
        pools
    }
}

fn pool<'c>(
    id: &'c PoolId,
    all: &'c BTreeMap<Box<str>, Arc<Slice>>,
    node: &NodeInfo,
) -> Option<Pool<'c>> {
    let generation = |slice: &Slice| slice.spec().pool.generation;
    let newest = all.values().map(|s| generation(s)).max()?;
    let relevant = all.values().filter(|slice| slice.concerns(node));
    let latest = relevant.clone().map(|s| generation(s)).max()?;
    if latest < newest {
        // What the node sees is being replaced by something that has nothing for it.
        return None;
    }
    let current = || all.values().filter(|s| generation(s) == newest);
    let mine: Vec<&Arc<Slice>> = relevant.filter(|s| generation(s) == newest).collect();
    let expected = mine.first()?.spec().pool.resource_slice_count;
    let there = current().count();
    let mut pool = Pool {
        id,
        state: State::Whole,
        slices: Vec::new(),
        elsewhere: Vec::new(),
        counters: BTreeMap::new(),
    };
    if i64::try_from(there) != Ok(expected) {
        pool.state = State::Incomplete;
        return Some(pool);
    }
    pool.elsewhere = current().filter(|s| !s.concerns(node)).collect();
    pool.slices = mine
        .iter()
        .copied()
        .filter(|s| s.counter_sets.is_empty())
        .collect();
    let sets = mine.iter().flat_map(|s| &s.counter_sets);
    for (name, amounts) in sets {
        if pool.counters.insert(name, amounts).is_some() {
            pool.state = State::Invalid;
        }
    }
    let mut names = BTreeSet::new();
    let mut devices = pool.slices.iter().flat_map(|s| &s.devices);
    if !devices.all(|device| names.insert(&*device.id.device)) || !counters_exist(&pool) {
        pool.state = State::Invalid;
    }
    Some(pool)
}

fn counters_exist(pool: &Pool<'_>) -> bool {
    let slices = pool.slices.iter().chain(&pool.elsewhere);
    let mut taken = slices.flat_map(|s| &s.devices).flat_map(|d| &d.counters);
    taken.all(|(set, amounts)| {
        let set = pool.counters.get(&**set);
        set.is_some_and(|set| amounts.keys().all(|name| set.contains_key(name)))
    })
}

fn has_conditions(pool: &Pool<'_>) -> bool {
    pool.slices.iter().any(|slice| {
        let devices = slice.spec().devices.iter().flatten();
        devices.into_iter().any(|d| d.binding_conditions.is_some())
    })
}
