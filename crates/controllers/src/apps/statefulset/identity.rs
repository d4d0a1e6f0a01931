//! Names, labels and storage that a StatefulSet's pod keeps over its replacements.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::apps::history::HASH_LABEL;
use crate::owner::{controller_of, controller_ref};
use crate::pods;

/// The label with the pod's own name, for Services of one pod.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The pod's name.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!(
        "{}-{ordinal}",
        set.metadata.name.as_deref().unwrap_or_default()
    )
}

/// The pod's ordinal; none if its name is not of this set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    (Some(parent) == set.metadata.name.as_deref()).then(|| ordinal.parse().ok())?
}

/// The labels that say whose pod it is and which one.
pub(super) fn labels(set: &StatefulSet, pod: &Pod) -> BTreeMap<&'static str, String> {
    let ordinal = ordinal(set, pod).unwrap_or_default();
    [
        (NAME_LABEL, pod_name(set, ordinal)),
        (INDEX_LABEL, ordinal.to_string()),
    ]
    .into()
}

/// Does the pod still say which one it is?
pub(super) fn is_labelled(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(NAME_LABEL)) == pod.metadata.name.as_ref()
}

/// The name of the revision the pod was made of.
pub(super) fn revision(pod: &Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(HASH_LABEL)
        .map(String::as_str)
}

/// The pod of an ordinal, of a template other than the set's own if one is given.
pub(super) fn pod(
    set: &StatefulSet,
    template: Option<&PodTemplateSpec>,
    ordinal: i32,
    revision: &str,
) -> Option<Pod> {
    let spec = set.spec.as_ref()?;
    let namespace = set.metadata.namespace.as_deref()?;
    let mut pod = pods::from_template(
        template.unwrap_or(&spec.template),
        namespace,
        "",
        controller_ref(set),
    );
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    labels.insert(HASH_LABEL.to_owned(), revision.to_owned());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.subdomain = spec.service_name.clone().filter(|name| !name.is_empty());
    let storage: Vec<_> = spec
        .volume_claim_templates
        .iter()
        .flatten()
        .map(|claim| Volume {
            name: claim.metadata.name.clone().unwrap_or_default(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(set, claim, ordinal),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        })
        .collect();
    if !storage.is_empty() {
        let volumes = pod_spec.volumes.get_or_insert_default();
        // A claim takes the place of a volume of its name.
        volumes.retain(|volume| !storage.iter().any(|claim| claim.name == volume.name));
        volumes.extend(storage);
    }
    Some(pod)
}

fn claim_name(set: &StatefulSet, claim: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!(
        "{}-{}",
        claim.metadata.name.as_deref().unwrap_or_default(),
        pod_name(set, ordinal)
    )
}

/// Is this the name of a claim of some ordinal of the set?
pub(super) fn names_claim(set: &StatefulSet, name: &str) -> bool {
    let templates = set
        .spec
        .iter()
        .flat_map(|spec| &spec.volume_claim_templates);
    let ordinal = |template: &PersistentVolumeClaim| {
        let template = template.metadata.name.as_deref()?;
        let rest = name.strip_prefix(template)?.strip_prefix('-')?;
        let (set_name, ordinal) = rest.rsplit_once('-')?;
        (Some(set_name) == set.metadata.name.as_deref()).then(|| ordinal.parse::<u32>().ok())?
    };
    templates
        .flatten()
        .any(|template| ordinal(template).is_some())
}

/// The claims of an ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let Some(spec) = &set.spec else {
        return Vec::new();
    };
    spec.volume_claim_templates
        .iter()
        .flatten()
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(set, template, ordinal));
            claim.metadata.namespace = set.metadata.namespace.clone();
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
            claim.status = None;
            claim
        })
        .collect()
}

/// Who owns a claim by the set's retention policy (KEP-1847): the set, if its claims go with it; the
/// pod that is scaled away, if its claims go with that; else nobody. Answers the owner references to
/// write, if they are others than now; a claim that somebody else controls is let be.
pub(super) fn owners(
    set: &StatefulSet,
    pod: &Pod,
    condemned: bool,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let policy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_claim_retention_policy.clone())
        .unwrap_or_default();
    let goes = |when: &Option<String>| when.as_deref() == Some("Delete");
    let owner = if condemned && goes(&policy.when_scaled) {
        Some(controller_ref(pod))
    } else if goes(&policy.when_deleted) {
        Some(controller_ref(set))
    } else {
        None
    };
    let ours = [&set.metadata.uid, &pod.metadata.uid];
    let is_ours = |reference: &OwnerReference| ours.contains(&&Some(reference.uid.clone()));
    if controller_of(&claim.metadata).is_some_and(|reference| !is_ours(reference)) {
        return None;
    }
    let held = claim.metadata.owner_references.clone().unwrap_or_default();
    let others = held.iter().filter(|reference| !is_ours(reference)).cloned();
    let wanted: Vec<_> = others.chain(owner).collect();
    (wanted != held).then_some(wanted)
}

/// Is the claim to go with the set or its pods by the policy, but somebody else controls it?
pub(super) fn is_disputed(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let spec = set.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let goes = policy.is_some_and(|policy| {
        [&policy.when_deleted, &policy.when_scaled]
            .into_iter()
            .any(|when| when.as_deref() == Some("Delete"))
    });
    let ours = [&set.metadata.uid, &pod.metadata.uid];
    goes && controller_of(&claim.metadata)
        .is_some_and(|owner| !ours.contains(&&Some(owner.uid.clone())))
}

/// Does the claim still belong to a former pod of this ordinal, with which it is about to go? Where
/// claims outlast being scaled away, none does.
pub(super) fn is_stale(set: &StatefulSet, claim: &PersistentVolumeClaim, ordinal: i32) -> bool {
    let spec = set.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let goes = policy.is_some_and(|policy| policy.when_scaled.as_deref() == Some("Delete"));
    let name = pod_name(set, ordinal);
    let mut references = claim.metadata.owner_references.iter().flatten();
    goes && references.any(|reference| reference.kind == "Pod" && reference.name == name)
}
