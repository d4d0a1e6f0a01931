//! Going back on request: the annotation that the API's first versions left behind asks for a
//! revision, or with 0 for the one before the present one. It is taken off whatever comes of it.

use std::sync::Arc;

use client::events::EventType;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::revision;

/// The Deployment to write, and what to tell.
#[derive(Debug)]
pub(super) struct Rollback {
    pub deployment: Box<Deployment>,
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// What is asked for, if anything.
pub(super) fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Rollback> {
    let annotations = deployment.metadata.annotations.as_ref()?;
    let asked: i64 = annotations.get(revision::ROLLBACK)?.parse().ok()?;
    let mut next = deployment.clone();
    if let Some(annotations) = &mut next.metadata.annotations {
        annotations.remove(revision::ROLLBACK);
    }
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let rollback = |deployment: Deployment, kind, reason, message: String| Rollback {
        deployment: Box::new(deployment),
        kind,
        reason,
        message,
    };
    let missing = |next, message: &str| {
        let reason = "DeploymentRollbackRevisionNotFound";
        Some(rollback(
            next,
            EventType::Warning,
            reason,
            message.to_owned(),
        ))
    };
    let wanted = match asked {
        0 => last(sets),
        asked => asked,
    };
    if wanted == 0 {
        return missing(next, "Unable to find last revision.");
    }
    let Some(set) = sets
        .iter()
        .find(|set| revision::number(&set.metadata) == wanted)
    else {
        return missing(next, "Unable to find the revision to rollback to.");
    };
    if revision::same_template(deployment, set) {
        let message = format!(
            "The rollback revision contains the same template as current deployment {name:?}"
        );
        let reason = "DeploymentRollbackTemplateUnchanged";
        return Some(rollback(next, EventType::Warning, reason, message));
    }
    revision::take_back(&mut next, set);
    let message = format!("Rolled back deployment {name:?} to revision {wanted}");
    Some(rollback(
        next,
        EventType::Normal,
        "DeploymentRollback",
        message,
    ))
}

/// The second highest revision; 0 if there is none.
fn last(sets: &[Arc<ReplicaSet>]) -> i64 {
    let mut revisions: Vec<_> = sets
        .iter()
        .map(|set| revision::number(&set.metadata))
        .collect();
    revisions.sort_unstable();
    revisions.iter().rev().nth(1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn template(image: &str, labels: Value) -> Value {
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn set(revision: &str, image: &str) -> Arc<ReplicaSet> {
        let set = json!({
            "metadata": {"name": image, "annotations": {revision::REVISION: revision, "why": image}},
            "spec": {"template": template(image, json!({"app": "web", revision::HASH_LABEL: image}))},
        });
        Arc::new(serde_json::from_value(set).unwrap())
    }

    #[test]
    fn goes_back_to_the_revision_asked_for() {
        let sets = [set("1", "a"), set("3", "c"), set("2", "b")];
        let cases = [
            ("0", &sets[..], Some(("DeploymentRollback", "b"))),
            ("1", &sets[..], Some(("DeploymentRollback", "a"))),
            (
                "3",
                &sets[..],
                Some(("DeploymentRollbackTemplateUnchanged", "c")),
            ),
            (
                "7",
                &sets[..],
                Some(("DeploymentRollbackRevisionNotFound", "c")),
            ),
            (
                "0",
                &sets[1..2],
                Some(("DeploymentRollbackRevisionNotFound", "c")),
            ),
            ("x", &sets[..], None),
        ];
        for (asked, sets, expected) in cases {
            let deployment = serde_json::from_value(json!({
                "metadata": {"name": "web", "annotations": {revision::ROLLBACK: asked, "why": "c", revision::REVISION: "3"}},
                "spec": {"selector": {}, "template": template("c", json!({"app": "web"}))},
            }))
            .unwrap();
            let planned = plan(&deployment, sets);
            let got = planned.map(|rollback| {
                let spec = rollback.deployment.spec.unwrap();
                let annotations = rollback.deployment.metadata.annotations.unwrap();
                let image = spec.template.spec.unwrap().containers[0]
                    .image
                    .clone()
                    .unwrap();
                let labels = spec.template.metadata.unwrap().labels.unwrap();
                assert_eq!(labels.len(), 1, "without the hash");
                assert_eq!(annotations["why"], image, "annotations come back too");
                assert_eq!(annotations[revision::REVISION], "3");
                assert!(!annotations.contains_key(revision::ROLLBACK));
                (rollback.reason, image)
            });
            let got = got
                .as_ref()
                .map(|(reason, image)| (*reason, image.as_str()));
            assert_eq!(got, expected, "{asked} of {}", sets.len());
        }
    }
}
