//! Devices as drivers publish them: each ResourceSlice read once, when it comes, into the form the
//! search asks.

use std::{collections::BTreeMap, sync::Arc};

use api::quantity::Quantity;
use k8s_openapi::{
    api::{
        core::v1::NodeSelector,
        resource::v1::{Device as Published, DeviceCapacity, ResourceSlice, ResourceSliceSpec},
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use super::selector::{Verdicts, Wanted};
use crate::{cache::NodeInfo, plugins::node_affinity::selector_matches};

/// What makes devices of a driver one pool: the driver's name and the pool's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId {
    /// The driver.
    pub driver: Arc<str>,
    /// The pool.
    pub pool: Arc<str>,
}

/// What makes a device unlike all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// Where it is from.
    pub pool: PoolId,
    /// Its name in the pool.
    pub device: Arc<str>,
}

impl DeviceId {
    /// Of names as the API has them.
    pub fn new(driver: &str, pool: &str, device: &str) -> DeviceId {
        DeviceId {
            pool: PoolId {
                driver: driver.into(),
                pool: pool.into(),
            },
            device: device.into(),
        }
    }
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PoolId { driver, pool } = &self.pool;
        write!(f, "{driver}/{pool}/{}", self.device)
    }
}

/// Amounts by name: of capacity, or of a set of counters.
pub type Amounts = BTreeMap<Box<str>, Quantity>;

/// What may be asked of one capacity of a device that several claims share.
#[derive(Debug)]
pub struct Capacity {
    /// How much there is.
    pub value: Quantity,
    /// What counts for a request that does not name it; all of it where there is no policy.
    pub default: Option<Quantity>,
    /// Least, most and step.
    pub range: Option<(Quantity, Option<Quantity>, Option<Quantity>)>,
    /// The only amounts it is given in, smallest first.
    pub values: Vec<Quantity>,
}

/// One device.
#[derive(Debug)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Its place in the slice.
    pub index: usize,
    /// By name.
    pub capacity: BTreeMap<Box<str>, Capacity>,
    /// Counters it takes from the pool while it is allocated, by set.
    pub counters: Vec<(Box<str>, Amounts)>,
    /// Several claims may have it at a time.
    pub shared: bool,
}

/// A slice.
#[derive(Debug)]
pub struct Slice {
    /// Its pool.
    pub pool: PoolId,
    object: Arc<ResourceSlice>,
    /// In order.
    pub devices: Vec<Device>,
    /// Counters its pool's devices share.
    pub counter_sets: Vec<(Box<str>, Amounts)>,
    /// What selectors said of its devices.
    verdicts: Verdicts,
}

/// A quantity; what the API server validated parses.
pub fn quantity(of: &ApiQuantity) -> Quantity {
    of.0.parse().unwrap_or_default()
}

fn amounts<'a, V: 'a>(
    list: impl IntoIterator<Item = (&'a String, &'a V)>,
    read: impl Fn(&V) -> &ApiQuantity,
) -> Amounts {
    list.into_iter()
        .map(|(name, value)| (name.as_str().into(), quantity(read(value))))
        .collect()
}

fn capacity(of: &DeviceCapacity) -> Capacity {
    let policy = of.request_policy.as_ref();
    let range = policy.and_then(|p| p.valid_range.as_ref());
    Capacity {
        value: quantity(&of.value),
        default: policy.and_then(|p| p.default.as_ref()).map(quantity),
        range: range.map(|r| {
            let (most, step) = (r.max.as_ref(), r.step.as_ref());
            (quantity(&r.min), most.map(quantity), step.map(quantity))
        }),
        values: policy
            .and_then(|p| p.valid_values.as_ref())
            .map(|values| values.iter().map(quantity).collect())
            .unwrap_or_default(),
    }
}

fn device(pool: &PoolId, index: usize, published: &Published) -> Device {
    let counters = published.consumes_counters.iter().flatten();
    Device {
        id: DeviceId {
            pool: pool.clone(),
            device: published.name.as_str().into(),
        },
        index,
        capacity: published
            .capacity
            .iter()
            .flatten()
            .map(|(name, of)| (name.as_str().into(), capacity(of)))
            .collect(),
        counters: counters
            .map(|taken| {
                let of = amounts(&taken.counters, |c| &c.value);
                (taken.counter_set.as_str().into(), of)
            })
            .collect(),
        shared: published.allow_multiple_allocations == Some(true),
    }
}

impl Slice {
    /// Reads it.
    pub fn new(object: Arc<ResourceSlice>) -> Slice {
        let spec = &object.spec;
        let pool = PoolId {
            driver: spec.driver.as_str().into(),
            pool: spec.pool.name.as_str().into(),
        };
        let devices = spec.devices.iter().flatten().enumerate();
        let sets = spec.shared_counters.iter().flatten();
        Slice {
            devices: devices.map(|(at, d)| device(&pool, at, d)).collect(),
            counter_sets: sets
                .map(|set| {
                    let of = amounts(&set.counters, |c| &c.value);
                    (set.name.as_str().into(), of)
                })
                .collect(),
            verdicts: Verdicts::default(),
            pool,
            object,
        }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// The object's spec.
    pub fn spec(&self) -> &ResourceSliceSpec {
        &self.object.spec
    }

    /// A device as it was published.
    pub fn published(&self, device: &Device) -> Option<&Published> {
        self.spec().devices.as_ref()?.get(device.index)
    }

    /// The one node it is for; none where it may be for several, or has what all nodes need.
    pub fn own_node(&self) -> Option<&str> {
        let node = self.spec().node_name.as_deref().filter(|n| !n.is_empty());
        node.filter(|_| self.counter_sets.is_empty())
    }

    /// Each device says for which nodes it is.
    pub fn per_device(&self) -> bool {
        self.spec().per_device_node_selection == Some(true)
    }

    /// Whether it matters for the node: always where it has counters.
    pub fn concerns(&self, node: &NodeInfo) -> bool {
        let spec = self.spec();
        if !self.counter_sets.is_empty() {
            return true;
        }
        let named = spec.node_name.as_deref().is_some_and(|n| !n.is_empty());
        if named || spec.all_nodes == Some(true) || spec.node_selector.is_some() {
            return reaches(
                node,
                &spec.node_name,
                spec.all_nodes,
                spec.node_selector.as_ref(),
            );
        }
        self.per_device() && self.devices.iter().any(|d| self.reaches(d, node))
    }

    /// Whether the node can use the device, as far as the slice leaves that to the device.
    pub fn reaches(&self, device: &Device, node: &NodeInfo) -> bool {
        if !self.per_device() {
            return true;
        }
        self.published(device)
            .is_some_and(|d| reaches(node, &d.node_name, d.all_nodes, d.node_selector.as_ref()))
    }

    /// Whether the device meets what is wanted; what was said of it before is remembered.
    pub fn meets(&self, device: &Device, wanted: &Wanted) -> Result<bool, String> {
        let Some(published) = self.published(device) else {
            return Ok(false);
        };
        let (driver, places) = (&self.spec().driver, self.devices.len());
        self.verdicts
            .meets(wanted, device.index, places, published, driver)
    }
}

fn reaches(
    node: &NodeInfo,
    name: &Option<String>,
    all: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match name.as_deref() {
        Some(name) if !name.is_empty() => *name == *node.name,
        _ => all == Some(true) || selector.is_some_and(|s| selector_matches(s, node)),
    }
}
