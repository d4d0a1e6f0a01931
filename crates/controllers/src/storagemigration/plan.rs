//! What comes next for the migrations of one resource. Pure.

use std::sync::Arc;

use k8s_openapi::api::storagemigration::v1beta1::{
    StorageVersionMigration, StorageVersionMigrationStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub(super) const RUNNING: &str = "Running";
pub(super) const SUCCEEDED: &str = "Succeeded";
pub(super) const FAILED: &str = "Failed";

/// The next step, and the migration it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step<'m> {
    /// There is none to run.
    Nothing,
    /// It has come to its end: it runs no more, and its definition says so.
    Finish(&'m StorageVersionMigration),
    /// It is the oldest that waits, and no other of the resource runs.
    Start(&'m StorageVersionMigration),
    /// It runs: up to which revision objects may be in an old version has to be noted.
    Checkpoint(&'m StorageVersionMigration),
    /// It runs: objects up to this revision are written anew.
    Migrate(&'m StorageVersionMigration, &'m str),
}

/// At most one migration of a resource runs, and they run in the order they were made.
pub(super) fn next(all: &[Arc<StorageVersionMigration>]) -> Step<'_> {
    let mut in_order: Vec<&StorageVersionMigration> = all.iter().map(|one| &**one).collect();
    in_order.sort_by_key(|one| {
        let created = one.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), one.metadata.name.clone())
    });
    let ended = |one: &StorageVersionMigration| is(one, SUCCEEDED) || is(one, FAILED);
    if let Some(one) = in_order.iter().find(|one| is(one, RUNNING) && ended(one)) {
        return Step::Finish(one);
    }
    in_order.retain(|one| !ended(one));
    match in_order.iter().find(|one| is(one, RUNNING)) {
        Some(one) => {
            let status = one.status.as_ref();
            let noted = status.and_then(|status| status.resource_version.as_deref());
            match noted.filter(|revision| !revision.is_empty()) {
                Some(revision) => Step::Migrate(one, revision),
                None => Step::Checkpoint(one),
            }
        }
        None => in_order
            .first()
            .map_or(Step::Nothing, |one| Step::Start(one)),
    }
}

/// The resource it is about: group and plural.
pub(super) fn resource(one: &StorageVersionMigration) -> Option<(&str, &str)> {
    let resource = &one.spec.as_ref()?.resource;
    Some((&resource.group, &resource.resource))
}

pub(super) fn is(one: &StorageVersionMigration, condition: &str) -> bool {
    let status = one.status.as_ref();
    let mut conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|found| found.type_ == condition && found.status == "True")
}

/// The status with a condition set.
pub(super) fn with_condition(
    one: &StorageVersionMigration,
    condition: &str,
    is: bool,
    (reason, message): (&str, &str),
    now: &Time,
) -> StorageVersionMigrationStatus {
    let mut status = one.status.clone().unwrap_or_default();
    let set = Condition {
        type_: condition.to_owned(),
        status: if is { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now.clone(),
        observed_generation: one.metadata.generation,
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|had| had.type_ == condition) {
        Some(had) => *had = set,
        None => conditions.push(set),
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn migration(
        name: &str,
        second: u32,
        conditions: &[&str],
        revision: &str,
    ) -> Arc<StorageVersionMigration> {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
            .collect();
        let object = json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"resource": {"group": "", "resource": "pods"}},
            "status": {"conditions": conditions, "resourceVersion": revision},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn migrations_of_a_resource_run_one_after_the_other() {
        let told = |all: &[Arc<StorageVersionMigration>]| {
            let name = |one: &StorageVersionMigration| one.metadata.name.clone().unwrap();
            match next(all) {
                Step::Nothing => "nothing".to_owned(),
                Step::Finish(one) => format!("finish {}", name(one)),
                Step::Start(one) => format!("start {}", name(one)),
                Step::Checkpoint(one) => format!("checkpoint {}", name(one)),
                Step::Migrate(one, revision) => format!("migrate {} {revision}", name(one)),
            }
        };
        let (young, old) = (migration("a", 9, &[], ""), migration("b", 3, &[], ""));
        let done = migration("c", 1, &[SUCCEEDED], "5");
        assert_eq!(told(&[]), "nothing");
        assert_eq!(told(std::slice::from_ref(&done)), "nothing");
        assert_eq!(told(&[young.clone(), old.clone(), done.clone()]), "start b");
        let twin = migration("aa", 3, &[], "");
        assert_eq!(told(&[old.clone(), twin]), "start aa");
        let running = migration("d", 9, &[RUNNING], "");
        assert_eq!(told(&[old.clone(), running]), "checkpoint d");
        let running = migration("d", 9, &[RUNNING], "77");
        assert_eq!(told(&[old.clone(), running.clone()]), "migrate d 77");
        let failed = migration("e", 9, &[RUNNING, FAILED], "77");
        assert_eq!(told(&[running, failed]), "finish e");
    }
}
