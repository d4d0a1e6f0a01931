//! Claims that ask for more than they have: the growing is an external resizer's work, and the claim
//! says so.

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::binder::storage;
use crate::error::Error;
use crate::kit::Kit;

/// Does the bound claim want more than its volume gives?
fn grows(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let reference = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    let bound = reference.is_some_and(|reference| reference.uid == claim.metadata.uid);
    let requested = claim
        .spec
        .as_ref()
        .and_then(|spec| storage(spec.resources.as_ref()?.requests.as_ref()));
    let held = claim
        .status
        .as_ref()
        .and_then(|status| storage(status.capacity.as_ref()));
    bound && held.is_some() && requested > held
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let volumes = kit.informers.get::<PersistentVolume>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&claims).await && kit.synced(&volumes).await) {
        return;
    }
    kit.follow(&claims, &queue, |change: Change<PersistentVolumeClaim>| {
        let resources = |claim: &PersistentVolumeClaim| {
            let spec = claim.spec.clone().unwrap_or_default();
            (
                spec.resources,
                claim.status.clone().unwrap_or_default().capacity,
            )
        };
        let claim = change.object();
        let changed = change
            .old()
            .is_none_or(|old| resources(old) != resources(claim));
        (changed && !change.is_deleted()).then(|| Key::of(&**claim))
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, claims, volumes) = (inner.clone(), claims.clone(), volumes.clone());
        async move {
            let claim = claims.store().get_key(&key);
            let volume = claim.as_ref().and_then(|claim| {
                let name = claim.spec.as_ref()?.volume_name.as_deref()?;
                volumes.store().get("", name)
            });
            if let (Some(claim), Some(volume)) = (claim, volume)
                && grows(&claim, &volume)
            {
                let message = "waiting for an external controller to expand this PVC".to_owned();
                kit.recorder
                    .on(&*claim, EventType::Normal, "ExternalExpanding", message);
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_bound_claims_that_ask_for_more() {
        let claim = |wanted: &str, held: Option<&str>| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"uid": "c"},
                "spec": {"resources": {"requests": {"storage": wanted}}},
                "status": {"capacity": held.map(|held| json!({"storage": held}))}}))
            .unwrap()
        };
        let volume = |uid: &str| -> PersistentVolume {
            serde_json::from_value(json!({"spec": {"claimRef": {"uid": uid}}})).unwrap()
        };
        let cases = [
            ("2Gi", Some("1Gi"), "c", true),
            ("1Gi", Some("1024Mi"), "c", false),
            ("2Gi", Some("1Gi"), "other", false),
            ("2Gi", None, "c", false),
        ];
        for (wanted, held, uid, expected) in cases {
            assert_eq!(
                grows(&claim(wanted, held), &volume(uid)),
                expected,
                "{wanted} {held:?} {uid}"
            );
        }
    }
}
