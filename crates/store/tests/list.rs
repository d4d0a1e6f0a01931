//! Lists: selection, pages, and snapshots of the past.

use serde_json::json;
use store::{Expect, Key, List, ListError, ListOptions, Options, Revision, Store};

use crate::fixture::{NODE, PODS, n, numbered, object, open, open_with, pod};

async fn list(store: &Store, options: ListOptions<'_>) -> List {
    store.list(PODS, &options, None).await.unwrap()
}

fn names(list: &List) -> Vec<&str> {
    list.items.iter().map(|entry| entry.key.name()).collect()
}

#[tokio::test]
async fn lists_select_by_namespace_label_field_and_filter() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for (namespace, name, app, node) in [
        ("a", "1", "web", "n1"),
        ("a", "2", "db", "n1"),
        ("a-b", "3", "web", "n2"),
        ("b", "4", "web", "n1"),
    ] {
        let key = Key::of("", "pods", Some(namespace), name);
        let object = object(json!({"labels": {"app": app, "x": "y"}, "node": node}));
        store.create(key, object).await.unwrap();
    }
    let select = |namespace, labels, field| ListOptions {
        namespace,
        labels,
        field,
        ..ListOptions::default()
    };
    let web = &[("app", "web")][..];
    let both = &[("app", "web"), ("x", "y")][..];
    let none = &[("app", "web"), ("x", "z")][..];
    let node = |value| Some((NODE, value));
    // In the order of the keys' bytes, as etcd has it: a-b/ is before a/
    let cases = [
        (select(None, &[], None), "3 1 2 4"),
        (select(Some("a"), &[], None), "1 2"),
        (select(Some("a-"), &[], None), ""),
        (select(None, web, None), "3 1 4"),
        (select(Some("b"), both, None), "4"),
        (select(None, none, None), ""),
        (select(None, &[], node("n1")), "1 2 4"),
        (select(Some("a"), web, node("n1")), "1"),
        (select(None, &[], node("n3")), ""),
        (select(None, &[], Some(("metadata.other", "x"))), ""),
    ];
    for (options, expected) in cases {
        let found = list(&store, options.clone()).await;
        assert_eq!(names(&found).join(" "), expected, "{options:?}");
        assert_eq!(found.revision, Revision(5));
    }
    let odd = |entry: &store::Entry| entry.key.name().as_bytes()[0] % 2 == 1;
    let found = store
        .list(PODS, &select(None, web, None), Some(&odd))
        .await
        .unwrap();
    assert_eq!(names(&found), ["3", "1"]);

    // The index follows an object that moves, and forgets one that goes
    let key = |namespace, name| Key::of("", "pods", Some(namespace), name);
    let moved = object(json!({"node": "n3"}));
    store
        .update(key("a", "1"), Expect::Present, moved)
        .await
        .unwrap();
    store.delete(key("b", "4"), Expect::Present).await.unwrap();
    assert_eq!(
        names(&list(&store, select(None, &[], node("n1"))).await),
        ["2"]
    );
    assert_eq!(
        names(&list(&store, select(None, &[], node("n3"))).await),
        ["1"]
    );
}

#[tokio::test]
async fn pages_are_of_one_snapshot_whatever_happens_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    // Two rings: one that remembers everything, one so short that the disk has to
    for ring_events in [1000, 1] {
        let dir = dir.path().join(ring_events.to_string());
        let options = Options {
            ring_events,
            ..Options::default()
        };
        let store = open_with(&dir, options).await;
        for i in 0..10 {
            store
                .create(pod(&format!("p{i}")), numbered(i))
                .await
                .unwrap();
        }
        let first = list(
            &store,
            ListOptions {
                limit: Some(3),
                ..ListOptions::default()
            },
        )
        .await;
        assert_eq!(names(&first), ["p0", "p1", "p2"]);
        assert!(first.more);
        assert_eq!(first.remaining, Some(7));

        store.delete(pod("p4"), Expect::Present).await.unwrap();
        store.create(pod("p4"), numbered(99)).await.unwrap();
        store
            .update(pod("p5"), Expect::Present, numbered(99))
            .await
            .unwrap();
        store.create(pod("p55"), numbered(99)).await.unwrap();
        store.delete(pod("p9"), Expect::Present).await.unwrap();

        let mut after = first.items.last().unwrap().key.clone();
        let mut rest = Vec::new();
        loop {
            let options = ListOptions {
                limit: Some(3),
                after: Some(after),
                at: Some(first.revision),
                ..ListOptions::default()
            };
            let page = list(&store, options).await;
            assert_eq!(page.revision, first.revision);
            rest.extend(
                page.items
                    .iter()
                    .map(|e| (e.key.name().to_owned(), n(&e.json))),
            );
            after = page.items.last().unwrap().key.clone();
            if !page.more {
                assert_eq!(page.remaining, None);
                break;
            }
        }
        let expected: Vec<_> = (3..10).map(|i| (format!("p{i}"), i)).collect();
        assert_eq!(rest, expected, "ring of {ring_events}");
        let beyond = ListOptions {
            after: Some(pod("zz")),
            ..ListOptions::default()
        };
        assert!(list(&store, beyond).await.items.is_empty());
    }
}

#[tokio::test]
async fn revisions_that_are_not_there_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for i in 0..5 {
        store
            .create(pod(&format!("p{i}")), numbered(i))
            .await
            .unwrap();
    }
    store.close().await;
    let store = open(dir.path()).await;
    store.compact(Revision(4)).await.unwrap();
    assert_eq!(store.compacted(), Revision(4));
    let at = |revision| ListOptions {
        at: Some(Revision(revision)),
        ..ListOptions::default()
    };
    let (requested, oldest) = (Revision(3), Revision(4));
    let expired = store.list(PODS, &at(3), None).await.unwrap_err();
    assert_eq!(expired, ListError::Expired { requested, oldest });
    assert_eq!(expired.to_string(), "too old resource version: 3 (4)");
    assert_eq!(names(&list(&store, at(4)).await), ["p0", "p1", "p2"]);
    let future = store.list(PODS, &at(7), None).await.unwrap_err();
    assert_eq!(
        future.to_string(),
        "too large resource version: 7, current: 6"
    );
    let unknown = store.list("//nodes/", &at(6), None).await.unwrap_err();
    assert_eq!(unknown, ListError::Unregistered("//nodes/".into()));
}

#[tokio::test]
async fn what_the_engine_has_dropped_is_refused_where_nothing_has_changed_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let made = store.create(pod("a"), numbered(1)).await.unwrap();
    let at = |revision| ListOptions {
        at: Some(revision),
        ..ListOptions::default()
    };
    assert_eq!(names(&list(&store, at(made.revision)).await), ["a"]);
    store.delete(pod("a"), Expect::Present).await.unwrap();
    let last = store.create(pod("b"), numbered(1)).await.unwrap();
    store.compact(last.revision).await.unwrap();
    let expired = store.list(PODS, &at(made.revision), None).await;
    assert_eq!(
        expired.unwrap_err(),
        ListError::Expired {
            requested: made.revision,
            oldest: last.revision
        }
    );
    assert_eq!(names(&list(&store, at(last.revision)).await), ["b"]);
}
