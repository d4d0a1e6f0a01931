//! CertificateSigningRequests: approval of kubelets' own, signing of the approved, and removal of old
//! ones; and the API server's own authority, published.

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod clean_pods;
mod request;
pub(crate) mod sign;
pub(crate) mod trust_bundle;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// For clients of the API that are kubelets.
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// For the HTTPS servers of kubelets.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// For any client of the API.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// From before there were signer names.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

fn has_condition(request: &CertificateSigningRequest, type_: &str) -> bool {
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == type_)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request
        .status
        .as_ref()
        .and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}
