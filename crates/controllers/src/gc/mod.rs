//! The garbage collector: deletes what its owners left behind, and carries out foreground deletion and
//! orphaning.
//!
//! It watches the metadata of every kind that discovery names. Who depends on whom is read from the
//! owner index of those caches, so there is no second copy of the graph that could drift from them.
//! [`plan`] decides over one object from its owners and dependents; this module finds those and
//! executes. Kinds come and go with CustomResourceDefinitions and APIServices; their changes, not a
//! timer, lead to a new discovery.

mod execute;
mod monitors;
mod plan;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::informer::Metadata;
use client::queue::WorkQueue;
use client::{Change, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use parking_lot::Mutex;

use self::execute::Collector;
use self::monitors::Monitors;
use crate::kit::Kit;

/// Owners known to be gone for good; at the bound all are forgotten and asked for again.
const ABSENT_LIMIT: usize = 10_000;
/// How long an owner that the cache lacks may take to show up before the server is asked.
const OWNER_PATIENCE: Duration = Duration::from_secs(1);
/// Kinds whose caches have not filled by then do not hold up the others.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Item {
    /// `group/plural`.
    kind: Arc<str>,
    key: Key,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// Owners that are gone. Uids never come back, so this cannot be stale.
#[derive(Default)]
struct Absent {
    /// Seen to go.
    gone: Mutex<HashSet<String>>,
    /// Not found where a reference says they are. Whoever wrote the reference may have written what
    /// he liked, so this says nothing of the object that has the uid.
    missing: Mutex<HashSet<(Option<String>, [String; 4])>>,
}

/// Everything by which a reference means its owner, and where it was looked for.
fn address(owner: &OwnerReference, namespace: Option<&str>) -> (Option<String>, [String; 4]) {
    let OwnerReference {
        api_version,
        kind,
        name,
        uid,
        ..
    } = owner;
    let parts = [api_version, kind, name, uid].map(Clone::clone);
    (namespace.map(str::to_owned), parts)
}

fn insert<T: Eq + std::hash::Hash>(set: &Mutex<HashSet<T>>, item: T) {
    let mut set = set.lock();
    if set.len() >= ABSENT_LIMIT {
        set.clear();
    }
    set.insert(item);
}

impl Absent {
    fn gone(&self, uid: &str) {
        insert(&self.gone, uid.to_owned());
    }

    fn missing(&self, owner: &OwnerReference, namespace: Option<&str>) {
        insert(&self.missing, address(owner, namespace));
    }

    fn contains(&self, owner: &OwnerReference, namespace: Option<&str>) -> bool {
        self.gone.lock().contains(&owner.uid)
            || self.missing.lock().contains(&address(owner, namespace))
    }
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let queue: WorkQueue<Item> = kit.queue();
    let absent = Arc::new(Absent::default());
    let monitors = Arc::new(Monitors::new(kit.clone(), queue.clone(), absent.clone()));
    tokio::select! {
        () = monitors.start() => {}
        () = kit.shutdown.cancelled() => return,
    }
    // Acting on half of the graph could take a missing dependent for none.
    let synced = tokio::time::timeout(SYNC_PATIENCE, monitors.synced());
    tokio::select! {
        _ = synced => {}
        () = kit.shutdown.cancelled() => return,
    }
    let collector = Arc::new(Collector {
        kit: kit.clone(),
        queue: queue.clone(),
        monitors,
        absent,
    });
    kit.run(queue, move |item| {
        let collector = collector.clone();
        async move { collector.reconcile(&item).await.map(|()| Requeue::OnChange) }
    })
    .await;
}

/// Puts into the queue what a change may have made garbage, or unblocked.
fn on_change(
    change: &Change<Metadata>,
    kind: &Arc<str>,
    monitors: &Monitors,
    absent: &Absent,
    queue: &WorkQueue<Item>,
) {
    let object = change.object();
    let item = Item {
        kind: kind.clone(),
        key: Key::of(&**object),
    };
    let namespace = object.meta().namespace.as_deref();
    let owners = object
        .meta()
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let owners_before = change
        .old()
        .and_then(|old| old.meta().owner_references.clone());
    let add_owners = || {
        for owner in owners.iter().chain(owners_before.iter().flatten()) {
            // Perhaps this was the last that an owner in foreground deletion waited for, or it is
            // one of its dependents no more.
            if let Some(found) = monitors.owner_in_cache(owner, namespace)
                && found.object.meta().deletion_timestamp.is_some()
            {
                queue.add(found.item);
            }
        }
    };
    if change.is_deleted() {
        if let Some(uid) = &object.meta().uid {
            absent.gone(uid);
            for dependent in monitors.dependents(uid) {
                queue.add(dependent.item);
            }
        }
        return add_owners();
    }
    if plan::has_work_when_deleting(object.meta()) {
        queue.add(item);
        return;
    }
    if change.old().is_some() && owners_before == object.meta().owner_references {
        return;
    }
    for owner in owners {
        match monitors.owner_in_cache(owner, namespace) {
            Some(found) if found.object.meta().deletion_timestamp.is_some() => {
                queue.add(item.clone())
            }
            Some(_) => {}
            None if absent.contains(owner, namespace) => queue.add(item.clone()),
            None => queue.add_after(item.clone(), OWNER_PATIENCE),
        }
    }
    add_owners();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_false_reference_says_nothing_of_the_owner_it_names() {
        let owner = |kind: &str| OwnerReference {
            api_version: "apps/v1".into(),
            kind: kind.into(),
            name: "web".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        };
        let absent = Absent::default();
        absent.missing(&owner("ReplicaSet"), Some("elsewhere"));
        let cases = [
            ("ReplicaSet", Some("elsewhere"), true),
            ("ReplicaSet", Some("home"), false),
            ("ReplicaSet", None, false),
            ("Deployment", Some("elsewhere"), false),
        ];
        for (kind, namespace, expected) in cases {
            let found = absent.contains(&owner(kind), namespace);
            assert_eq!(found, expected, "{kind} {namespace:?}");
        }
        absent.gone("u");
        assert!(absent.contains(&owner("Deployment"), Some("home")));
    }
}
