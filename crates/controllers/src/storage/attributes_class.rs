//! Keeps a VolumeAttributesClass from vanishing while claims or volumes name it.

use client::controller::Requeue;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::Api;

use crate::kit::Kit;
use crate::protection::{finalizers, settle};

const CLASS: &str = "kubernetes.io/vac-protection";

fn named_by_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let spec = claim.spec.as_ref();
    let status = claim.status.as_ref();
    let wanted = spec.and_then(|spec| spec.volume_attributes_class_name.clone());
    let held = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let coming = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|status| status.target_volume_attributes_class_name.clone());
    [wanted, held, coming].into_iter().flatten().collect()
}

fn named_by_volume(volume: &PersistentVolume) -> Option<String> {
    volume.spec.as_ref()?.volume_attributes_class_name.clone()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let classes = kit.informers.get::<VolumeAttributesClass>(Scope::All);
    let claims = kit.informers.get::<PersistentVolumeClaim>(Scope::All);
    let volumes = kit.informers.get::<PersistentVolume>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&classes).await && kit.synced(&claims).await && kit.synced(&volumes).await) {
        return;
    }
    kit.follow_own(&classes, &queue);
    let key = |name: String| Key::new("", &name);
    kit.follow(
        &claims,
        &queue,
        move |change: Change<PersistentVolumeClaim>| {
            // Only who does not name it any more can free it.
            let old = change
                .old()
                .map(|old| named_by_claim(old))
                .unwrap_or_default();
            let gone = change.is_deleted().then(|| named_by_claim(change.object()));
            old.into_iter().chain(gone.unwrap_or_default()).map(key)
        },
    );
    kit.follow(&volumes, &queue, move |change: Change<PersistentVolume>| {
        let old = change.old().and_then(|old| named_by_volume(old));
        let gone = change
            .is_deleted()
            .then(|| named_by_volume(change.object()));
        old.into_iter().chain(gone.flatten()).map(key)
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let kit = inner.clone();
        let (classes, claims, volumes) = (classes.clone(), claims.clone(), volumes.clone());
        async move {
            let Some(class) = classes.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let name = key.name.to_string();
            let in_use = || {
                let claims = claims.store().list();
                let volumes = volumes.store().list();
                claims
                    .iter()
                    .any(|claim| named_by_claim(claim).contains(&name))
                    || volumes
                        .iter()
                        .any(|volume| named_by_volume(volume).as_ref() == Some(&name))
            };
            let api: Api<VolumeAttributesClass> = Api::all(kit.client.clone());
            settle(&api, &*class, finalizers(&class.metadata, CLASS, in_use)).await
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_names_classes_in_three_places() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {"currentVolumeAttributesClassName": "silver",
                "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "gold"}},
        }))
        .unwrap();
        assert_eq!(named_by_claim(&claim), ["gold", "silver", "gold"]);
    }
}
