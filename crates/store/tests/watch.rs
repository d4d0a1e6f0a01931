//! Watches: what a watcher sees, and what becomes of one that does not keep up.

use std::time::Duration;

use serde_json::json;
use store::{EventKind, Expect, Key, Options, Revision, Scope, WatchError};

use crate::fixture::{NODE, PODS, n, numbered, object, open, open_with, pod, seen, take};

#[tokio::test]
async fn a_watcher_sees_each_change_with_what_it_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    store.create(pod("a"), numbered(1)).await.unwrap();
    store
        .update(pod("a"), Expect::Present, numbered(2))
        .await
        .unwrap();
    store.delete(pod("a"), Expect::Present).await.unwrap();
    let events = take(&mut watch, 3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Put, EventKind::Put, EventKind::Delete]);
    let previous: Vec<_> = events
        .iter()
        .map(|e| e.previous.as_ref().map(|p| n(&p.json)))
        .collect();
    assert_eq!(previous, [None, Some(1), Some(2)]);
    assert_eq!(events[2].entry.json, r#"{"resourceVersion":"4","n":2}"#);

    // The same again, later and in memory no more
    for after in 1..=4 {
        let mut watch = store
            .watch(PODS, Revision(after), Scope::default())
            .unwrap();
        let rest: Vec<_> = take(&mut watch, (4 - after) as usize).await;
        let expected = events.iter().skip(after as usize - 1);
        assert!(rest.iter().map(|e| seen(e)).eq(expected.map(|e| seen(e))));
        assert_eq!(watch.progress(), Revision(4));
    }
}

#[tokio::test]
async fn only_the_newest_changes_hold_what_was_sent_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    store.create(pod("a"), numbered(0)).await.unwrap();
    let first = take(&mut watch, 1).await.remove(0);
    let sent = bytes::Bytes::from_static(b"frame");
    first.json_frame.hold(sent.clone());
    first.protobuf_frame.hold(sent.clone());
    for at in 1..=64 {
        assert_eq!(first.json_frame.get(), Some(sent.clone()), "at {at}");
        store
            .update(pod("a"), Expect::Present, numbered(at))
            .await
            .unwrap();
    }
    take(&mut watch, 64).await;
    let held = [first.json_frame.get(), first.protobuf_frame.get()];
    assert_eq!(held, [None, None]);
}

#[tokio::test]
async fn a_scope_lets_through_what_enters_it_and_what_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let key = |namespace, name| Key::of("", "pods", Some(namespace), name);
    let on = |node: &str| object(json!({"n": 1, "node": node}));
    let scope = |namespace: &str, name: &str, node: &str| Scope {
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: (!name.is_empty()).then(|| name.to_owned()),
        field: (!node.is_empty()).then(|| (NODE, node.to_owned())),
    };
    let cases = [
        (scope("", "", ""), "2 3 4 5 6 7"),
        (scope("a", "", ""), "2 4 5 6"),
        (scope("a", "x", ""), "2 4 5"),
        (scope("", "x", ""), "2 3 4 5 7"),
        (scope("", "", "n1"), "2 4 7"),
        (scope("", "", "n2"), "3 4 5 7"),
        (scope("a", "", "n2"), "4 5"),
        (scope("a", "y", "n2"), ""),
        (scope("c", "", ""), ""),
    ];
    let mut live: Vec<_> = Vec::new();
    for (scope, _) in &cases {
        live.push(store.watch(PODS, Revision(1), scope.clone()).unwrap());
    }
    store.create(key("a", "x"), on("n1")).await.unwrap();
    store.create(key("b", "x"), on("n2")).await.unwrap();
    store
        .update(key("a", "x"), Expect::Present, on("n2"))
        .await
        .unwrap();
    store.delete(key("a", "x"), Expect::Present).await.unwrap();
    store.create(key("a", "y"), numbered(1)).await.unwrap();
    store
        .update(key("b", "x"), Expect::Present, on("n1"))
        .await
        .unwrap();
    for ((scope, expected), mut live) in cases.into_iter().zip(live) {
        let mut later = store.watch(PODS, Revision(1), scope.clone()).unwrap();
        let count = expected.split_whitespace().count();
        for watch in [&mut live, &mut later] {
            let events = take(watch, count).await;
            let revisions: Vec<_> = events.iter().map(|e| e.revision().to_string()).collect();
            assert_eq!(revisions.join(" "), expected, "{scope:?}");
            assert_eq!(watch.progress(), Revision(7));
        }
    }
}

#[tokio::test]
async fn progress_follows_the_store_while_nothing_happens_to_what_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let scope = Scope {
        namespace: Some("quiet".into()),
        ..Scope::default()
    };
    let quiet = store.watch(PODS, store.revision(), scope).unwrap();
    let mut all = store
        .watch(PODS, store.revision(), Scope::default())
        .unwrap();
    store.create(pod("a"), numbered(1)).await.unwrap();
    assert_eq!(quiet.progress(), Revision(2));
    assert_eq!(all.progress(), Revision(1), "an event waits");
    take(&mut all, 1).await;
    assert_eq!(all.progress(), Revision(2));
    assert!(store.wait_for(Revision(2), Duration::ZERO).await);
    assert!(!store.wait_for(Revision(3), Duration::ZERO).await);
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_dropped_and_may_resume() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        watcher_buffer: 3,
        ring_events: 2,
        ..Options::default()
    };
    let store = open_with(dir.path(), options).await;
    let mut slow = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    for i in 0..8 {
        store
            .create(pod(&format!("p{i}")), numbered(i))
            .await
            .unwrap();
    }
    let kept = take(&mut slow, 3).await;
    assert_eq!(slow.next().await.unwrap().unwrap_err(), WatchError::Slow);
    assert!(slow.next().await.is_none());
    let mut again = store
        .watch(PODS, kept[2].revision(), Scope::default())
        .unwrap();
    let rest: Vec<_> = take(&mut again, 5)
        .await
        .iter()
        .map(|e| e.revision().0)
        .collect();
    assert_eq!(rest, [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_watch_ends_with_its_resource_or_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    store.create(pod("a"), numbered(1)).await.unwrap();
    store.unregister(PODS);
    take(&mut watch, 1).await;
    assert_eq!(watch.next().await.unwrap().unwrap_err(), WatchError::Closed);
    let refused = store.watch(PODS, Revision(1), Scope::default()).map(drop);
    assert_eq!(refused, Err(WatchError::Unregistered(PODS.into())));
    assert!(store.get(&pod("a")).is_none());

    store.register(PODS, crate::fixture::pods()).await.unwrap();
    assert!(store.get(&pod("a")).is_some());
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    take(&mut watch, 1).await;
    store.close().await;
    assert_eq!(watch.next().await.unwrap().unwrap_err(), WatchError::Closed);
    assert_eq!(store.stats().watchers, 0);
}

#[tokio::test]
async fn dropping_a_watch_takes_it_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let scope = Scope {
        field: Some((NODE, "n1".into())),
        ..Scope::default()
    };
    let watches = [scope, Scope::default()].map(|scope| store.watch(PODS, Revision(1), scope));
    assert_eq!(store.stats().watchers, 2);
    drop(watches);
    assert_eq!(store.stats().watchers, 0);
}
