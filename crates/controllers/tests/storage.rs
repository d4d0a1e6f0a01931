//! Volumes, ephemeral claims, attachments; and claims of devices.

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn claim(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
}

fn volume(name: &str, class: &str, size: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": class, "capacity": {"storage": size},
        "persistentVolumeReclaimPolicy": "Retain",
        "csi": {"driver": "csi.example.com", "volumeHandle": name}}})
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    let status = claim.status.as_ref().unwrap();
    status.phase.as_deref().unwrap_or_default()
}

fn volume_phase(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref().unwrap();
    status.phase.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_claim_gets_a_volume_and_its_pod_gets_it_attached() {
    let cluster = Cluster::start().await;
    cluster
        .create::<PersistentVolumeClaim>("default", claim("data", "fast"))
        .await;
    cluster
        .create::<PersistentVolume>("", volume("big", "fast", "10Gi"))
        .await;
    let bound = |all: &[PersistentVolumeClaim]| phase(&all[0]) == "Bound";
    let claims = cluster.wait("default", bound).await;
    assert_eq!(
        claims[0].spec.as_ref().unwrap().volume_name.as_deref(),
        Some("big")
    );
    let volumes = cluster
        .wait("", |all: &[PersistentVolume]| {
            volume_phase(&all[0]) == "Bound"
        })
        .await;
    let reference = volumes[0].spec.as_ref().unwrap().claim_ref.clone().unwrap();
    assert_eq!(reference.uid, claims[0].metadata.uid);

    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    cluster.create::<Pod>("default", pod).await;
    let attachments = cluster
        .wait("", |all: &[VolumeAttachment]| !all.is_empty())
        .await;
    let spec = &attachments[0].spec;
    assert_eq!(
        (spec.attacher.as_str(), spec.node_name.as_str()),
        ("csi.example.com", "n1")
    );
    // What the driver's attacher does.
    let api: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    let attached = Patch::Merge(json!({"status": {"attached": true}}));
    let name = attachments[0].metadata.name.clone().unwrap();
    api.patch_status(&name, &PatchParams::default(), &attached)
        .await
        .unwrap();
    cluster
        .wait("", |all: &[Node]| {
            let status = all[0].status.clone().unwrap_or_default();
            status
                .volumes_attached
                .is_some_and(|all| all[0].name == "kubernetes.io/csi/csi.example.com^big")
        })
        .await;
    cluster
        .api::<Pod>("default")
        .delete("p", &Default::default())
        .await
        .unwrap();
    cluster
        .wait("", |all: &[VolumeAttachment]| all.is_empty())
        .await;
    cluster
        .api::<PersistentVolumeClaim>("default")
        .delete("data", &Default::default())
        .await
        .unwrap();
    cluster
        .wait("", |all: &[PersistentVolume]| {
            volume_phase(&all[0]) == "Released"
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_claim_says_what_it_waits_for() {
    let cluster = Cluster::start().await;
    let class = json!({"metadata": {"name": "late"}, "provisioner": "csi.example.com",
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.create::<StorageClass>("", class).await;
    let class = json!({"metadata": {"name": "made"}, "provisioner": "csi.example.com"});
    cluster.create::<StorageClass>("", class).await;
    for (name, class) in [("a", "late"), ("b", "made"), ("c", "none")] {
        cluster
            .create::<PersistentVolumeClaim>("default", claim(name, class))
            .await;
    }
    let told = |all: &[Event], name: &str, reason: &str| {
        all.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(name)
                && event.reason.as_deref() == Some(reason)
        })
    };
    cluster
        .wait("default", |all: &[Event]| {
            told(all, "a", "WaitForFirstConsumer")
                && told(all, "b", "ExternalProvisioning")
                && told(all, "c", "ProvisioningFailed")
        })
        .await;
    cluster
        .wait("default", |all: &[PersistentVolumeClaim]| {
            let annotations = all[1].metadata.annotations.clone().unwrap_or_default();
            annotations
                .get("volume.kubernetes.io/storage-provisioner")
                .map(String::as_str)
                == Some("csi.example.com")
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn ephemeral_volumes_and_devices_get_claims_of_the_pods_own() {
    let cluster = Cluster::start().await;
    let template = json!({"metadata": {"name": "gpus"}, "spec": {"spec": {"devices": {}}}});
    cluster
        .create::<ResourceClaimTemplate>("default", template)
        .await;
    let source = json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "x", "resources": {"requests": {"storage": "1Gi"}}}}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "unbound"}],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpus"}],
        "volumes": [{"name": "scratch", "ephemeral": source}]}});
    let pod: Pod = cluster.create("default", pod).await;
    let claims = cluster
        .wait("default", |all: &[PersistentVolumeClaim]| !all.is_empty())
        .await;
    assert_eq!(claims[0].metadata.name.as_deref(), Some("p-scratch"));
    let owner = &claims[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(Some(&owner.uid), pod.metadata.uid.as_ref());
    let devices = cluster
        .wait("default", |all: &[ResourceClaim]| !all.is_empty())
        .await;
    cluster
        .wait("default", |all: &[Pod]| {
            let status = all[0].status.clone().unwrap_or_default();
            let noted = status.resource_claim_statuses.unwrap_or_default();
            noted
                .iter()
                .any(|one| one.resource_claim_name == devices[0].metadata.name)
        })
        .await;
    cluster
        .api::<Pod>("default")
        .delete("p", &Default::default())
        .await
        .unwrap();
    cluster
        .wait("default", |all: &[ResourceClaim]| all.is_empty())
        .await;
    cluster.stop().await;
}
