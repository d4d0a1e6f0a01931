//! Pods that are not worth a try because a claim of theirs is not there (PreEnqueue).

use std::collections::{HashMap, HashSet};

use super::{Devices, Key};
use crate::cache::PodInfo;

/// By pod and by claim. Bounded by the pods that wait.
#[derive(Debug, Default)]
pub struct Awaiting {
    /// What each pod waits for.
    pods: HashMap<Box<str>, Key>,
    claims: HashMap<Key, HashSet<Box<str>>>,
}

impl Awaiting {
    /// Whether the pod has to wait. Where a claim has no name yet, the pod's own status will tell.
    pub fn note(&mut self, pod: &PodInfo, devices: &Devices) -> bool {
        self.forget(&pod.uid);
        if pod.spec().resource_claims.is_none() {
            return false;
        }
        match devices.claims_of(pod) {
            Ok(_) => false,
            Err(missing) => {
                if let Some(key) = missing.claim {
                    self.pods.insert(pod.uid.clone(), key.clone());
                    self.claims.entry(key).or_default().insert(pod.uid.clone());
                }
                true
            }
        }
    }

    /// The pods that waited for a claim.
    pub fn take(&mut self, claim: &Key) -> Vec<Box<str>> {
        let pods = self.claims.remove(claim).unwrap_or_default();
        for pod in &pods {
            self.pods.remove(pod);
        }
        pods.into_iter().collect()
    }

    /// The pod waits no more.
    pub fn forget(&mut self, pod: &str) {
        if let Some(claim) = self.pods.remove(pod)
            && let Some(pods) = self.claims.get_mut(&claim)
        {
            pods.remove(pod);
            if pods.is_empty() {
                self.claims.remove(&claim);
            }
        }
    }
}
