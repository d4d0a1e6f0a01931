//! Removes pods' requests for certificates: whether answered or not, nobody needs them for long.

use client::Scope;
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1beta1::PodCertificateRequest;
use kube::Api;

use crate::expiry::sweep;
use crate::kit::Kit;

/// A kubelet that waits for its certificate has asked again long before.
const KEPT: SignedDuration = SignedDuration::from_mins(15);

/// Runs until the shutdown; not at all where such requests are not served, as they are not unless the
/// cluster is told to.
pub(crate) async fn run(kit: Kit) {
    let served = kit.serves("certificates.k8s.io/v1beta1", "podcertificaterequests");
    if served.await != Some(true) {
        kit.shutdown.cancelled().await;
        return;
    }
    let requests = kit.informers.get::<PodCertificateRequest>(Scope::All);
    sweep(kit, requests, Api::namespaced, |request| {
        let made = request.metadata.creation_timestamp.as_ref()?;
        made.0.checked_add(KEPT).ok()
    })
    .await;
}
