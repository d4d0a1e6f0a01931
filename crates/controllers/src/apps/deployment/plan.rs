//! What to do to the ReplicaSets of a Deployment: pure, from the Deployment and its ReplicaSets.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::rollback::{self, Rollback};
use super::{revision, rollout, status};
use crate::owner::controller_ref;
use crate::write;

/// One write.
#[derive(Debug)]
pub(super) enum Action {
    Create(Box<ReplicaSet>),
    Update {
        set: Arc<ReplicaSet>,
        patch: Value,
        /// From and to, if the number changes.
        scaled: Option<(i32, i32)>,
    },
    Delete(Arc<ReplicaSet>),
    Rollback(Rollback),
}

/// The writes, and what the status is computed from.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub actions: Vec<Action>,
    /// The ReplicaSet of the present template, if it exists.
    pub new: Option<Arc<ReplicaSet>>,
    /// The revision the Deployment should carry.
    pub revision: Option<String>,
}

/// A ReplicaSet as it is and as it should be.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub set: Arc<ReplicaSet>,
    pub replicas: i32,
    pub annotations: BTreeMap<String, String>,
    min_ready_seconds: i32,
}

impl Work {
    fn new(set: &Arc<ReplicaSet>) -> Self {
        let spec = set.spec.as_ref();
        Self {
            set: set.clone(),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            annotations: set.metadata.annotations.clone().unwrap_or_default(),
            min_ready_seconds: spec
                .and_then(|spec| spec.min_ready_seconds)
                .unwrap_or_default(),
        }
    }

    pub fn available(&self) -> i32 {
        self.set
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .unwrap_or_default()
    }

    /// Sets the number, and the annotations proportional scaling goes by.
    pub fn scale(&mut self, replicas: i32, deployment: &Deployment) {
        self.replicas = replicas;
        let wanted = rollout::wanted(deployment);
        let maximum = wanted.saturating_add(rollout::max_surge(deployment));
        self.annotations
            .insert(revision::DESIRED.to_owned(), wanted.to_string());
        self.annotations
            .insert(revision::MAXIMUM.to_owned(), maximum.to_string());
    }

    fn action(&self) -> Option<Action> {
        let before = Self::new(&self.set);
        let mut patch = json!({});
        let old = write::json_of(&before.annotations);
        if let Some(change) = write::difference(&old, &write::json_of(&self.annotations)) {
            patch["metadata"] = json!({ "annotations": change });
        }
        if before.replicas != self.replicas {
            patch["spec"]["replicas"] = json!(self.replicas);
        }
        if before.min_ready_seconds != self.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(self.min_ready_seconds);
        }
        (patch != json!({})).then(|| Action::Update {
            set: self.set.clone(),
            patch,
            scaled: (before.replicas != self.replicas).then_some((before.replicas, self.replicas)),
        })
    }
}

/// Plans the next step. `has_pods` tells whether pods of a ReplicaSet still run, terminating included.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    has_pods: impl Fn(&ReplicaSet) -> bool,
) -> Plan {
    let mut sets = sets.to_vec();
    sets.sort_by(|a, b| {
        let age = |set: &ReplicaSet| set.metadata.creation_timestamp.clone();
        age(a)
            .cmp(&age(b))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    let new_at = sets
        .iter()
        .position(|set| revision::same_template(deployment, set));
    let new = new_at.map(|at| sets[at].clone());
    let mut plan = Plan {
        new: new.clone(),
        ..Plan::default()
    };
    if deployment.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut old: Vec<Work> = sets
        .iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != new_at)
        .map(|(_, set)| Work::new(set))
        .collect();
    let revision = 1 + old
        .iter()
        .map(|work| revision::number(&work.set.metadata))
        .max()
        .unwrap_or_default();
    let mut current = new.as_ref().map(|set| {
        let mut work = Work::new(set);
        revision::annotate(&mut work.annotations, deployment, revision, true);
        work.min_ready_seconds = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default();
        work
    });

    let paused = rollout::is_paused(deployment);
    if !paused
        && new.is_some()
        && let Some(rollback) = rollback::plan(deployment, &sets)
    {
        plan.actions = vec![Action::Rollback(rollback)];
        return plan;
    }
    let mut created = None;
    if paused || rollout::is_scaling(deployment, current.iter().chain(&old)) {
        rollout::scale(deployment, current.as_mut(), &mut old);
    } else if rollout::is_recreate(deployment) {
        let active = old.iter().any(|work| work.replicas > 0);
        for work in old.iter_mut().filter(|work| work.replicas > 0) {
            work.scale(0, deployment);
        }
        let says_so = |set: &ReplicaSet| set.status.as_ref().is_some_and(|it| it.replicas > 0);
        let runs = |work: &Work| says_so(&work.set) || has_pods(&work.set);
        if !active && !old.iter().any(runs) {
            match &mut current {
                Some(work) if work.replicas != rollout::wanted(deployment) => {
                    work.scale(rollout::wanted(deployment), deployment);
                }
                Some(_) => {}
                None => created = new_set(deployment, rollout::wanted(deployment), revision),
            }
        }
    } else {
        match &mut current {
            Some(work) => {
                let total = work.replicas + old.iter().map(|work| work.replicas).sum::<i32>();
                let replicas = rollout::new_replicas(deployment, work.replicas, total);
                if replicas != work.replicas {
                    work.scale(replicas, deployment);
                }
                rollout::shrink_old(deployment, work, &mut old);
            }
            // What the new one makes of the old ones shows when its pods are there.
            None => {
                let total = old.iter().map(|work| work.replicas).sum::<i32>();
                created = new_set(
                    deployment,
                    rollout::new_replicas(deployment, 0, total),
                    revision,
                );
            }
        }
    }
    plan.revision = match (&current, &created) {
        (Some(work), _) => work.annotations.get(revision::REVISION).cloned(),
        (None, Some(_)) => Some(revision.to_string()),
        (None, None) => None,
    };
    plan.actions = created
        .map(|set| Action::Create(Box::new(set)))
        .into_iter()
        .collect();
    plan.actions
        .extend(current.iter().chain(&old).filter_map(Work::action));
    if paused || status::is_complete(deployment, deployment.status.as_ref()) {
        plan.actions.extend(
            surplus_history(deployment, &old)
                .into_iter()
                .map(Action::Delete),
        );
    }
    plan
}

/// The ReplicaSet of the present template.
fn new_set(deployment: &Deployment, replicas: i32, revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    let hash = revision::hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = &mut template.metadata.get_or_insert_default().labels;
    labels
        .get_or_insert_default()
        .insert(revision::HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(revision::HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = BTreeMap::new();
    revision::annotate(&mut annotations, deployment, revision, false);
    let maximum = rollout::wanted(deployment).saturating_add(rollout::max_surge(deployment));
    annotations.insert(
        revision::DESIRED.to_owned(),
        rollout::wanted(deployment).to_string(),
    );
    annotations.insert(revision::MAXIMUM.to_owned(), maximum.to_string());
    // 253 characters for a name, of which the hash takes up to 10 and the dash one.
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let name = name.get(..name.len().min(242)).unwrap_or(name);
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        ..ReplicaSet::default()
    })
}

/// Old ReplicaSets beyond the history limit, lowest revisions first; only those that hold nothing.
fn surplus_history(deployment: &Deployment, old: &[Work]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit)
    else {
        return Vec::new();
    };
    let mut kept: Vec<_> = old
        .iter()
        .filter(|work| work.set.metadata.deletion_timestamp.is_none())
        .collect();
    let surplus = kept
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    kept.sort_by_key(|work| revision::number(&work.set.metadata));
    kept.truncate(surplus);
    kept.into_iter()
        .filter(|work| {
            let status = work.set.status.clone().unwrap_or_default();
            status.replicas == 0
                && work.replicas == 0
                && work.set.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
                && work.set.metadata.generation <= status.observed_generation
        })
        .map(|work| work.set.clone())
        .collect()
}
