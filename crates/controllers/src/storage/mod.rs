//! Volumes: claims and volumes brought together, volumes attached to nodes, claims of ephemeral
//! volumes, growth. The storage itself is CSI drivers' business.

pub(crate) mod attach;
pub(crate) mod attributes_class;
pub(crate) mod binder;
pub(crate) mod ephemeral;
pub(crate) mod expand;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The class as it was named before there was a field for it.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The claim's StorageClass; empty if it wants none, or names none.
fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    annotation(&claim.metadata, CLASS)
        .or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
        .unwrap_or_default()
}

/// The volume's StorageClass; empty if it has none.
fn volume_class(volume: &PersistentVolume) -> &str {
    annotation(&volume.metadata, CLASS)
        .or_else(|| volume.spec.as_ref()?.storage_class_name.as_deref())
        .unwrap_or_default()
}

/// The volumes of a pod that claims stand behind: the volume's name in the pod, the claim's name.
pub(crate) fn claims_of(pod: &Pod) -> Vec<(String, String)> {
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| match (
        &volume.persistent_volume_claim,
        &volume.ephemeral,
    ) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{pod_name}-{}", volume.name)),
        (None, None) => None,
    };
    volumes
        .iter()
        .filter_map(|volume| Some((volume.name.clone(), claim(volume)?)))
        .collect()
}
