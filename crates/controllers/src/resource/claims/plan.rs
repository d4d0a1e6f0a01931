//! What to do for a pod with claims, and for a claim: pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{
    ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus, ResourceClaimTemplate,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::owner::controller_of;
use crate::pods::is_terminal;
use crate::resource::{claim_name, status_of};

/// Which of the pod's claims a generated one is for.
pub(super) const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Held while the claim is allocated.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Pods that may use a claim at a time; the API allows no more.
const RESERVED_LIMIT: usize = 256;
/// Room for a hyphen and five random characters in a name of 63.
const PREFIX_LIMIT: usize = 57;

/// What one of a pod's claims needs.
#[derive(Debug, PartialEq)]
pub(super) enum Need {
    Nothing,
    /// It was made but the pod's status does not say so yet.
    Note(String),
    Create(Box<ResourceClaim>),
    Problem(String),
}

fn is_for(pod: &Pod, claim: &ResourceClaim) -> bool {
    controller_of(&claim.metadata)
        .is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// Plans for one of a pod's claims; `owned` are the claims the pod owns.
pub(super) fn need(
    pod: &Pod,
    claim: &PodResourceClaim,
    named: Option<&ResourceClaim>,
    owned: &[Arc<ResourceClaim>],
    template: Option<&ResourceClaimTemplate>,
) -> Need {
    let Some(template_name) = &claim.resource_claim_template_name else {
        return Need::Nothing;
    };
    let status = status_of(pod, claim);
    if status.is_some_and(|status| status.resource_claim_name.is_none()) {
        // Not needed.
        return Need::Nothing;
    }
    if claim_name(pod, claim).is_some() && named.is_some_and(|named| is_for(pod, named)) {
        return Need::Nothing;
    }
    let made = owned.iter().find(|owned| {
        let annotations = owned.metadata.annotations.as_ref();
        let name = annotations.and_then(|all| all.get(POD_CLAIM));
        is_for(pod, owned) && name == Some(&claim.name)
    });
    if let Some(name) = made.and_then(|made| made.metadata.name.clone()) {
        return Need::Note(name);
    }
    match template {
        None => Need::Problem(format!(
            "resource claim template {template_name:?}: resourceclaimtemplate.resource.k8s.io {template_name:?} not found"
        )),
        Some(template) => Need::Create(Box::new(generated(pod, claim, template))),
    }
}

fn generated(
    pod: &Pod,
    claim: &PodResourceClaim,
    template: &ResourceClaimTemplate,
) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), claim.name.clone());
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod_name.clone(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(prefix(&pod_name, &claim.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// Both names, each shortened by the same share if they are too long together.
fn prefix(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= PREFIX_LIMIT {
        return whole;
    }
    let share = |text: &str| text[..text.len() * PREFIX_LIMIT / whole.len()].to_owned();
    format!("{}-{}", share(pod), share(claim))
}

/// The reservation to add for a pod that was bound to a node without the scheduler's doing so.
pub(super) fn reservation(pod: &Pod, claim: &ResourceClaim) -> Option<ResourceClaimStatus> {
    let status = claim.status.as_ref()?;
    status.allocation.as_ref()?;
    let reserved = status.reserved_for.clone().unwrap_or_default();
    let uid = pod.metadata.uid.clone()?;
    let has = reserved.iter().any(|one| one.uid == uid);
    if has || reserved.len() >= RESERVED_LIMIT {
        return None;
    }
    let mut status = status.clone();
    status
        .reserved_for
        .get_or_insert_default()
        .push(ResourceClaimConsumerReference {
            api_group: None,
            resource: "pods".to_owned(),
            name: pod.metadata.name.clone()?,
            uid,
        });
    Some(status)
}

/// Ended, or will never begin.
pub(super) fn is_done(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let unbound = node.unwrap_or_default().is_empty();
    is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && unbound)
}

/// What to do for a claim, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ClaimPlan {
    pub status: Option<ResourceClaimStatus>,
    pub release: bool,
    pub delete: bool,
}

/// Plans for a claim; `is_gone` says of a reservation that its pod is gone or done.
pub(super) fn claim(
    claim: &ResourceClaim,
    owner: Option<&Pod>,
    is_gone: impl Fn(&ResourceClaimConsumerReference) -> bool,
) -> ClaimPlan {
    let mut plan = ClaimPlan::default();
    let old = claim.status.clone().unwrap_or_default();
    let reserved = old.reserved_for.clone().unwrap_or_default();
    let left: Vec<_> = reserved
        .iter()
        .filter(|one| !is_gone(one))
        .cloned()
        .collect();
    let held = claim
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|name| name == FINALIZER);
    let leaving = claim.metadata.deletion_timestamp.is_some();
    let free = left.is_empty();
    let mut new = old.clone();
    if left.len() < reserved.len() {
        new.reserved_for = Some(left).filter(|left| !left.is_empty());
        if free && held {
            new.allocation = None;
        }
        plan.release = held && new.allocation.is_none();
    } else if held && leaving && free {
        new.allocation = None;
        plan.release = true;
    }
    plan.status = (new != old).then_some(new);
    let generated = controller_of(&claim.metadata)
        .filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
    if let (Some(reference), Some(pod)) = (generated, owner) {
        let other = pod.metadata.uid.as_ref() != Some(&reference.uid);
        plan.delete = free && (other || is_done(pod)) && !leaving;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: Value, spec: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn wanted(template: Option<&str>, name: Option<&str>) -> PodResourceClaim {
        PodResourceClaim {
            name: "gpu".to_owned(),
            resource_claim_name: name.map(str::to_owned),
            resource_claim_template_name: template.map(str::to_owned),
        }
    }

    fn claim_of(owner: &str, status: Value, finalizers: &[&str]) -> ResourceClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "annotations": {POD_CLAIM: "gpu"},
                "finalizers": finalizers,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]},
            "spec": {}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn claims_from_templates() {
        let template: ResourceClaimTemplate = serde_json::from_value(
            json!({"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}),
        )
        .unwrap();
        let empty = json!({"containers": []});
        let plain = pod(json!({}), empty.clone());
        assert_eq!(
            need(&plain, &wanted(None, Some("c")), None, &[], None),
            Need::Nothing
        );
        let from = wanted(Some("t"), None);
        let Need::Create(made) = need(&plain, &from, None, &[], Some(&template)) else {
            panic!()
        };
        assert_eq!(made.metadata.generate_name.as_deref(), Some("p-gpu-"));
        assert_eq!(made.metadata.labels.as_ref().unwrap()["a"], "b");
        assert!(matches!(
            need(&plain, &from, None, &[], None),
            Need::Problem(_)
        ));
        let ours = Arc::new(claim_of("u", json!({}), &[]));
        let theirs = Arc::new(claim_of("x", json!({}), &[]));
        assert_eq!(
            need(
                &plain,
                &from,
                None,
                &[theirs.clone(), ours.clone()],
                Some(&template)
            ),
            Need::Note("c".into()),
            "it was made, and then the process ended"
        );
        let statuses = |name: Value| json!({"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": name}]});
        let noted = pod(statuses(json!("c")), empty.clone());
        assert_eq!(
            need(
                &noted,
                &from,
                Some(&ours),
                std::slice::from_ref(&ours),
                Some(&template)
            ),
            Need::Nothing
        );
        let needless = pod(statuses(Value::Null), empty);
        assert_eq!(
            need(&needless, &from, None, &[], Some(&template)),
            Need::Nothing
        );
    }

    #[test]
    fn long_names_share_the_room() {
        let prefix = prefix(&"p".repeat(60), &"c".repeat(20));
        assert!(prefix.len() <= PREFIX_LIMIT + 1, "{prefix}");
        assert!(
            prefix.starts_with("ppp") && prefix.ends_with("ccc"),
            "{prefix}"
        );
    }

    #[test]
    fn a_pod_bound_by_hand_gets_its_reservation() {
        let bound = pod(json!({}), json!({"containers": [], "nodeName": "n"}));
        let allocated = claim_of("u", json!({"allocation": {}}), &[]);
        let status = reservation(&bound, &allocated).unwrap();
        assert_eq!(status.reserved_for.as_ref().unwrap()[0].uid, "u");
        let mut again = allocated;
        again.status = Some(status);
        assert_eq!(reservation(&bound, &again), None);
        assert_eq!(reservation(&bound, &claim_of("u", json!({}), &[])), None);
    }

    #[test]
    fn reservations_end_with_their_pods() {
        let reserved = json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        let running = pod(
            json!({"phase": "Running"}),
            json!({"containers": [], "nodeName": "n"}),
        );
        let ended = pod(
            json!({"phase": "Succeeded"}),
            json!({"containers": [], "nodeName": "n"}),
        );
        let held = claim_of("u", reserved.clone(), &[FINALIZER]);
        assert_eq!(
            claim(&held, Some(&running), |_| false),
            ClaimPlan::default()
        );
        let plan = claim(&held, Some(&ended), |_| true);
        assert!(plan.release && plan.delete);
        assert_eq!(plan.status.unwrap(), ResourceClaimStatus::default());
        let foreign = claim_of("u", reserved, &[]);
        let plan = claim(&foreign, Some(&ended), |_| true);
        assert!(!plan.release);
        assert!(
            plan.status.unwrap().allocation.is_some(),
            "who allocated it without finalizer frees it"
        );
        let mut leaving = claim_of("u", json!({"allocation": {}}), &[FINALIZER]);
        leaving.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        );
        let plan = claim(&leaving, None, |_| false);
        assert!(plan.release && !plan.delete && plan.status.is_some());
    }
}
