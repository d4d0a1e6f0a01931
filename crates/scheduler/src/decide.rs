//! Plan: the scheduler's state and what it decides next. No IO; time and chance are handed in.
//!
//! Events go in by [`Scheduler::pod_applied`] and its siblings, decisions come out of
//! [`Scheduler::next`]. Whoever carries a decision out reports a failed binding by
//! [`Scheduler::bind_failed`]; a durable one comes back as an event of the pod.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use tokio::time::Instant;

use crate::{
    cache::{Cache, PodInfo},
    framework::{cycle, diagnosis::Diagnosis, profile::Profile},
    preemption::{self, Candidate},
    queue::{Queue, events::ClusterEvents},
};

/// What is to be done about one pod.
#[derive(Debug)]
pub enum Decision {
    /// Bind it. It is counted on the node already.
    Bind {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The node.
        node: Box<str>,
    },
    /// Say why it cannot be placed, and make room where preemption found some. It is parked.
    Unschedulable {
        /// The pod.
        pod: Arc<PodInfo>,
        /// Why.
        diagnosis: Box<Diagnosis>,
        /// Whom to evict.
        preempt: Option<Candidate>,
    },
}

/// See the module.
pub struct Scheduler {
    cache: Cache,
    queue: Queue,
    profiles: Vec<Profile>,
}

impl Scheduler {
    /// With nothing known yet.
    pub fn new(profiles: Vec<Profile>) -> Scheduler {
        Scheduler {
            cache: Cache::default(),
            queue: Queue::default(),
            profiles,
        }
    }

    /// A pod came or changed.
    pub fn pod_applied(&mut self, pod: Arc<Pod>, now: Instant) {
        let info = Arc::new(PodInfo::new(pod));
        let phase = info.pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            self.gone(&info.uid, now);
        } else if let Some(node) = info.spec().node_name.clone().filter(|n| !n.is_empty()) {
            self.queue.remove(&info.uid);
            let known = self.cache.node_of(&info.uid).is_some();
            self.cache.place_pod(info, &node);
            self.queue.notify(
                if known {
                    ClusterEvents::POD_SCALE_DOWN
                } else {
                    ClusterEvents::POD_ADD
                },
                now,
            );
        } else if !self.is_ours(&info) || info.terminating() || gated(&info) {
            self.queue.remove(&info.uid);
        } else {
            self.queue.apply(info);
        }
    }

    /// A pod went.
    pub fn pod_deleted(&mut self, uid: &str, now: Instant) {
        self.gone(uid, now);
    }

    fn gone(&mut self, uid: &str, now: Instant) {
        self.queue.remove(uid);
        if self.cache.remove_pod(uid) {
            self.queue.notify(ClusterEvents::POD_DELETE, now);
        }
    }

    /// A node came or changed.
    pub fn node_applied(&mut self, node: Arc<Node>, now: Instant) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let event = match self.cache.node(name).and_then(|n| n.node.as_ref()) {
            None => ClusterEvents::NODE_ADD,
            Some(old) => ClusterEvents::between(old, &node),
        };
        self.cache.apply_node(node);
        if event != ClusterEvents::NONE {
            self.queue.notify(event, now);
        }
    }

    /// A namespace came or changed: pods' affinity may select by its labels.
    pub fn namespace_applied(&mut self, namespace: &Namespace, now: Instant) {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        if self.cache.apply_namespace(name, labels) {
            self.queue.notify(ClusterEvents::POD_ADD, now);
        }
    }

    /// A namespace went.
    pub fn namespace_deleted(&mut self, name: &str) {
        self.cache.remove_namespace(name);
    }

    /// A node went.
    pub fn node_deleted(&mut self, name: &str) {
        self.cache.remove_node(name);
    }

    /// The next decision, or none while no pod is due. Placed pods are counted on their node at once.
    ///
    /// `tie` chooses among equals, `protected` says whether a disruption budget shields a pod.
    pub fn next(
        &mut self,
        now: Instant,
        tie: &mut dyn FnMut(usize) -> usize,
        protected: &dyn Fn(&PodInfo) -> bool,
    ) -> Option<Decision> {
        self.queue.advance(now);
        loop {
            let pod = self.queue.pop()?;
            let Some(profile) = self.profile(&pod) else {
                self.queue.remove(&pod.uid);
                continue;
            };
            match cycle::place(profile, &self.cache, &pod, tie) {
                Ok(node) => {
                    self.cache.place_pod(pod.clone(), &node);
                    return Some(Decision::Bind { pod, node });
                }
                Err(mut diagnosis) => {
                    let preempt =
                        match preemption::find(profile, &self.cache, &pod, &diagnosis, protected) {
                            Ok(candidate) => Some(candidate),
                            Err(why) => {
                                if diagnosis.total > 0 {
                                    diagnosis.preemption = Some(why);
                                }
                                None
                            }
                        };
                    let hints = hints(profile, &diagnosis);
                    self.queue.park(&pod.uid, hints, now);
                    return Some(Decision::Unschedulable {
                        pod,
                        diagnosis,
                        preempt,
                    });
                }
            }
        }
    }

    /// When [`Scheduler::next`] may have something again without an event.
    pub fn wake_at(&mut self, now: Instant) -> Option<Instant> {
        self.queue.advance(now)
    }

    /// A binding failed: the pod is not on the node, and is tried again after a while (unless it
    /// went meanwhile).
    pub fn bind_failed(&mut self, pod: &PodInfo, now: Instant) {
        if self.queue.back_off(&pod.uid, now) && self.cache.remove_pod(&pod.uid) {
            self.queue.notify(ClusterEvents::POD_DELETE, now);
        }
    }

    /// How many pods wait: active, backing off, parked.
    pub fn depths(&self) -> (usize, usize, usize) {
        self.queue.depths()
    }

    fn is_ours(&self, pod: &PodInfo) -> bool {
        self.profile(pod).is_some()
    }

    fn profile(&self, pod: &PodInfo) -> Option<&Profile> {
        let name = pod
            .spec()
            .scheduler_name
            .as_deref()
            .unwrap_or("default-scheduler");
        self.profiles.iter().find(|p| &*p.scheduler_name == name)
    }
}

fn gated(pod: &PodInfo) -> bool {
    pod.spec()
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty())
}

/// What the plugins that rejected the pod wait for. Without nodes, any node helps.
fn hints(profile: &Profile, diagnosis: &Diagnosis) -> ClusterEvents {
    profile
        .filters
        .iter()
        .filter(|p| diagnosis.plugins.contains_key(p.name()))
        .fold(ClusterEvents::NODE_ADD, |all, p| all | p.hints())
}

#[cfg(test)]
mod tests;
