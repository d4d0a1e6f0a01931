//! Many writers on few keys. Each operation is told the revision it took effect at; replaying all
//! of them in that order on a model must give the answers that were given, which is what it means
//! for the store to be linearizable.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{Expect, ListOptions, Revision, Scope, Store, WriteError};

use crate::fixture::{PODS, n, numbered, open, pod, take};

const KEYS: u64 = 4;
const WRITERS: u64 = 16;
const OPERATIONS: u64 = 150;

/// (revision, key, version replaced, what it says; `None` for a deletion)
type Effect = (u64, u64, Option<u64>, Option<u64>);

async fn writer(store: Arc<Store>, id: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    // A fixed sequence per writer; the interleaving is what varies
    let mut random = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for operation in 0..OPERATIONS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = random % KEYS;
        let name = pod(&format!("k{key}"));
        let value = id * 1_000_000 + operation;
        let before = store.revision();
        let current = store.get(&name);
        let version = current.as_ref().map(|entry| entry.revision.0);
        let expect = current
            .as_ref()
            .map_or(Expect::Absent, |entry| Expect::At(entry.revision));
        let delete = random.is_multiple_of(7) && current.is_some();
        let result = if delete {
            store.delete(name.clone(), expect).await
        } else {
            store.update(name.clone(), expect, numbered(value)).await
        };
        match result {
            Ok(entry) => {
                assert!(entry.revision > before, "takes effect after it began");
                assert!(
                    store.revision() >= entry.revision,
                    "reads see an acknowledged write"
                );
                let now = store.get(&name).map(|entry| entry.revision);
                assert!(now.is_none_or(|now| now >= entry.revision) || delete);
                effects.push((entry.revision.0, key, version, (!delete).then_some(value)));
            }
            Err(WriteError::Conflict { current } | WriteError::Exists { current }) => {
                assert_ne!(Some(current.revision.0), version, "refused for a reason");
            }
            Err(WriteError::NotFound { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    effects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writes_take_effect_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|id| tokio::spawn(writer(store.clone(), id)))
        .collect();
    let mut effects = Vec::new();
    for writer in writers {
        effects.extend(writer.await.unwrap());
    }
    effects.sort_unstable();
    let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (at, (revision, key, replaced, value)) in effects.iter().enumerate() {
        assert_eq!(
            *revision,
            at as u64 + 2,
            "revisions without gap or repetition"
        );
        assert_eq!(
            model.get(key).map(|(version, _)| *version),
            *replaced,
            "at {revision}"
        );
        match value {
            Some(value) => model.insert(*key, (*revision, *value)),
            None => model.remove(key),
        };
    }
    let list = store
        .list(PODS, &ListOptions::default(), None)
        .await
        .unwrap();
    let listed = list.items.iter().map(|e| (e.revision.0, n(&e.json)));
    assert_eq!(
        listed.collect::<Vec<_>>(),
        model.values().copied().collect::<Vec<_>>()
    );

    let events = take(&mut watch, effects.len()).await;
    for (event, (revision, key, replaced, _)) in events.iter().zip(&effects) {
        assert_eq!(event.revision().0, *revision);
        assert_eq!(event.entry.key, pod(&format!("k{key}")));
        assert_eq!(event.previous.as_ref().map(|p| p.revision.0), *replaced);
    }
    let engine = store.stats().engine;
    assert_eq!(engine.writes, effects.len() as u64);
    assert!(
        engine.batches < engine.writes,
        "writers share syncs: {engine:?}"
    );
}
