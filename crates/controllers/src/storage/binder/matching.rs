//! Which volume suits a claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use kube::core::Selector;

use crate::owner::selects;
use crate::storage::{claim_class, volume_class};

/// The storage in a list of resources.
pub(crate) fn storage(resources: Option<&BTreeMap<String, Written>>) -> Option<Quantity> {
    resources?.get("storage")?.0.parse().ok()
}

fn requested(claim: &PersistentVolumeClaimSpec) -> Option<Quantity> {
    storage(claim.resources.as_ref()?.requests.as_ref())
}

fn mode(mode: Option<&str>) -> &str {
    mode.unwrap_or("Filesystem")
}

/// Block or file system: is it the same?
pub(super) fn same_mode(claim: &PersistentVolumeClaimSpec, volume: &PersistentVolumeSpec) -> bool {
    mode(claim.volume_mode.as_deref()) == mode(volume.volume_mode.as_deref())
}

fn same_attributes(claim: &PersistentVolumeClaimSpec, volume: &PersistentVolumeSpec) -> bool {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    name(&claim.volume_attributes_class_name) == name(&volume.volume_attributes_class_name)
}

fn has_access_modes(claim: &PersistentVolumeClaimSpec, volume: &PersistentVolumeSpec) -> bool {
    let offered = volume.access_modes.as_deref().unwrap_or_default();
    claim
        .access_modes
        .iter()
        .flatten()
        .all(|mode| offered.contains(mode))
}

fn large_enough(claim: &PersistentVolumeClaimSpec, volume: &PersistentVolumeSpec) -> bool {
    match (requested(claim), storage(volume.capacity.as_ref())) {
        (Some(requested), Some(size)) => size >= requested,
        (requested, _) => requested.is_none(),
    }
}

/// Does the volume name this claim, with its uid or before it had one?
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        let uid = reference.uid.as_deref().unwrap_or_default();
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
    })
}

/// Why a volume the claim asks for by name will not do.
pub(super) fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<String> {
    let (wanted, offered) = (claim.spec.as_ref()?, volume.spec.as_ref()?);
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion {name:?}"));
    }
    let why = if !large_enough(wanted, offered) {
        "requested PV is too small"
    } else if claim_class(claim) != volume_class(volume) {
        "storageClassName does not match"
    } else if !same_attributes(wanted, offered) {
        "volumeAttributesClassName does not match"
    } else if !same_mode(wanted, offered) {
        "incompatible volumeMode"
    } else if !has_access_modes(wanted, offered) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The volume for a claim: one that names it; else, unless its binding waits for a pod, the smallest
/// that suits, of those with the fewest access modes beyond what is asked.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    waits: bool,
) -> Option<Arc<PersistentVolume>> {
    let wanted = claim.spec.as_ref()?;
    let selector = match wanted.selector.clone() {
        Some(selector) => Some(Selector::try_from(selector).ok()?),
        None => None,
    };
    let mut groups: BTreeMap<(usize, Vec<String>), Vec<&Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes {
        let Some(offered) = &volume.spec else {
            continue;
        };
        let suits = has_access_modes(wanted, offered)
            && large_enough(wanted, offered)
            && same_mode(wanted, offered)
            && same_attributes(wanted, offered)
            && volume.metadata.deletion_timestamp.is_none()
            && (offered.claim_ref.is_none() || is_bound_to(volume, claim));
        if suits {
            let mut modes = offered.access_modes.clone().unwrap_or_default();
            modes.sort();
            groups.entry((modes.len(), modes)).or_default().push(volume);
        }
    }
    groups.into_values().find_map(|group| {
        if let Some(named) = group.iter().find(|volume| is_bound_to(volume, claim)) {
            return Some((*named).clone());
        }
        let free = group.into_iter().filter(|volume| {
            let phase = volume
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            !waits
                && phase == Some("Available")
                && volume_class(volume) == claim_class(claim)
                && selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, &volume.metadata))
        });
        free.min_by_key(|volume| {
            let size = storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()));
            (size.map(|size| size.nanos()), volume.metadata.name.clone())
        })
        .cloned()
    })
}
