//! DynamicResources: pods go where their claims' devices are, or where such can be had.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use k8s_openapi::api::resource::v1::{AllocatedDeviceStatus, AllocationResult, ResourceClaim};

use super::{
    Devices,
    allocate::{self, Trouble},
    allocation,
    claims::is_reserved_for,
    extended::{self, Extended},
    request::{self, Unmet, display},
    uid,
};
use crate::{
    bind::{Prepare, claims::ClaimStep},
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Plugin, PodBegin, PodFilter, PodFilterPlugin, Rejection},
    plugins::node_affinity::selector_matches,
    queue::events::ClusterEvents,
};

/// Upstream's name.
pub const NAME: &str = "DynamicResources";

/// Alternatives a request may have (`FirstAvailableDeviceRequestMaxSize`).
const ALTERNATIVES: usize = 8;

/// See the module.
pub struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::DEVICES
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
            | ClusterEvents::NODE_ALLOCATABLE
    }
}

impl PodFilterPlugin for DynamicResources {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c> {
        let devices = &cache.devices;
        let no = |why: String| PodBegin::Reject(Rejection::unresolvable(why));
        let claims = match devices.claims_of(pod) {
            Ok(claims) => claims,
            Err(missing) => return no(missing.why),
        };
        let extended = Extended::of(pod, devices);
        if claims.is_empty() && extended.is_none() {
            return PodBegin::Skip;
        }
        let mut unmet = Vec::new();
        for claim in &claims {
            if allocation(claim).is_some() {
                continue;
            }
            if devices.promised.contains_key(uid(claim)) {
                return no(format!(
                    "resource claim {} is in the process of being allocated",
                    display(claim)
                ));
            }
            match request::read(claim, devices) {
                Ok(read) => unmet.push(read),
                Err(why) => return no(why),
            }
        }
        PodBegin::Check(Box::new(Check {
            devices,
            pod,
            claims,
            unmet,
            extended,
            found: RefCell::default(),
            trouble: RefCell::default(),
        }))
    }
}

/// What a node's check found: allocations for the claims without one, in order, and the claim made
/// up for extended resources, if the node needs one.
type Outcome = Result<(Vec<AllocationResult>, Option<extended::OnNode>), Trouble>;

struct Check<'c> {
    devices: &'c Devices,
    pod: &'c PodInfo,
    claims: Vec<&'c Arc<ResourceClaim>>,
    unmet: Vec<Unmet<'c>>,
    extended: Option<Extended<'c>>,
    /// By slot: a node is asked about several times in a cycle.
    found: RefCell<HashMap<u32, Arc<Outcome>>>,
    /// What was wrong with a claim on the first node where something was.
    trouble: RefCell<Option<String>>,
}

impl Check<'_> {
    fn on(&self, node: &NodeInfo) -> Arc<Outcome> {
        if let Some(known) = self.found.borrow().get(&node.slot) {
            return known.clone();
        }
        let outcome = Arc::new(self.find(node));
        self.found.borrow_mut().insert(node.slot, outcome.clone());
        outcome
    }

    fn find(&self, node: &NodeInfo) -> Outcome {
        let on_node = match &self.extended {
            None => None,
            Some(extended) => extended.on(node, self.devices).map_err(Trouble::Node)?,
        };
        let found = match &on_node {
            None if self.unmet.is_empty() => Some(Vec::new()),
            None => allocate::allocate(self.devices, node, &self.unmet)?,
            Some(on_node) => {
                let mut all = Vec::new();
                for unmet in &self.unmet {
                    all.push(request::read(unmet.claim, self.devices)?);
                }
                all.push(request::read(&on_node.claim, self.devices)?);
                allocate::allocate(self.devices, node, &all)?
            }
        };
        let no = |why: &str| Trouble::Node(why.to_owned());
        let found = found.ok_or_else(|| no("cannot allocate all claims"))?;
        if self.claims.iter().any(|claim| !is_usable(claim, node)) {
            return Err(no("resourceclaim not available on the node"));
        }
        Ok((found, on_node))
    }
}

impl PodFilter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        match &*self.on(node) {
            Ok(_) => Ok(()),
            Err(Trouble::Node(why)) => Err(Rejection::unresolvable(why.clone())),
            Err(Trouble::Pod(why)) => {
                let first = || format!("running \"{NAME}\" filter plugin: {why}");
                self.trouble.borrow_mut().get_or_insert_with(first);
                Err(Rejection::unresolvable(why.clone()))
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Alternatives that come first in their lists count for more.
    fn score(&self, node: &NodeInfo) -> i64 {
        let outcome = self.on(node);
        let Ok((found, _)) = &*outcome else { return 0 };
        let mut found = found.iter();
        let mut score = 0;
        for claim in &self.claims {
            let allocation = allocation(claim).or_else(|| found.next());
            let devices = allocation.and_then(|a| a.devices.as_ref());
            let results = devices.and_then(|d| d.results.as_deref());
            let results = results.unwrap_or_default();
            for request in request::requests_of(claim) {
                let alternatives = request.first_available.iter().flatten().enumerate();
                for (index, alternative) in alternatives {
                    let name = format!("{}/{}", request.name, alternative.name);
                    if results.iter().any(|r| r.request == name) {
                        score += ALTERNATIVES.saturating_sub(index);
                    }
                }
            }
        }
        i64::try_from(score).unwrap_or_default()
    }

    fn reserve(&self, node: &NodeInfo) -> Vec<Prepare> {
        let outcome = self.on(node);
        let Ok((found, on_node)) = &*outcome else {
            return Vec::new();
        };
        let mut found = found.iter().cloned().map(Arc::new);
        let mut steps = Vec::new();
        for claim in &self.claims {
            let new = match allocation(claim) {
                Some(_) => None,
                None => found.next(),
            };
            if new.is_some() || !is_reserved_for(claim, self.pod) {
                steps.push(Prepare::Claim(ClaimStep {
                    claim: (*claim).clone(),
                    allocation: new,
                    made_for: None,
                }));
            }
        }
        if let Some(on_node) = on_node {
            steps.push(Prepare::Claim(ClaimStep {
                claim: on_node.claim.clone(),
                allocation: found.next(),
                made_for: Some(on_node.mappings.clone()),
            }));
        }
        // Bound only when the devices of a claim somebody else reserved are attached as well.
        let waits = self.claims.iter().filter(|claim| {
            is_reserved_for(claim, self.pod) && allocation(claim).is_some() && !is_ready(claim)
        });
        steps.extend(waits.map(|claim| {
            Prepare::Claim(ClaimStep {
                claim: (*claim).clone(),
                allocation: None,
                made_for: None,
            })
        }));
        steps
    }

    fn release(&self, nodes: &mut dyn Iterator<Item = &NodeInfo>) -> Option<Released> {
        let asked: Vec<&NodeInfo> = nodes.collect();
        for claim in &self.claims {
            if allocation(claim).is_none() || asked.iter().all(|node| is_usable(claim, node)) {
                continue;
            }
            let reserved = claim
                .status
                .as_ref()
                .and_then(|s| s.reserved_for.as_deref());
            let mine = match reserved.unwrap_or_default() {
                [] => true,
                [one] => *one.uid == *self.pod.uid,
                _ => false,
            };
            if mine {
                return Some(Released::Deallocate((*claim).clone()));
            }
        }
        match self.extended.as_ref().and_then(Extended::left_over) {
            Some(claim) => Some(Released::Delete(claim.clone())),
            None => Some(Released::Still),
        }
    }
}

/// What giving up a claim could do for a pod that fits nowhere (PostFilter).
#[derive(Clone, Debug)]
pub enum Released {
    /// The pod has no claims.
    Nothing,
    /// Nothing can be given up.
    Still,
    /// This claim's devices cannot be used; it may get others.
    Deallocate(Arc<ResourceClaim>),
    /// This claim was made for the pod by an earlier try.
    Delete(Arc<ResourceClaim>),
}

impl Released {
    /// In upstream's words.
    pub fn message(&self) -> &'static str {
        match self {
            Released::Nothing => "no new claims to deallocate",
            Released::Still => "still not schedulable",
            Released::Deallocate(_) => "deallocation of ResourceClaim completed",
            Released::Delete(_) => "deletion of ResourceClaim completed",
        }
    }
}

/// Whether an allocated claim's devices can be used from the node, and have not failed to attach.
fn is_usable(claim: &ResourceClaim, node: &NodeInfo) -> bool {
    let Some(allocation) = allocation(claim) else {
        return true;
    };
    let selector = allocation.node_selector.as_ref();
    selector.is_none_or(|s| selector_matches(s, node)) && attachment(claim) != Attachment::Failed
}

/// How far a claim's devices are that have to be attached first (`bindingConditions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// They are there.
    Done,
    /// Not all are.
    Pending,
    /// One cannot be.
    Failed,
}

fn is_ready(claim: &ResourceClaim) -> bool {
    attachment(claim) == Attachment::Done
}

/// See [`Attachment`].
pub fn attachment(claim: &ResourceClaim) -> Attachment {
    let devices = allocation(claim).and_then(|a| a.devices.as_ref());
    let results = devices.and_then(|d| d.results.as_ref());
    let statuses = claim.status.as_ref().and_then(|s| s.devices.as_deref());
    let mut pending = false;
    for result in results.into_iter().flatten() {
        let wanted = result.binding_conditions.as_deref().unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let status = statuses.unwrap_or_default().iter().find(|s| {
            s.device == result.device && s.driver == result.driver && s.pool == result.pool
        });
        let Some(status) = status else {
            pending = true;
            continue;
        };
        let failures = result.binding_failure_conditions.iter().flatten();
        if failures.into_iter().any(|name| is_true(status, name)) {
            return Attachment::Failed;
        }
        pending |= !wanted.iter().all(|name| is_true(status, name));
    }
    match pending {
        true => Attachment::Pending,
        false => Attachment::Done,
    }
}

fn is_true(status: &AllocatedDeviceStatus, name: &str) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions
        .into_iter()
        .any(|c| c.type_ == name && c.status == "True")
}
