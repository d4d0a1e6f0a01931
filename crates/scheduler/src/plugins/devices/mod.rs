//! What the scheduler knows of devices, and the plugin that gives them to pods' claims
//! ([`plugin`]).
//!
//! Drivers publish devices in ResourceSlices; a ResourceClaim asks for some of a DeviceClass; the
//! scheduler finds them ([`allocate`]) and writes them into the claim's status before it binds the
//! pod. What is allocated is counted as claims come and go ([`taken`]); what is promised to a claim
//! and not seen in it yet counts as well.

pub mod allocate;
pub mod awaiting;
mod capacity;
mod claims;
mod constraint;
pub mod extended;
pub mod plugin;
mod pools;
mod request;
mod result;
mod selector;
mod slice;
mod taken;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use parking_lot::Mutex;

use self::{
    pools::Pools,
    selector::{Selector, Selectors},
    taken::Taken,
};
use crate::{bind::Prepare, cache::PodInfo};

/// Namespace and name.
pub type Key = (Box<str>, Box<str>);

/// See the module.
#[derive(Debug, Default)]
pub struct Devices {
    claims: HashMap<Key, Arc<ResourceClaim>>,
    classes: BTreeMap<Box<str>, Arc<DeviceClass>>,
    pools: Pools,
    taken: Taken,
    /// Allocations that are not seen in their claims yet, by the claim's uid.
    promised: HashMap<Box<str>, Promise>,
    selectors: Mutex<Selectors>,
}

#[derive(Debug)]
struct Promise {
    /// The pod it was made for.
    pod: Box<str>,
    allocation: Arc<AllocationResult>,
}

/// An object's.
pub fn key(claim: &ResourceClaim) -> Key {
    let meta = &claim.metadata;
    let (space, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    (
        space.unwrap_or_default().into(),
        name.unwrap_or_default().into(),
    )
}

fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

fn uid(claim: &ResourceClaim) -> &str {
    claim.metadata.uid.as_deref().unwrap_or_default()
}

impl Devices {
    /// A claim came, changed or went.
    pub fn claim(&mut self, claim: Arc<ResourceClaim>, there: bool) {
        let key = key(&claim);
        let old = self.claims.remove(&key);
        if let Some(old) = old.as_deref().and_then(allocation) {
            self.taken.count(old, -1);
        }
        if !there || allocation(&claim).is_some() {
            self.keep(uid(&claim));
        }
        if there {
            if let Some(new) = allocation(&claim) {
                self.taken.count(new, 1);
            }
            self.claims.insert(key, claim);
        }
    }

    /// A promise is kept, or void.
    fn keep(&mut self, claim: &str) {
        if let Some(promise) = self.promised.remove(claim) {
            self.taken.count(&promise.allocation, -1);
        }
    }

    /// A slice came, changed or went.
    pub fn slice(&mut self, slice: Arc<ResourceSlice>, there: bool) {
        if there {
            self.pools.insert(slice);
        } else {
            self.pools
                .remove(slice.metadata.name.as_deref().unwrap_or_default());
        }
    }

    /// A class came, changed or went. Answers whether other extended resources are backed by devices
    /// now.
    pub fn class_applied(&mut self, class: Arc<DeviceClass>, there: bool) -> bool {
        let name: Box<str> = class.metadata.name.as_deref().unwrap_or_default().into();
        let extended = |c: &DeviceClass| c.spec.extended_resource_name.clone();
        let (old, same) = if there {
            let new = extended(&class);
            let old = self.classes.insert(name, class);
            let same = old.as_deref().is_some_and(|old| extended(old) == new);
            (old, same)
        } else {
            (self.classes.remove(&name), false)
        };
        !same && (there || old.is_some())
    }

    fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    fn selector(&self, text: &str) -> Arc<Selector> {
        self.selectors.lock().compile(text)
    }

    /// A pod was placed: what is to be written into its claims counts from now on.
    pub fn promise(&mut self, pod: &PodInfo, prepare: &[Prepare]) {
        for step in prepare {
            let Prepare::Claim(step) = step else { continue };
            let Some(allocation) = &step.allocation else {
                continue;
            };
            self.taken.count(allocation, 1);
            let promise = Promise {
                pod: pod.uid.clone(),
                allocation: allocation.clone(),
            };
            let uid = uid(&step.claim).into();
            if let Some(old) = self.promised.insert(uid, promise) {
                self.taken.count(&old.allocation, -1);
            }
        }
    }

    /// A pod is not placed any more: what was promised to it is free.
    pub fn displace(&mut self, pod: &PodInfo) {
        if self.promised.is_empty() {
            return;
        }
        let mut void = self.promised.iter().filter(|(_, p)| p.pod == pod.uid);
        let void: Vec<Box<str>> = void.by_ref().map(|(claim, _)| claim.clone()).collect();
        for claim in void {
            self.keep(&claim);
        }
    }
}

#[cfg(test)]
mod tests;
