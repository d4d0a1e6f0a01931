//! Resuming watches: any interleaving of writes, resumptions and restarts shows every change
//! exactly once and in order. And dropping history.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use store::{EventKind, Expect, ListOptions, Options, Revision, Scope, Store, WatchError};

use crate::fixture::{Manual, PODS, numbered, open_with, pod, seen, take};

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    /// A watcher reads all there is.
    Read(usize),
    /// A watcher's connection breaks; it resumes from the last revision it saw.
    Resume(usize),
    Compact(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..5).prop_map(Step::Put),
        3 => (0u8..5).prop_map(Step::Delete),
        3 => (0usize..3).prop_map(Step::Read),
        3 => (0usize..3).prop_map(Step::Resume),
        1 => (0u8..10).prop_map(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

type Seen = (u64, String, Option<u64>);

async fn play(steps: Vec<Step>, ring_events: usize) {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        ring_events,
        ..Options::default()
    };
    let mut store = open_with(dir.path(), options()).await;
    let mut expected: Vec<Seen> = Vec::new();
    let mut live: HashMap<String, u64> = HashMap::new();
    let mut watchers: Vec<(Vec<Seen>, store::WatchStream)> = Vec::new();
    let watch = |store: &Store, after| store.watch(PODS, Revision(after), Scope::default());
    for _ in 0..3 {
        watchers.push((Vec::new(), watch(&store, 1).unwrap()));
    }
    let last = |seen: &[Seen]| seen.last().map_or(1, |(revision, ..)| *revision);
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(key) => {
                let name = format!("p{key}");
                let expect = if live.contains_key(&name) {
                    Expect::Present
                } else {
                    Expect::Absent
                };
                let made = store
                    .update(pod(&name), expect, numbered(n as u64))
                    .await
                    .unwrap();
                expected.push((made.revision.0, name.clone(), Some(n as u64)));
                live.insert(name, n as u64);
            }
            Step::Delete(key) => {
                let name = format!("p{key}");
                if live.remove(&name).is_some() {
                    let gone = store.delete(pod(&name), Expect::Present).await.unwrap();
                    expected.push((gone.revision.0, name, None));
                }
            }
            Step::Read(watcher) => read(&store, &mut watchers[watcher], &expected).await,
            Step::Resume(watcher) => {
                let (seen, stream) = &mut watchers[watcher];
                match watch(&store, last(seen)) {
                    Ok(resumed) => *stream = resumed,
                    Err(WatchError::Expired { requested, oldest }) => {
                        assert!(requested < oldest && oldest <= store.compacted());
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Compact(back) => {
                let through = store.revision().0.saturating_sub(back.into());
                store.compact(Revision(through)).await.unwrap();
            }
            Step::Restart => {
                for watcher in &mut watchers {
                    read(&store, watcher, &expected).await;
                }
                store.close().await;
                store = open_with(dir.path(), options()).await;
                for (seen, stream) in &mut watchers {
                    *stream = watch(&store, last(seen).max(store.compacted().0)).unwrap();
                }
            }
        }
    }
    for watcher in &mut watchers {
        read(&store, watcher, &expected).await;
    }
    let list = store
        .list(PODS, &ListOptions::default(), None)
        .await
        .unwrap();
    let listed = list
        .items
        .iter()
        .map(|e| (e.key.name().to_owned(), crate::fixture::n(&e.json)));
    assert_eq!(listed.collect::<HashMap<_, _>>(), live);
    // Every kept snapshot of the past is what it was
    for at in store.compacted().0..=store.revision().0 {
        let options = ListOptions {
            at: Some(Revision(at)),
            ..ListOptions::default()
        };
        let list = store.list(PODS, &options, None).await.unwrap();
        let mut then: HashMap<String, u64> = HashMap::new();
        for (_, name, n) in expected.iter().filter(|(revision, ..)| *revision <= at) {
            match n {
                Some(n) => then.insert(name.clone(), *n),
                None => then.remove(name),
            };
        }
        let listed = list
            .items
            .iter()
            .map(|e| (e.key.name().to_owned(), crate::fixture::n(&e.json)));
        assert_eq!(listed.collect::<HashMap<_, _>>(), then, "at {at}");
    }
}

/// Reads everything a watcher has not seen; checks that it is exactly that. A watcher that was
/// still reading the past when that was dropped is told so, and lists instead.
async fn read(store: &Store, watcher: &mut (Vec<Seen>, store::WatchStream), expected: &[Seen]) {
    let (seen_so_far, stream) = watcher;
    while seen_so_far.len() < expected.len() {
        match stream.next().await.unwrap() {
            Ok(events) => {
                for event in events {
                    assert_eq!(event.kind == EventKind::Delete, seen(&event).2.is_none());
                    seen_so_far.push(seen(&event));
                }
            }
            Err(WatchError::Expired { requested, oldest }) => {
                let last = seen_so_far.last().map_or(1, |(revision, ..)| *revision);
                assert!(last <= requested.0 && requested < oldest && oldest <= store.compacted());
                let list = store
                    .list(PODS, &ListOptions::default(), None)
                    .await
                    .unwrap();
                *stream = store.watch(PODS, list.revision, Scope::default()).unwrap();
                *seen_so_far = expected.to_vec();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(seen_so_far, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_watcher_sees_every_change_once_and_in_order(
        steps in proptest::collection::vec(step(), 0..60),
        ring_events in prop_oneof![Just(1usize), Just(5), Just(1000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps, ring_events));
    }
}

#[tokio::test]
async fn history_is_dropped_by_age_and_current_objects_stay() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::new();
    let options = || Options {
        clock: clock.clone(),
        ..Options::default()
    };
    let store = open_with(dir.path(), options()).await;
    for i in 0..100 {
        store
            .update(
                pod("a"),
                if i == 0 {
                    Expect::Absent
                } else {
                    Expect::Present
                },
                numbered(i),
            )
            .await
            .unwrap();
    }
    store.create(pod("b"), numbered(1)).await.unwrap();
    store.delete(pod("b"), Expect::Present).await.unwrap();
    store.maintain().await.unwrap();
    assert_eq!(store.compacted(), Revision(1), "nothing is old yet");
    clock.advance(Duration::from_secs(310));
    store.create(pod("c"), numbered(1)).await.unwrap();
    store.maintain().await.unwrap();
    assert_eq!(store.compacted(), Revision(103));
    let gone = store.watch(PODS, Revision(102), Scope::default()).map(drop);
    assert_eq!(
        gone,
        Err(WatchError::Expired {
            requested: Revision(102),
            oldest: Revision(103)
        })
    );
    let mut watch = store.watch(PODS, Revision(103), Scope::default()).unwrap();
    assert_eq!(
        seen(&take(&mut watch, 1).await[0]),
        (104, "c".into(), Some(1))
    );

    store.close().await;
    let store = open_with(dir.path(), options()).await;
    assert_eq!(
        (store.revision(), store.compacted()),
        (Revision(104), Revision(103))
    );
    let list = store
        .list(PODS, &ListOptions::default(), None)
        .await
        .unwrap();
    assert_eq!(list.items.len(), 2);
    assert_eq!(list.items[0].revision, Revision(101));

    // Old enough again, a deletion being the newest change: revisions go on all the same
    store.delete(pod("c"), Expect::Present).await.unwrap();
    clock.advance(Duration::from_secs(310));
    store.maintain().await.unwrap();
    assert_eq!(store.compacted(), Revision(105));
    store.close().await;
    let store = open_with(dir.path(), options()).await;
    assert_eq!(store.revision(), Revision(105));
    assert_eq!(
        store.create(pod("d"), numbered(1)).await.unwrap().revision,
        Revision(106)
    );
}

#[tokio::test]
async fn history_is_dropped_by_count_along_with_writes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_history: 100,
        ..Options::default()
    };
    let store = open_with(dir.path(), options).await;
    store.create(pod("a"), numbered(0)).await.unwrap();
    for i in 0..300 {
        store
            .update(pod("a"), Expect::Present, numbered(i))
            .await
            .unwrap();
        assert!(store.revision().0 - store.compacted().0 <= 101);
    }
    assert!(store.stats().engine.compacted >= 200);
    assert_eq!(store.get(&pod("a")).unwrap().revision, Revision(302));
}
