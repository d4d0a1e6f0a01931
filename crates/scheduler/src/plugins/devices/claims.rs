//! Which claims a pod has, and whether they can be used.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim},
    resource::v1::ResourceClaim,
};

use super::{Devices, Key};
use crate::cache::PodInfo;

/// Whether a claim's status has the pod among those it is reserved for.
pub fn is_reserved_for(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    let reserved = claim.status.as_ref().and_then(|s| s.reserved_for.as_ref());
    reserved.into_iter().flatten().any(|r| *r.uid == *pod.uid)
}

/// The name of the claim behind one of a pod's, and whether it was made for the pod; none where it
/// needs none.
fn name_of<'p>(pod: &'p Pod, claim: &'p PodResourceClaim) -> Result<Option<(&'p str, bool)>, ()> {
    if let Some(name) = &claim.resource_claim_name {
        return Ok(Some((name, false)));
    }
    let statuses = pod.status.as_ref();
    let mut statuses = statuses
        .and_then(|s| s.resource_claim_statuses.as_ref())
        .into_iter()
        .flatten();
    let own = statuses.find(|status| status.name == claim.name);
    let name = own.ok_or(())?.resource_claim_name.as_deref();
    Ok(name.map(|name| (name, true)))
}

/// A claim that cannot be used.
#[derive(Debug)]
pub struct Missing {
    /// Which; none where it has no name yet.
    pub claim: Option<Key>,
    /// In upstream's words.
    pub why: String,
}

impl Devices {
    /// The claims of a pod, in order; or which one is missing or not the pod's.
    pub fn claims_of(&self, pod: &PodInfo) -> Result<Vec<&Arc<ResourceClaim>>, Missing> {
        let mut claims = Vec::new();
        for own in pod.spec().resource_claims.iter().flatten() {
            let found = name_of(&pod.pod, own).map_err(|()| Missing {
                claim: None,
                why: format!("pod \"{}\": ResourceClaim not created yet", pod.key),
            })?;
            let Some((name, made)) = found else { continue };
            let key: Key = (pod.namespace().into(), name.into());
            let missing = |why: String| Missing {
                claim: Some(key.clone()),
                why,
            };
            let Some(claim) = self.claims.get(&key) else {
                let space = pod.namespace();
                let why = format!("could not find ResourceClaim \"{space}/{name}\"");
                return Err(missing(why));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(missing(format!(
                    "resourceclaim \"{name}\" is being deleted"
                )));
            }
            let mut owners = claim.metadata.owner_references.iter().flatten();
            if made && !owners.any(|o| o.controller == Some(true) && *o.uid == *pod.uid) {
                return Err(missing(format!(
                    "ResourceClaim {}/{name} was not created for Pod {} (Pod is not owner)",
                    pod.namespace(),
                    pod.key
                )));
            }
            claims.push(claim);
        }
        Ok(claims)
    }
}
