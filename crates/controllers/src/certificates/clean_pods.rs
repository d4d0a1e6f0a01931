//! Removes pods' requests for certificates: whether answered or not, nobody needs them for long.

use client::controller::Requeue;
use client::{Key, Scope};
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1beta1::PodCertificateRequest;
use kube::Api;

use crate::error::Error;
use crate::kit::{Kit, until};
use crate::write;

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
    let queue = kit.queue::<Key>();
    if !kit.synced(&requests).await {
        return;
    }
    kit.follow_own(&requests, &queue);
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, requests) = (inner.clone(), requests.clone());
        async move {
            let Some(request) = requests.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let made = request.metadata.creation_timestamp.as_ref();
            let Some(end) = made.and_then(|made| made.0.checked_add(KEPT).ok()) else {
                return Ok(Requeue::OnChange);
            };
            let now = kit.now();
            if end > now {
                return Ok(Requeue::After(until(end, now)));
            }
            let api: Api<PodCertificateRequest> =
                Api::namespaced(kit.client.clone(), &key.namespace);
            write::delete(&api, &*request, None, None).await?;
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}
