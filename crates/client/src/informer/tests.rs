//! The cache and what subscribers hear, without an API.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::*;
use crate::key::{Key, revision_of};

fn object(name: &str, uid: &str, revision: u64, owner: Option<&str>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(revision.to_string()),
            owner_references: owner.map(|uid| {
                vec![OwnerReference {
                    uid: uid.into(),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn told(subscription: &mut Subscription<ConfigMap>) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(change) = subscription.try_next() {
        let version = |object: &ConfigMap| object.metadata.resource_version.clone().unwrap();
        let new = change.object();
        let uid = new.metadata.uid.clone().unwrap();
        told.push(match &change {
            Change::Applied { old, new } => {
                let old = old.as_ref().map_or("-".to_owned(), |old| version(old));
                format!("{uid} {old}>{}", version(new))
            }
            Change::Deleted(last) => format!("{uid} x{}", version(last)),
        });
    }
    told
}

fn subscribe(store: &Store<ConfigMap>) -> Subscription<ConfigMap> {
    store.subscribe(Arc::new(()))
}

#[test]
fn changes_of_one_object_are_merged_while_nobody_takes_them() {
    let store = Store::new();
    store.apply(object("a", "a1", 1, None), false);
    let mut subscription = subscribe(&store);
    assert_eq!(
        told(&mut subscription),
        ["a1 ->1"],
        "what is there comes first"
    );
    store.apply(object("a", "a1", 2, None), false);
    store.apply(object("b", "b1", 3, None), false);
    store.apply(object("a", "a1", 4, None), false);
    store.apply(object("a", "a1", 4, None), false);
    assert_eq!(told(&mut subscription), ["a1 1>4", "b1 ->3"]);
    store.apply(object("a", "a1", 5, None), false);
    store.delete(object("a", "a1", 6, None));
    store.apply(object("a", "a2", 7, None), false);
    assert_eq!(
        told(&mut subscription),
        ["a1 x6", "a2 ->7"],
        "a new object of an old name is another"
    );
    store.apply(object("a", "a3", 9, None), false);
    assert_eq!(
        told(&mut subscription),
        ["a2 x7", "a3 ->9"],
        "also when its end was not seen"
    );
    assert_eq!(store.revision(), 9);
}

#[test]
fn a_new_list_deletes_what_it_lacks() {
    let store = Store::new();
    for (name, revision) in [("a", 1), ("b", 2), ("c", 3)] {
        store.apply(object(name, name, revision, Some("o1")), false);
    }
    let mut subscription = subscribe(&store);
    told(&mut subscription);
    store.apply(object("b", "b", 2, Some("o1")), true);
    store.apply(object("b", "b", 4, Some("o1")), true);
    assert_eq!(
        store.revision(),
        3,
        "a list says nothing before it is complete"
    );
    store.retain(&HashSet::from([Key::new("ns", "b")]));
    assert_eq!(told(&mut subscription), ["b 2>4", "a x1", "c x3"]);
    assert_eq!(store.revision(), 4);
    assert_eq!(store.len(), 1);
    assert_eq!(store.owned_by("o1").len(), 1);
    assert_eq!(
        store.orphans_in("ns").len(),
        1,
        "an owner need not be a controller"
    );
    store.apply(object("b", "b", 5, Some("o2")), false);
    assert!(store.owned_by("o1").is_empty());
    assert_eq!(store.owned_by("o2").len(), 1);
    assert_eq!(store.list_in("ns").len(), 1);
    assert!(store.get("other", "b").is_none());
}

#[test]
fn an_index_follows_what_it_is_about() {
    let store = Store::new();
    let one = object("a", "a", 1, Some("o1"));
    store.apply(one, false);
    let by_owner = |object: &ConfigMap, say: &mut dyn FnMut(&str)| {
        let owners = object.metadata.owner_references.iter().flatten();
        owners.for_each(|owner| say(&owner.uid));
    };
    let index = store.index("owner", by_owner);
    let revisions = |value: &str| -> Vec<u64> {
        let found = index.get(value);
        found.iter().map(|object| revision_of(&**object)).collect()
    };
    assert_eq!(revisions("o1"), [1], "what was there before counts");
    store.apply(object("a", "a", 2, Some("o1")), false);
    store.apply(object("b", "b", 3, Some("o1")), false);
    assert_eq!(revisions("o1"), [2, 3], "the newest states");
    store.apply(object("a", "a", 4, Some("o2")), false);
    assert_eq!((revisions("o1"), revisions("o2")), (vec![3], vec![4]));
    assert_eq!(store.index("owner", by_owner).get("o2").len(), 1);
    store.delete(object("a", "a", 5, Some("o2")));
    store.retain(&HashSet::new());
    assert_eq!((revisions("o1"), revisions("o2")), (vec![], vec![]));
}

#[test]
fn objects_that_came_and_went_unseen_are_bounded() {
    let store = Store::new();
    let mut subscription = subscribe(&store);
    for n in 0..subscription::BRIEF_LIMIT as u64 + 10 {
        let uid = format!("u{n}");
        store.apply(object("x", &uid, 2 * n, None), false);
        store.delete(object("x", &uid, 2 * n + 1, None));
    }
    let told = told(&mut subscription);
    assert_eq!(told.len(), subscription::BRIEF_LIMIT);
    assert_eq!(told[0], "u10 x21");
}
