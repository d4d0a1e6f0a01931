//! What to do for a claim, and for a volume: pure, from what the caches hold.
//!
//! Binding is four writes, each of which may be the last one before the process ends: the volume
//! names the claim, the volume is Bound, the claim names the volume, the claim is Bound. Whatever is
//! found half done is finished from either side.

use std::sync::Arc;

use client::events::EventType;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::matching;
use crate::storage::{annotation, claim_class};

/// The claim has been bound once.
pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binding was made here and not by a person, so it may be undone here.
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The volume was made for a claim, by this provisioner.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The scheduler has chosen a node, so provisioning may begin.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who is to provision the claim; the older name is still read.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_CLASS_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
/// The size before a growth that is under way.
const PRE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// An event to report.
pub(super) type Event = (EventType, &'static str, String);

/// What to do for a claim.
#[derive(Debug, Default)]
pub(super) struct ClaimPlan {
    /// A merge patch of the claim itself; nothing else is done in the same round.
    pub patch: Option<Value>,
    /// Bind it to this volume.
    pub bind: Option<Arc<PersistentVolume>>,
    /// Bring it into this phase, bound to nothing.
    pub phase: Option<&'static str>,
    pub event: Option<Event>,
    /// The event tells of the phase, so it is reported only if that changes.
    pub event_on_change: bool,
}

/// The caches as a plan sees them.
pub(super) struct Known<'a> {
    pub volumes: &'a [Arc<PersistentVolume>],
    pub classes: &'a [Arc<StorageClass>],
    /// Names of pods that use the claim and are not bound to a node.
    pub waiting_pods: &'a [String],
}

impl Known<'_> {
    fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes
            .iter()
            .find(|volume| volume.metadata.name.as_deref() == Some(name))
    }

    fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes
            .iter()
            .find(|class| class.metadata.name.as_deref() == Some(name))
    }

    /// Of several defaults the youngest, then the first by name.
    fn default_class(&self) -> Option<&str> {
        let is_default = |class: &&Arc<StorageClass>| {
            [DEFAULT_CLASS, DEFAULT_CLASS_BETA]
                .iter()
                .any(|name| annotation(&class.metadata, name) == Some("true"))
        };
        let rank = |class: &Arc<StorageClass>| {
            let created = class.metadata.creation_timestamp.as_ref().map(|at| at.0);
            (std::cmp::Reverse(created), class.metadata.name.clone())
        };
        let defaults = self.classes.iter().filter(is_default);
        defaults
            .min_by_key(|class| rank(class))?
            .metadata
            .name
            .as_deref()
    }
}

fn pending(event: Option<Event>) -> ClaimPlan {
    ClaimPlan {
        phase: Some("Pending"),
        event,
        ..ClaimPlan::default()
    }
}

fn lost(reason: &'static str, message: &str) -> ClaimPlan {
    ClaimPlan {
        phase: Some("Lost"),
        event: Some((EventType::Warning, reason, message.to_owned())),
        event_on_change: true,
        ..ClaimPlan::default()
    }
}

fn bind(volume: &Arc<PersistentVolume>) -> ClaimPlan {
    ClaimPlan {
        bind: Some(volume.clone()),
        ..ClaimPlan::default()
    }
}

/// Plans for a claim.
pub(super) fn claim(claim: &PersistentVolumeClaim, known: &Known<'_>) -> ClaimPlan {
    let named = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .filter(|name| !name.is_empty());
    let completed = annotation(&claim.metadata, BIND_COMPLETED).is_some();
    let found = named.map(|name| (name, known.volume(name)));
    match (completed, found) {
        (true, None) => lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
        (true, Some((_, None))) => lost(
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ),
        (true, Some((_, Some(volume)))) => {
            let reference = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.claim_ref.as_ref());
            if reference.is_none_or(|reference| reference.uid == claim.metadata.uid) {
                bind(volume)
            } else {
                lost(
                    "ClaimMisbound",
                    "Two claims are bound to the same volume, this one is bound incorrectly",
                )
            }
        }
        (false, None) => unbound(claim, known),
        (false, Some((_, None))) => pending(None),
        (false, Some((name, Some(volume)))) => asked_for(claim, name, volume),
    }
}

/// The claim names a volume and was never bound.
fn asked_for(
    claim: &PersistentVolumeClaim,
    name: &str,
    volume: &Arc<PersistentVolume>,
) -> ClaimPlan {
    let free = volume
        .spec
        .as_ref()
        .is_none_or(|spec| spec.claim_ref.is_none());
    if matching::is_bound_to(volume, claim) {
        return bind(volume);
    }
    if !free {
        let message = format!("volume {name:?} already bound to a different claim.");
        return pending(Some((EventType::Warning, "FailedBinding", message)));
    }
    match matching::mismatch(claim, volume) {
        None => bind(volume),
        Some(why) => {
            let message = format!("Cannot bind to requested volume {name:?}: {why}");
            pending(Some((EventType::Warning, "VolumeMismatch", message)))
        }
    }
}

/// The claim takes any volume that suits.
fn unbound(claim: &PersistentVolumeClaim, known: &Known<'_>) -> ClaimPlan {
    let class = known.class(claim_class(claim));
    let waits = class
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    if let Some(volume) = matching::best(claim, known.volumes, waits) {
        return bind(&volume);
    }
    let names_none = annotation(&claim.metadata, super::super::CLASS).is_none()
        && claim
            .spec
            .as_ref()
            .is_none_or(|spec| spec.storage_class_name.is_none());
    if names_none && let Some(default) = known.default_class() {
        return ClaimPlan {
            patch: Some(json!({"spec": {"storageClassName": default}})),
            ..ClaimPlan::default()
        };
    }
    if waits && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        let (reason, message) = match known.waiting_pods {
            [] => (
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
            [one] => (
                "WaitForPodScheduled",
                format!("waiting for pod {one} to be scheduled"),
            ),
            several => (
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", several.join(",")),
            ),
        };
        return pending(Some((EventType::Normal, reason, message)));
    }
    if claim_class(claim).is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return pending(Some((
            EventType::Normal,
            "FailedBinding",
            message.to_owned(),
        )));
    }
    provision(claim, class)
}

/// Provisioning is left to whoever goes by the class's name for it.
fn provision(claim: &PersistentVolumeClaim, class: Option<&Arc<StorageClass>>) -> ClaimPlan {
    let failed = |message: String| ClaimPlan {
        event: Some((EventType::Warning, "ProvisioningFailed", message)),
        ..ClaimPlan::default()
    };
    let Some(class) = class else {
        let name = claim_class(claim);
        return failed(format!("storageclass.storage.k8s.io {name:?} not found"));
    };
    let name = &class.provisioner;
    if name.starts_with("kubernetes.io/") {
        return failed(format!("no volume plugin matched name: {name}"));
    }
    let asked = [PROVISIONER, PROVISIONER_BETA]
        .iter()
        .all(|key| annotation(&claim.metadata, key) == Some(name));
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{name}' \
         or manually by the system administrator. If volume creation is delayed, please verify that \
         the provisioner is running and correctly registered."
    );
    ClaimPlan {
        patch: (!asked).then(
            || json!({"metadata": {"annotations": {PROVISIONER: name, PROVISIONER_BETA: name}}}),
        ),
        event: Some((EventType::Normal, "ExternalProvisioning", message)),
        ..ClaimPlan::default()
    }
}

/// The first write of a binding: the volume names the claim.
pub(super) fn volume_patch(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<Value> {
    let spec = volume.spec.as_ref();
    let held = spec.and_then(|spec| spec.claim_ref.as_ref());
    let right = held.is_some_and(|held| {
        held.name == claim.metadata.name
            && held.namespace == claim.metadata.namespace
            && held.uid == claim.metadata.uid
    });
    if right {
        return None;
    }
    let mut patch = json!({"spec": {"claimRef": {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": claim.metadata.namespace,
        "name": claim.metadata.name,
        "uid": claim.metadata.uid,
        "resourceVersion": claim.metadata.resource_version,
    }}});
    // Who wrote the claim's name into it beforehand wants it to stay.
    if !matching::is_bound_to(volume, claim) {
        patch["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
    }
    Some(patch)
}

/// The third write: the claim names the volume.
pub(super) fn claim_patch(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<Value> {
    let named = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    let mut patch = json!({});
    if named != volume.metadata.name.as_deref() {
        patch["spec"] = json!({"volumeName": volume.metadata.name});
        patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!("yes");
    }
    if annotation(&claim.metadata, BIND_COMPLETED).is_none() {
        patch["metadata"]["annotations"][BIND_COMPLETED] = json!("yes");
    }
    (patch != json!({})).then_some(patch)
}

/// The claim's status in a phase: bound to a volume, or to none.
pub(super) fn claim_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> k8s_openapi::api::core::v1::PersistentVolumeClaimStatus {
    let mut status = claim.status.clone().unwrap_or_default();
    let changes = status.phase.as_deref() != Some(phase);
    let was_pending = status.phase.as_deref().unwrap_or("Pending") == "Pending";
    status.phase = Some(phase.to_owned());
    let Some(volume) = volume else {
        status.access_modes = None;
        status.capacity = None;
        status.current_volume_attributes_class_name = None;
        return status;
    };
    let spec = volume.spec.as_ref();
    status.access_modes = spec.and_then(|spec| spec.access_modes.clone());
    if changes {
        status.capacity = spec.and_then(|spec| spec.capacity.clone());
        if let Some(before) = annotation(&volume.metadata, PRE_RESIZE) {
            let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(before.into());
            status
                .capacity
                .get_or_insert_default()
                .insert("storage".to_owned(), quantity);
        }
        if was_pending && phase == "Bound" {
            status.current_volume_attributes_class_name =
                spec.and_then(|spec| spec.volume_attributes_class_name.clone());
        }
    }
    status
}

/// What to do for a volume.
#[derive(Debug, Default, PartialEq)]
pub(super) struct VolumePlan {
    /// A merge patch of the volume itself, first.
    pub patch: Option<Value>,
    pub phase: Option<&'static str>,
    /// Its claim is to be looked at.
    pub look_at_claim: bool,
    /// About the volume; told only if the phase changes, where there is one.
    pub event: Option<Event>,
    /// About the claim.
    pub claim_event: Option<Event>,
}

/// Plans for a volume; `claim` is the one its reference names, uid included.
pub(super) fn volume(
    volume: &PersistentVolume,
    claim: Option<&PersistentVolumeClaim>,
) -> VolumePlan {
    let phase = |phase| VolumePlan {
        phase: Some(phase),
        ..VolumePlan::default()
    };
    let spec = volume.spec.clone().unwrap_or_default();
    let Some(reference) = spec.claim_ref.as_ref() else {
        return phase("Available");
    };
    if reference.uid.as_deref().unwrap_or_default().is_empty() {
        // Kept for a claim that may not exist yet.
        return VolumePlan {
            look_at_claim: true,
            ..phase("Available")
        };
    }
    let Some(claim) = claim else {
        return released(volume);
    };
    let claim_spec = claim.spec.clone().unwrap_or_default();
    let named = claim_spec.volume_name.as_deref().unwrap_or_default();
    if named.is_empty() {
        if !matching::same_mode(&claim_spec, &spec) {
            let (volume, claim) = (&volume.metadata.name, &claim.metadata.name);
            let (volume, claim) = (
                volume.as_deref().unwrap_or_default(),
                claim.as_deref().unwrap_or_default(),
            );
            return VolumePlan {
                event: Some((
                    EventType::Warning,
                    "VolumeMismatch",
                    format!(
                        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim:?} due to incompatible volumeMode."
                    ),
                )),
                claim_event: Some((
                    EventType::Warning,
                    "VolumeMismatch",
                    format!(
                        "Cannot bind PersistentVolume {volume:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
                    ),
                )),
                ..VolumePlan::default()
            };
        }
        return VolumePlan {
            look_at_claim: true,
            ..VolumePlan::default()
        };
    }
    if Some(named) == volume.metadata.name.as_deref() {
        return phase("Bound");
    }
    let made_for_it = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    if made_for_it && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
        return released(volume);
    }
    // The claim took another volume: this one is free again.
    let patch = if annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some() {
        json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
    } else {
        json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}})
    };
    VolumePlan {
        patch: Some(patch),
        ..phase("Available")
    }
}

/// The claim is gone. Its data is kept, or is deleted by who made the volume.
fn released(volume: &PersistentVolume) -> VolumePlan {
    let spec = volume.spec.clone().unwrap_or_default();
    let now = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if !matches!(now, Some("Released" | "Failed")) {
        return VolumePlan {
            phase: Some("Released"),
            ..VolumePlan::default()
        };
    }
    let failed = |reason, message: String| VolumePlan {
        phase: Some("Failed"),
        event: Some((EventType::Warning, reason, message)),
        ..VolumePlan::default()
    };
    let external = annotation(&volume.metadata, PROVISIONED_BY)
        .is_some_and(|name| !name.starts_with("kubernetes.io/"));
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match spec.persistent_volume_reclaim_policy.as_deref() {
        None | Some("Retain") => VolumePlan::default(),
        Some("Delete") if external => VolumePlan::default(),
        Some("Delete") => failed(
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            ),
        ),
        Some("Recycle") => failed(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!".to_owned(),
        ),
        Some(_) => failed(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned(),
        ),
    }
}
