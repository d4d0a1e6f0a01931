//! Approves kubelets' requests for client certificates, if their user may ask for such.

use client::controller::Requeue;
use client::{Key, Scope};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{KUBELET_CLIENT, has_condition, is_issued, request};
use crate::error::{Error, On};
use crate::kit::Kit;

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let requests = kit.informers.get::<CertificateSigningRequest>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&requests).await {
        return;
    }
    kit.follow_own(&requests, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, requests) = (inner.clone(), requests.clone());
        async move {
            match requests.store().get_key(&key) {
                Some(request) => reconcile(&kit, &key, &request).await,
                None => Ok(Requeue::OnChange),
            }
        }
    })
    .await;
}

async fn reconcile(
    kit: &Kit,
    key: &Key,
    request: &CertificateSigningRequest,
) -> Result<Requeue, Error> {
    let decided = is_issued(request)
        || has_condition(request, "Approved")
        || has_condition(request, "Denied");
    if decided || request.spec.signer_name != KUBELET_CLIENT {
        return Ok(Requeue::OnChange);
    }
    let Ok(asked) = request::read(request) else {
        return Ok(Requeue::OnChange);
    };
    if request::objection(&request.spec, &asked).is_some() {
        return Ok(Requeue::OnChange);
    }
    let renews = request.spec.username.as_deref() == Some(asked.common_name.as_str());
    let ways = [
        (
            renews,
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ),
        (
            true,
            "nodeclient",
            "Auto approving kubelet client certificate after SubjectAccessReview.",
        ),
    ];
    for (_, permission, message) in ways.into_iter().filter(|(fits, ..)| *fits) {
        if may(kit, key, request, permission).await? {
            return approve(kit, key, request, message).await;
        }
    }
    // A person may still approve it.
    Ok(Requeue::OnChange)
}

async fn may(
    kit: &Kit,
    key: &Key,
    request: &CertificateSigningRequest,
    permission: &str,
) -> Result<bool, Error> {
    let reviews: Api<SubjectAccessReview> = Api::all(kit.client.clone());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                version: Some("*".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(permission.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await.on(
        "review access for",
        "certificatesigningrequest",
        || key.clone(),
    )?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn approve(
    kit: &Kit,
    key: &Key,
    request: &CertificateSigningRequest,
    message: &str,
) -> Result<Requeue, Error> {
    let mut conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let now = kit.time();
    conditions.push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    });
    let patch = json!({
        "metadata": {"uid": request.metadata.uid, "resourceVersion": request.metadata.resource_version},
        "status": {"conditions": conditions},
    });
    let api: Api<CertificateSigningRequest> = Api::all(kit.client.clone());
    api.patch_subresource(
        "approval",
        &key.name,
        &PatchParams::default(),
        &Patch::Merge(&patch),
    )
    .await
    .on("approve", "certificatesigningrequest", || key.clone())?;
    Ok(Requeue::OnChange)
}
