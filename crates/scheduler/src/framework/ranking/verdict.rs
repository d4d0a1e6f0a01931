//! Why one node will not do: the first no in the profile's order.
//!
//! A node is asked about twice where pods are nominated to it: with them, because they may repel, and
//! without, because they may be what a pod wants to be near. A no of the first time counts.

use std::sync::Arc;

use super::{PodFilters, Ranking, Refusal};
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Overlay, Rejection},
};

impl Ranking {
    /// Asks the local filters, as long as nobody says no.
    pub(super) fn check_locals(&self, cache: &Cache, node: &NodeInfo) -> Result<(), Box<Refusal>> {
        if let Some((full, _)) = self.with_nominated(node) {
            self.check_locals_as_is(cache, &full)?;
        }
        self.check_locals_as_is(cache, node)
    }

    fn check_locals_as_is(&self, cache: &Cache, node: &NodeInfo) -> Result<(), Box<Refusal>> {
        for filter in &self.locals {
            if let Err(rejection) = filter.part.check(cache, node) {
                return Err(Box::new(Refusal {
                    order: filter.order,
                    plugin: filter.plugin,
                    rejection,
                }));
            }
        }
        Ok(())
    }

    /// The node with the pods nominated to it that this class has to leave room for, if there are
    /// any.
    fn with_nominated(&self, node: &NodeInfo) -> Option<(NodeInfo, Vec<Arc<PodInfo>>)> {
        let counts = |pod: &&Arc<PodInfo>| pod.priority() >= self.class.priority;
        let mut nominated = node.nominated.iter().filter(counts).peekable();
        nominated.peek()?;
        let nominated: Vec<Arc<PodInfo>> = nominated.cloned().collect();
        let mut full = node.clone();
        nominated.iter().for_each(|pod| full.add_pod(pod.clone()));
        Some((full, nominated))
    }

    /// The first no of the filters that are not local, among those before a place in the profile.
    fn others(
        &self,
        cache: &Cache,
        pods: &PodFilters<'_>,
        node: &NodeInfo,
        overlay: Overlay<'_>,
        mut before: usize,
    ) -> Option<Refusal> {
        let mut first = None;
        for filter in &self.clusters {
            if filter.order >= before || filter.part.idle() {
                continue;
            }
            if let Err(rejection) = filter.part.check(cache, node, overlay) {
                before = filter.order;
                first = Some(Refusal {
                    order: filter.order,
                    plugin: filter.plugin,
                    rejection,
                });
            }
        }
        for (order, plugin, filter) in &pods.filters {
            if *order >= before {
                continue;
            }
            if let Err(rejection) = filter.check(node) {
                before = *order;
                first = Some(Refusal {
                    order: *order,
                    plugin,
                    rejection,
                });
            }
        }
        first
    }

    /// The first no of all filters.
    fn first(
        &self,
        cache: &Cache,
        pods: &PodFilters<'_>,
        node: &NodeInfo,
        overlay: Overlay<'_>,
    ) -> Option<Refusal> {
        let local = self.check_locals_as_is(cache, node).err();
        let before = local.as_ref().map_or(usize::MAX, |refusal| refusal.order);
        let other = self.others(cache, pods, node, overlay, before);
        other.or(local.map(|refusal| *refusal))
    }

    /// Whether a pod fits a node as it would be with some pods less (`node` has them taken out
    /// already), with and without the pods nominated to it.
    pub fn fits_with_nominated(
        &self,
        cache: &Cache,
        pods: &PodFilters<'_>,
        node: &NodeInfo,
        overlay: Overlay<'_>,
    ) -> Result<(), Rejection> {
        if let Some((full, nominated)) = self.with_nominated(node) {
            let overlay = Overlay {
                added: &nominated,
                removed: overlay.removed,
            };
            if let Some(refusal) = self.first(cache, pods, &full, overlay) {
                return Err(refusal.rejection);
            }
        }
        match self.first(cache, pods, node, overlay) {
            Some(refusal) => Err(refusal.rejection),
            None => Ok(()),
        }
    }

    /// The first no, other than of local filters, about a node that these do not mind.
    pub(super) fn check_rest(
        &self,
        cache: &Cache,
        pods: &PodFilters<'_>,
        node: &NodeInfo,
    ) -> Option<Refusal> {
        let all = usize::MAX;
        if let Some((full, nominated)) = self.with_nominated(node) {
            let overlay = Overlay {
                added: &nominated,
                removed: &[],
            };
            let refusal = self.others(cache, pods, &full, overlay, all);
            if refusal.is_some() {
                return refusal;
            }
        }
        self.others(cache, pods, node, Overlay::default(), all)
    }

    /// Where the filters begin that are not local, if there are any.
    pub(super) fn others_begin(&self, pods: &PodFilters<'_>) -> Option<usize> {
        let clusters = self.clusters.iter().filter(|f| !f.part.idle());
        let clusters = clusters.map(|filter| filter.order);
        let pods = pods.filters.iter().map(|(order, ..)| *order);
        clusters.chain(pods).min()
    }

    /// The no that stands before a local filter's, given where the others begin.
    pub(super) fn earlier(
        &self,
        cache: &Cache,
        pods: &PodFilters<'_>,
        node: &NodeInfo,
        refusal: &Refusal,
        others: Option<usize>,
    ) -> Option<Refusal> {
        let others = others?;
        if let Some((full, nominated)) = self.with_nominated(node) {
            let overlay = Overlay {
                added: &nominated,
                removed: &[],
            };
            let first = self.first(cache, pods, &full, overlay);
            let first = first.or_else(|| self.first(cache, pods, node, Overlay::default()));
            return first.filter(|first| first.order != refusal.order);
        }
        if others >= refusal.order {
            return None;
        }
        self.others(cache, pods, node, Overlay::default(), refusal.order)
    }

    /// The nodes that could do if pods were evicted from them.
    pub fn preemptable(&self, cache: &Cache, pods: &PodFilters<'_>) -> Vec<u32> {
        let others = self.others_begin(pods);
        let refused = self.refused.iter().enumerate();
        let refused = refused.filter_map(|(slot, refusal)| {
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            let refusal = refusal.as_deref()?;
            let earlier = self.earlier(cache, pods, cache.at(slot), refusal, others);
            let first = earlier.as_ref().unwrap_or(refusal);
            first.rejection.preemption_helps.then_some(slot)
        });
        let mut slots: Vec<u32> = refused.collect();
        slots.extend(self.best.iter().filter(|slot| {
            let refusal = self.check_rest(cache, pods, cache.at(*slot));
            refusal.is_some_and(|r| r.rejection.preemption_helps)
        }));
        slots
    }

    /// Whether evicting pods from a node could not help.
    pub fn is_hopeless(&self, cache: &Cache, pods: &PodFilters<'_>, node: &NodeInfo) -> bool {
        let left_out = |only: &Vec<u32>| !only.contains(&node.slot);
        if self.rejected.is_some() || self.only.as_ref().is_some_and(left_out) {
            return true;
        }
        let refusal = self.refused.get(node.slot as usize);
        let first = match refusal.and_then(Option::as_deref) {
            None => self.check_rest(cache, pods, node),
            Some(refusal) => {
                let others = self.others_begin(pods);
                let earlier = self.earlier(cache, pods, node, refusal, others);
                earlier.or_else(|| Some(refusal.clone()))
            }
        };
        first.is_some_and(|refusal| !refusal.rejection.preemption_helps)
    }

    /// Whether what is worked out about one node holds as long as that node does not change.
    pub fn is_local(&self) -> bool {
        self.clusters.iter().all(|f| f.part.idle())
    }
}
