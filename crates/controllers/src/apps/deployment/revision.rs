//! Which ReplicaSet stands for which pod template: template equality, the template's hash, revision
//! numbers, and the annotations that carry them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Asks for a revision to go back to.
pub(super) const ROLLBACK: &str = "deprecated.deployment.rollback.to";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that its ReplicaSets do not inherit.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    ROLLBACK,
];
/// The history annotation's length at most; the oldest entries go.
const HISTORY_LIMIT: usize = 2_000;

/// The revision annotation's text.
pub(super) fn of(meta: &ObjectMeta) -> Option<&str> {
    meta.annotations.as_ref()?.get(REVISION).map(String::as_str)
}

/// The revision as a number; 0 where there is none.
pub(super) fn number(meta: &ObjectMeta) -> i64 {
    of(meta)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// A whole number in an annotation of the ReplicaSet; none below zero.
pub(super) fn count(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata
        .annotations
        .as_ref()?
        .get(annotation)?
        .parse()
        .ok()
        .filter(|count| *count >= 0)
}

/// Was the ReplicaSet made from the Deployment's present template?
pub(super) fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let ours = deployment.spec.as_ref().map(|spec| &spec.template);
    let theirs = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => without_hash(ours) == without_hash(theirs),
        _ => false,
    }
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta
            .annotations
            .take()
            .filter(|annotations| !annotations.is_empty());
    }
    template.metadata = template
        .metadata
        .take()
        .filter(|meta| *meta != ObjectMeta::default());
    template
}

/// The hash of a template, in the letters generated names use. The same template and collision count
/// give the same hash always; ReplicaSets are found again by their template, not by it.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut text = serde_json::to_string(&without_hash(template)).unwrap_or_default();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    crate::hash::short(&text)
}

/// Gives the Deployment the template and the annotations that this ReplicaSet has of it.
pub(super) fn take_back(deployment: &mut Deployment, set: &ReplicaSet) {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    if let (Some(spec), Some(template)) = (&mut deployment.spec, template) {
        spec.template = without_hash(template);
    }
    let own = |name: &String| OWN.contains(&name.as_str());
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.retain(|name, _| own(name));
    let theirs = set.metadata.annotations.iter().flatten();
    let inherited = theirs.filter(|(name, _)| !own(name));
    annotations.extend(inherited.map(|(name, value)| (name.clone(), value.clone())));
}

/// Brings the annotations of the new ReplicaSet up to date: the Deployment's own ones and the
/// revision, which never falls.
pub(super) fn annotate(
    annotations: &mut BTreeMap<String, String>,
    deployment: &Deployment,
    revision: i64,
    exists: bool,
) {
    let inherited = deployment.metadata.annotations.iter().flatten();
    for (name, value) in inherited.filter(|(name, _)| !OWN.contains(&name.as_str())) {
        annotations.insert(name.clone(), value.clone());
    }
    let before = annotations.get(REVISION).cloned();
    let old = match before.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(old) => old,
            // Not ours: somebody's own numbering stays.
            Err(_) => return,
        },
    };
    if old >= revision {
        return;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    if let (true, Some(before)) = (exists, before.filter(|before| !before.is_empty())) {
        let mut history: Vec<String> = annotations
            .get(HISTORY)
            .map(|history| history.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        history.push(before);
        while history.len() > 1
            && history.iter().map(|entry| entry.len() + 1).sum::<usize>() - 1 > HISTORY_LIMIT
        {
            history.remove(0);
        }
        annotations.insert(HISTORY.to_owned(), history.join(","));
    }
}
