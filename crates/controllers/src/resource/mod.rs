//! Dynamic resources: claims made from templates, who has them reserved, and pods that have to go
//! because a device was tainted.

pub(crate) mod claims;
pub(crate) mod taints;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};

/// The name of the claim behind one of the pod's: given, or made for it. None if there is none yet or
/// none is needed.
fn claim_name(pod: &Pod, claim: &PodResourceClaim) -> Option<String> {
    if let Some(name) = &claim.resource_claim_name {
        return Some(name.clone());
    }
    claim.resource_claim_template_name.as_ref()?;
    status_of(pod, claim)?.resource_claim_name.clone()
}

fn status_of<'a>(
    pod: &'a Pod,
    claim: &PodResourceClaim,
) -> Option<&'a k8s_openapi::api::core::v1::PodResourceClaimStatus> {
    let statuses = pod.status.as_ref()?.resource_claim_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == claim.name)
}

fn claims_of(pod: &Pod) -> &[PodResourceClaim] {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.resource_claims.as_deref())
        .unwrap_or_default()
}
