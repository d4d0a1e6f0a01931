//! Approves kubelets' requests: for client certificates, if their user may ask for such; for serving
//! certificates, if a node asks for its own name and for addresses that no other node has. Upstream
//! leaves the latter to whoever runs the cluster, and nodes without them cannot be asked for logs.

use std::net::IpAddr;
use std::sync::Arc;

use client::controller::Requeue;
use client::{Key, Scope};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{KUBELET_CLIENT, KUBELET_SERVING, has_condition, is_issued, request};
use crate::error::{Error, On};
use crate::kit::Kit;

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let requests = kit.informers.get::<CertificateSigningRequest>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&requests).await || !kit.synced(&nodes).await {
        return;
    }
    kit.follow_own(&requests, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, requests, nodes) = (inner.clone(), requests.clone(), nodes.clone());
        async move {
            match requests.store().get_key(&key) {
                Some(request) => {
                    let nodes = nodes.store().list();
                    reconcile(&kit, &key, &request, &nodes).await
                }
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
    nodes: &[Arc<Node>],
) -> Result<Requeue, Error> {
    let decided = is_issued(request)
        || has_condition(request, "Approved")
        || has_condition(request, "Denied");
    let serving = request.spec.signer_name == KUBELET_SERVING;
    if decided || !(serving || request.spec.signer_name == KUBELET_CLIENT) {
        return Ok(Requeue::OnChange);
    }
    let Ok(asked) = request::read(request) else {
        return Ok(Requeue::OnChange);
    };
    if request::objection(&request.spec, &asked).is_some() {
        return Ok(Requeue::OnChange);
    }
    if serving {
        let nodes = nodes.iter().map(AsRef::as_ref);
        if serves_itself(&request.spec, &asked, nodes) {
            let message = "Auto approving kubelet serving certificate of a node for itself.";
            return approve(kit, key, request, message).await;
        }
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

/// Whether a node asks for a certificate of its own: in its own name, for that name and for addresses
/// that are no loopback's and no other node's.
fn serves_itself<'n>(
    spec: &CertificateSigningRequestSpec,
    asked: &request::Asked,
    nodes: impl Iterator<Item = &'n Node>,
) -> bool {
    let Some(name) = asked.common_name.strip_prefix("system:node:") else {
        return false;
    };
    let own = spec.username.as_deref() == Some(asked.common_name.as_str())
        && spec.groups.iter().flatten().any(|g| g == "system:nodes")
        && asked.names.iter().all(|n| n == name)
        && asked.names.len() + asked.addresses.len() == asked.hosts;
    let taken = |node: &Node| {
        let addresses = node
            .status
            .iter()
            .flat_map(|s| s.addresses.iter().flatten());
        addresses
            .filter_map(|a| a.address.parse::<IpAddr>().ok())
            .any(|a| asked.addresses.contains(&a))
    };
    own && !asked.addresses.iter().any(IpAddr::is_loopback)
        && !nodes
            .filter(|n| n.metadata.name.as_deref() != Some(name))
            .any(taken)
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::{request::Asked, serves_itself};

    #[test]
    fn a_node_may_serve_as_itself_and_as_nobody_else() {
        let nodes: [Node; 2] = [("a", "192.0.2.2"), ("b", "192.0.2.3")].map(|(name, address)| {
            serde_json::from_value(json!({
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }))
            .unwrap()
        });
        let ask = |user: &str, name: &str, names: &[&str], addresses: &[&str]| {
            let spec = CertificateSigningRequestSpec {
                username: Some(format!("system:node:{user}")),
                groups: Some(vec!["system:nodes".into()]),
                ..CertificateSigningRequestSpec::default()
            };
            let asked = Asked {
                common_name: format!("system:node:{name}"),
                hosts: names.len() + addresses.len(),
                names: names.iter().map(|n| (*n).to_string()).collect(),
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                ..Asked::default()
            };
            serves_itself(&spec, &asked, nodes.iter())
        };
        assert!(ask("b", "b", &["b"], &["192.0.2.3"]));
        assert!(ask("new", "new", &["new"], &["192.0.2.4"]));
        assert!(!ask("b", "a", &["a"], &["192.0.2.2"]), "another's name");
        assert!(!ask("b", "b", &["kubernetes"], &[]), "a name not its own");
        assert!(!ask("b", "b", &["b"], &["192.0.2.2"]), "another's address");
        assert!(!ask("b", "b", &["b"], &["127.0.0.1"]), "loopback");
    }
}
