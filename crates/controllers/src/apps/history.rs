//! ControllerRevisions: the templates a DaemonSet or StatefulSet had, for rolling back.
//!
//! A revision's data is a patch that sets `spec.template`; its name carries a hash of it. The revision
//! of the present template has the highest number.

use std::sync::Arc;

use client::events::EventType;
use client::informer::Store;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Api;
use kube::api::PostParams;
use kube::core::Selector;
use serde_json::{Value, json};

use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::hash;
use crate::kit::Kit;
use crate::owner::{self, Owner, controller_ref};
use crate::write;

/// The label of pods that names the revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// A kind whose templates are kept.
pub(crate) trait Revised: Owner {
    /// The label of a revision with its hash.
    const LABEL: &'static str;
}

/// The revision's hash: what follows the owner's name.
pub(crate) fn hash_of<K: Revised>(revision: &ControllerRevision) -> Option<&str> {
    revision
        .metadata
        .labels
        .as_ref()?
        .get(K::LABEL)
        .map(String::as_str)
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = write::json_of(template);
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

fn hash(data: &Value, collisions: Option<i32>) -> String {
    let mut text = data.to_string();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    hash::short(&text)
}

/// Does the revision hold this data? Others write a template's empty fields, which say nothing.
fn holds(revision: &ControllerRevision, wanted: &Value) -> bool {
    let Some(RawExtension(held)) = &revision.data else {
        return false;
    };
    let template = || {
        let template = held.pointer("/spec/template")?;
        serde_json::from_value::<PodTemplateSpec>(template.clone()).ok()
    };
    held == wanted || template().is_some_and(|template| data(&template) == *wanted)
}

/// What is known of an owner's revisions.
pub(crate) struct History {
    /// That of the present template.
    pub current: Arc<ControllerRevision>,
    /// The others, oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
    /// What the owner's `collisionCount` should become, if the name was taken.
    pub collisions: Option<i32>,
}

/// What to do about the present template's revision.
#[derive(Debug)]
enum Step {
    Keep(Arc<ControllerRevision>),
    /// It is an old one: give it the highest number again.
    Renumber(Arc<ControllerRevision>, i64),
    Create(i64),
}

fn step(revisions: &[Arc<ControllerRevision>], wanted: &Value) -> Step {
    let next = 1 + revisions
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or_default();
    let same = |revision: &ControllerRevision| holds(revision, wanted);
    match revisions
        .iter()
        .filter(|revision| same(revision))
        .max_by_key(|revision| revision.revision)
    {
        Some(found) if found.revision + 1 == next => Step::Keep(found.clone()),
        Some(found) => Step::Renumber(found.clone(), next),
        None => Step::Create(next),
    }
}

/// Brings the revisions in line with the template; none if the owner has to be looked at again.
pub(crate) async fn sync<K: Revised>(
    kit: &Kit,
    owner: &K,
    selector: &Selector,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    cache: &Store<ControllerRevision>,
    expectations: &Expectations,
) -> Result<Option<History>, Error> {
    let key = client::Key::of(owner);
    let api: Api<ControllerRevision> = Api::namespaced(kit.client.clone(), &key.namespace);
    let mut revisions = owner::claimed(kit, owner, selector, cache).await?;
    revisions.sort_by_key(|revision| revision.revision);
    let wanted = data(template);
    let mut raised = None;
    let current = match step(&revisions, &wanted) {
        Step::Keep(found) => found,
        Step::Renumber(found, revision) => {
            let written = write::merge(&api, &*found, json!({ "revision": revision })).await?;
            expectations.wrote(&key, &written, kit.now());
            Arc::new(written)
        }
        Step::Create(revision) => {
            let hash = hash(&wanted, collisions);
            let name = format!("{}-{hash}", key.name);
            let mut labels = template
                .metadata
                .as_ref()
                .and_then(|meta| meta.labels.clone())
                .unwrap_or_default();
            labels.insert(K::LABEL.to_owned(), hash);
            let body = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: owner.meta().namespace.clone(),
                    labels: Some(labels),
                    annotations: owner.meta().annotations.clone().map(|mut all| {
                        all.remove("kubectl.kubernetes.io/last-applied-configuration");
                        all
                    }),
                    owner_references: Some(vec![controller_ref(owner)]),
                    ..ObjectMeta::default()
                },
                data: Some(RawExtension(wanted.clone())),
                revision,
            };
            let revision_key = || client::Key::new(&key.namespace, &name);
            match api.create(&PostParams::default(), &body).await.on(
                "create",
                "controllerrevision",
                revision_key,
            ) {
                Ok(created) => {
                    expectations.wrote(&key, &created, kit.now());
                    Arc::new(created)
                }
                Err(error) if error.is_already_exists() => {
                    let live =
                        api.get(&name)
                            .await
                            .on("get", "controllerrevision", revision_key)?;
                    let ours = owner::controller_of(&live.metadata)
                        .is_some_and(|reference| Some(&reference.uid) == owner.meta().uid.as_ref());
                    if ours && holds(&live, &wanted) {
                        expectations.wrote(&key, &live, kit.now());
                    } else {
                        raised = Some(collisions.unwrap_or_default().saturating_add(1));
                    }
                    Arc::new(live)
                }
                Err(error) if error.is_namespace_terminating() => return Ok(None),
                Err(error) => {
                    let message = format!("Error creating: {}", error.api_message());
                    kit.recorder
                        .on(owner, EventType::Warning, "FailedCreate", message);
                    return Err(error);
                }
            }
        }
    };
    revisions.retain(|revision| revision.metadata.uid != current.metadata.uid);
    Ok(Some(History {
        current,
        old: revisions,
        collisions: raised,
    }))
}

/// Deletes old revisions beyond the limit, oldest first, but for those in use, which only count
/// towards the limit if `counts_used`.
pub(crate) async fn prune(
    kit: &Kit,
    namespace: &str,
    old: &[Arc<ControllerRevision>],
    limit: i32,
    counts_used: bool,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), Error> {
    let api: Api<ControllerRevision> = Api::namespaced(kit.client.clone(), namespace);
    for revision in surplus(old, limit, counts_used, in_use) {
        write::delete(&api, &**revision, None, None).await?;
    }
    Ok(())
}

fn surplus(
    old: &[Arc<ControllerRevision>],
    limit: i32,
    counts_used: bool,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> impl Iterator<Item = &Arc<ControllerRevision>> {
    let unused: Vec<_> = old.iter().filter(|revision| !in_use(revision)).collect();
    let counted = if counts_used { old.len() } else { unused.len() };
    let surplus = counted.saturating_sub(usize::try_from(limit).unwrap_or_default());
    unused.into_iter().take(surplus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64, image: &str) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            data: Some(RawExtension(data(&template(image)))),
            revision: number,
            ..ControllerRevision::default()
        })
    }

    fn template(image: &str) -> PodTemplateSpec {
        let labels = json!({"app": "web"});
        serde_json::from_value(json!({"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
        .unwrap()
    }

    #[test]
    fn surplus_revisions() {
        let old: Vec<_> = (1..=4).map(|number| revision(number, "a")).collect();
        let cases = [
            (2, false, vec![1]),
            (2, true, vec![1, 3]),
            (0, false, vec![1, 3, 4]),
            (3, false, vec![]),
            (3, true, vec![1]),
        ];
        for (limit, counts_used, expected) in cases {
            let in_use = |revision: &ControllerRevision| revision.revision == 2;
            let numbers: Vec<_> = surplus(&old, limit, counts_used, in_use)
                .map(|revision| revision.revision)
                .collect();
            assert_eq!(numbers, expected, "{limit} {counts_used}");
        }
    }

    #[test]
    fn the_present_template_has_the_highest_revision() {
        let template_a = json!({"$patch": "replace", "metadata": {"creationTimestamp": null, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "a", "resources": null}]}});
        let mut foreign = ControllerRevision::clone(&revision(1, "a"));
        foreign.data = Some(RawExtension(json!({"spec": {"template": template_a}})));
        let foreign = Arc::new(foreign);
        let cases = [
            (vec![], "a", "create 1"),
            (vec![revision(1, "a")], "a", "keep 1"),
            (vec![revision(1, "a")], "b", "create 2"),
            (vec![foreign], "a", "keep 1"),
            (
                vec![revision(1, "a"), revision(2, "b")],
                "a",
                "renumber 1 to 3",
            ),
        ];
        for (revisions, image, expected) in cases {
            let told = match step(&revisions, &data(&template(image))) {
                Step::Keep(found) => format!("keep {}", found.revision),
                Step::Renumber(found, next) => format!("renumber {} to {next}", found.revision),
                Step::Create(next) => format!("create {next}"),
            };
            assert_eq!(told, expected);
        }
    }
}
