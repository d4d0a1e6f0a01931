//! Removes the Leases by which API servers say that they live, once they are over: whoever counts
//! servers goes by them.

use client::Scope;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::expiry::sweep;
use crate::kit::Kit;

const IDENTITY: &str = "apiserver.kubernetes.io/identity=kube-apiserver";

/// When the Lease is over. One that does not say when it was renewed, or for how long, is over already,
/// as upstream takes it.
fn expiry(lease: &Lease) -> Option<Timestamp> {
    if lease.metadata.namespace.as_deref() != Some("kube-system") {
        return None;
    }
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let end = renewed.zip(seconds).and_then(|(renewed, seconds)| {
        let lasts = SignedDuration::from_secs(seconds.into());
        renewed.0.checked_add(lasts).ok()
    });
    Some(end.unwrap_or(Timestamp::MIN))
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let leases = kit
        .informers
        .get::<Lease>(Scope::Labels(IDENTITY.to_owned()));
    sweep(kit, leases, Api::namespaced, expiry).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_lease_is_over_when_it_says_so() {
        let lease = |namespace: &str, spec: Value| -> Lease {
            serde_json::from_value(json!({"metadata": {"namespace": namespace}, "spec": spec}))
                .unwrap()
        };
        let renewed = "2026-11-20T10:00:00.000000Z";
        let spec = json!({"renewTime": renewed, "leaseDurationSeconds": 3600});
        let end = "2026-11-20T11:00:00Z".parse().unwrap();
        assert_eq!(expiry(&lease("kube-system", spec.clone())), Some(end));
        assert_eq!(expiry(&lease("kube-node-lease", spec)), None);
        let endless = json!({"renewTime": renewed});
        assert_eq!(expiry(&lease("kube-system", endless)), Some(Timestamp::MIN));
    }
}
