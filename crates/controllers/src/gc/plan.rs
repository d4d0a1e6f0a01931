//! What to do about one object, from its own metadata, what became of its owners, and its dependents.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

/// Holds an object until its blocking dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents are set free.
pub(super) const ORPHAN: &str = "orphan";

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It is there, or is going without waiting for this object.
    Solid,
    /// It is gone, or was never there.
    Absent,
    /// It is going and waits for its dependents to go first.
    Waiting,
}

/// A dependent, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dependent {
    /// It wants its owner to wait for it.
    pub blocking: bool,
    /// It is itself in foreground deletion.
    pub waiting: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    Nothing,
    /// Take the object's reference out of all dependents, then drop [`ORPHAN`].
    SetFree,
    /// Look at all dependents, which are to go.
    CollectDependents,
    /// Drop [`FOREGROUND`]: nothing is waited for any more.
    Finish,
    /// Keep only these owners.
    KeepOwners(Vec<OwnerReference>),
    /// Delete it. With `unblock`, first stop it from holding up its owners: it waits for its
    /// dependents, they perhaps for it, and so all would wait in a circle.
    Delete {
        policy: PropagationPolicy,
        unblock: bool,
    },
}

fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == name)
}

/// Is the object in foreground deletion?
pub(super) fn is_waiting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FOREGROUND)
}

/// Is the object being deleted in a way that the collector has to carry out?
pub(super) fn has_work_when_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
        && (has_finalizer(meta, FOREGROUND) || has_finalizer(meta, ORPHAN))
}

/// The finalizers without this one.
pub(super) fn without(meta: &ObjectMeta, name: &str) -> Vec<String> {
    meta.finalizers
        .iter()
        .flatten()
        .filter(|finalizer| *finalizer != name)
        .cloned()
        .collect()
}

/// Decides. `owners` has one entry for each of the object's owner references.
pub(super) fn plan(meta: &ObjectMeta, owners: &[OwnerState], dependents: &[Dependent]) -> Plan {
    if meta.deletion_timestamp.is_some() {
        return if has_finalizer(meta, ORPHAN) {
            Plan::SetFree
        } else if !has_finalizer(meta, FOREGROUND) {
            Plan::Nothing
        } else if dependents.iter().any(|dependent| dependent.blocking) {
            Plan::CollectDependents
        } else {
            Plan::Finish
        };
    }
    let references = meta.owner_references.as_deref().unwrap_or_default();
    if references.is_empty() || references.len() != owners.len() {
        return Plan::Nothing;
    }
    let solid: Vec<_> = references
        .iter()
        .zip(owners)
        .filter(|(_, state)| **state == OwnerState::Solid)
        .map(|(reference, _)| reference.clone())
        .collect();
    if solid.len() == references.len() {
        return Plan::Nothing;
    }
    if !solid.is_empty() {
        return Plan::KeepOwners(solid);
    }
    if owners.contains(&OwnerState::Waiting) && !dependents.is_empty() {
        let unblock = dependents.iter().any(|dependent| dependent.waiting);
        return Plan::Delete {
            policy: PropagationPolicy::Foreground,
            unblock,
        };
    }
    let policy = if has_finalizer(meta, ORPHAN) {
        PropagationPolicy::Orphan
    } else if has_finalizer(meta, FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Plan::Delete {
        policy,
        unblock: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(owners: usize, deleting: bool, finalizers: &[&str]) -> ObjectMeta {
        let reference = |n: usize| OwnerReference {
            uid: n.to_string(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            owner_references: Some((0..owners).map(reference).collect()),
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn decisions() {
        use OwnerState::{Absent, Solid, Waiting};
        let delete = |policy, unblock| Plan::Delete { policy, unblock };
        let blocking = Dependent {
            blocking: true,
            waiting: false,
        };
        let free = Dependent {
            blocking: false,
            waiting: false,
        };
        let circle = Dependent {
            blocking: true,
            waiting: true,
        };
        let background = PropagationPolicy::Background;
        let foreground = PropagationPolicy::Foreground;
        let first = meta(1, false, &[]).owner_references.unwrap();
        let cases = [
            (meta(0, false, &[]), vec![], vec![], Plan::Nothing),
            (meta(1, false, &[]), vec![Solid], vec![], Plan::Nothing),
            (
                meta(1, false, &[]),
                vec![Absent],
                vec![],
                delete(background.clone(), false),
            ),
            (
                meta(2, false, &[]),
                vec![Solid, Absent],
                vec![],
                Plan::KeepOwners(first.clone()),
            ),
            (
                meta(2, false, &[]),
                vec![Solid, Waiting],
                vec![blocking],
                Plan::KeepOwners(first),
            ),
            (
                meta(2, false, &[]),
                vec![Absent, Absent],
                vec![blocking],
                delete(background.clone(), false),
            ),
            (
                meta(1, false, &[]),
                vec![Waiting],
                vec![],
                delete(background, false),
            ),
            (
                meta(1, false, &[]),
                vec![Waiting],
                vec![free],
                delete(foreground.clone(), false),
            ),
            (
                meta(1, false, &[]),
                vec![Waiting],
                vec![circle],
                delete(foreground, true),
            ),
            (
                meta(1, false, &[ORPHAN]),
                vec![Absent],
                vec![],
                delete(PropagationPolicy::Orphan, false),
            ),
            (meta(1, true, &[]), vec![Absent], vec![], Plan::Nothing),
            (
                meta(0, true, &[ORPHAN]),
                vec![],
                vec![blocking],
                Plan::SetFree,
            ),
            (
                meta(0, true, &[FOREGROUND]),
                vec![],
                vec![blocking],
                Plan::CollectDependents,
            ),
            (
                meta(0, true, &[FOREGROUND]),
                vec![],
                vec![free],
                Plan::Finish,
            ),
            (meta(0, true, &[FOREGROUND]), vec![], vec![], Plan::Finish),
        ];
        for (meta, owners, dependents, expected) in cases {
            assert_eq!(
                plan(&meta, &owners, &dependents),
                expected,
                "{meta:?} {owners:?} {dependents:?}"
            );
        }
        assert_eq!(without(&meta(0, true, &["a", ORPHAN]), ORPHAN), ["a"]);
    }
}
