//! Conditional writes, expiry and sealing.

use std::sync::Arc;
use std::time::Duration;

use store::{
    Expect, Key, Options, Registration, Revision, Scope, Seal, SealError, Store, Stored, WriteError,
};

use crate::fixture::{
    Manual, PODS, index, n, numbered, object, open, open_with, pod, pods, seen, take,
};

#[tokio::test]
async fn writes_hold_to_their_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.revision(), Revision(1));

    let made = store.create(pod("a"), numbered(1)).await.unwrap();
    assert_eq!((made.revision, made.created), (Revision(2), Revision(2)));
    assert_eq!(made.json, r#"{"resourceVersion":"2","n":1}"#);
    let again = store.create(pod("a"), numbered(2)).await.unwrap_err();
    assert!(matches!(again, WriteError::Exists { current } if current.revision == made.revision));

    let update = store
        .update(pod("a"), Expect::At(made.revision), numbered(3))
        .await
        .unwrap();
    assert_eq!(
        (update.revision, update.created),
        (Revision(3), Revision(2))
    );
    assert!(Arc::ptr_eq(&update, &store.get(&pod("a")).unwrap()));
    let stale = store
        .update(pod("a"), Expect::At(made.revision), numbered(4))
        .await
        .unwrap_err();
    assert!(matches!(stale, WriteError::Conflict { current } if current.revision == Revision(3)));
    let absent = store
        .update(pod("b"), Expect::Present, numbered(4))
        .await
        .unwrap_err();
    assert!(matches!(absent, WriteError::NotFound { .. }));

    let stale = store
        .delete(pod("a"), Expect::At(made.revision))
        .await
        .unwrap_err();
    assert!(matches!(stale, WriteError::Conflict { .. }));
    let gone = store.delete(pod("a"), Expect::Present).await.unwrap();
    assert_eq!(gone.json, r#"{"resourceVersion":"4","n":3}"#);
    assert!(store.get(&pod("a")).is_none());
    let absent = store.delete(pod("a"), Expect::Present).await.unwrap_err();
    assert!(matches!(absent, WriteError::NotFound { .. }));

    let again = store.create(pod("a"), numbered(5)).await.unwrap();
    assert_eq!((again.revision, again.created), (Revision(5), Revision(5)));
    let other = Key::of("", "nodes", None, "x");
    let unregistered = store.create(other, numbered(1)).await.unwrap_err();
    assert!(matches!(unregistered, WriteError::Unregistered(_)));
}

#[tokio::test]
async fn objects_outlive_the_store_with_their_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let a = store.create(pod("a"), numbered(1)).await.unwrap();
    let a = store
        .update(pod("a"), Expect::At(a.revision), numbered(2))
        .await
        .unwrap();
    store.create(pod("b"), numbered(3)).await.unwrap();
    store.delete(pod("b"), Expect::Present).await.unwrap();
    store.close().await;
    let closed = store.create(pod("c"), numbered(1)).await.unwrap_err();
    assert_eq!(closed.to_string(), "the store is closed");

    let store = open(dir.path()).await;
    assert_eq!(store.revision(), Revision(5));
    let again = store.get(&pod("a")).unwrap();
    assert_eq!(
        (again.revision, again.created, &again.json),
        (a.revision, a.created, &a.json)
    );
    assert!(store.get(&pod("b")).is_none());
    assert_eq!(
        store.create(pod("c"), numbered(1)).await.unwrap().revision,
        Revision(6)
    );
}

#[tokio::test]
async fn huge_objects_and_keys_are_refused_and_large_ones_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        ring_bytes: 1024,
        ..Options::default()
    };
    let store = open_with(dir.path(), options).await;
    let sized = |size: usize| object(serde_json::json!({"n": 7, "x": "x".repeat(size)}));
    let refused = store.create(pod("a"), sized(8 << 20)).await.unwrap_err();
    assert!(matches!(refused, WriteError::TooLarge { .. }));
    let refused = store
        .create(pod(&"n".repeat(1024)), numbered(1))
        .await
        .unwrap_err();
    assert!(matches!(refused, WriteError::TooLarge { .. }));

    // Heavier than all that may stay recent
    store.create(pod("a"), sized(1 << 20)).await.unwrap();
    let update = store
        .update(pod("a"), Expect::Present, sized(2 << 20))
        .await
        .unwrap();
    assert_eq!(
        (update.revision, update.created),
        (Revision(3), Revision(2))
    );
    let gone = store.delete(pod("a"), Expect::Present).await.unwrap();
    assert_eq!((gone.revision, n(&gone.json)), (Revision(4), 7));
}

#[tokio::test]
async fn expired_objects_are_deleted_and_watchers_told() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::new();
    let options = || Options {
        clock: clock.clone(),
        ..Options::default()
    };
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let store = open_with(dir.path(), options()).await;
    let mut watch = store
        .watch(PODS, store.revision(), Scope::default())
        .unwrap();
    store
        .create(
            pod("a"),
            Stored {
                ttl: ttl(60),
                ..numbered(1)
            },
        )
        .await
        .unwrap();
    store
        .create(
            pod("b"),
            Stored {
                ttl: ttl(60),
                ..numbered(2)
            },
        )
        .await
        .unwrap();
    store
        .create(
            pod("c"),
            Stored {
                ttl: ttl(60),
                ..numbered(3)
            },
        )
        .await
        .unwrap();
    clock.advance(Duration::from_secs(40));
    store
        .update(
            pod("b"),
            Expect::Present,
            Stored {
                ttl: ttl(60),
                ..numbered(4)
            },
        )
        .await
        .unwrap();
    store
        .update(pod("c"), Expect::Present, numbered(5))
        .await
        .unwrap();
    store.maintain().await.unwrap();
    assert!(store.get(&pod("a")).is_some());
    store.close().await;
    take(&mut watch, 5).await;

    // Found again on disk
    let store = open_with(dir.path(), options()).await;
    let mut watch = store
        .watch(PODS, store.revision(), Scope::default())
        .unwrap();
    clock.advance(Duration::from_secs(30));
    store.maintain().await.unwrap();
    assert!(store.get(&pod("a")).is_none());
    assert!(store.get(&pod("b")).is_some(), "written again since");
    clock.advance(Duration::from_secs(600));
    store.maintain().await.unwrap();
    let names: Vec<_> = take(&mut watch, 2)
        .await
        .iter()
        .map(|event| seen(event))
        .collect();
    assert_eq!(names, [(7, "a".into(), None), (8, "b".into(), None)]);
    assert!(
        store.get(&pod("c")).is_some(),
        "it does not expire any more"
    );
}

/// Not a cipher: shows what reached the disk.
struct Xor;

impl Seal for Xor {
    fn seal(&self, key: &Key, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let tag = u8::try_from(key.as_str().len()).unwrap();
        Ok([tag]
            .into_iter()
            .chain(plain.iter().map(|byte| byte ^ 0x5a))
            .collect())
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        match sealed.split_first() {
            Some((tag, rest)) if usize::from(*tag) == key.as_str().len() => {
                Ok(rest.iter().map(|byte| byte ^ 0x5a).collect())
            }
            _ => Err(SealError("sealed for another key".into())),
        }
    }
}

#[tokio::test]
async fn sealed_values_are_plain_in_memory_and_not_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        seal: Some(Arc::new(Xor)),
        ring_events: 1,
        ..Options::default()
    };
    let secret = object(serde_json::json!({"n": 1, "data": "topsecretvalue"}));
    let store = Store::open(dir.path(), options()).unwrap();
    store.register(PODS, pods().sealed()).await.unwrap();
    let made = store.create(pod("a"), secret).await.unwrap();
    store.create(pod("b"), numbered(2)).await.unwrap();
    store
        .update(pod("a"), Expect::Present, numbered(9))
        .await
        .unwrap();
    store.delete(pod("b"), Expect::Present).await.unwrap();
    assert!(String::from_utf8_lossy(&made.json).contains("topsecretvalue"));
    // From disk, because only one change stays in memory
    let mut watch = store.watch(PODS, Revision(1), Scope::default()).unwrap();
    let events = take(&mut watch, 4).await;
    assert_eq!(events[0].entry.json, made.json);
    store.close().await;
    let disk = std::fs::read(dir.path().join("data.redb")).unwrap();
    assert!(!disk.windows(14).any(|window| window == b"topsecretvalue"));

    let store = Store::open(dir.path(), options()).unwrap();
    store.register(PODS, pods().sealed()).await.unwrap();
    assert_eq!(n(&store.get(&pod("a")).unwrap().json), 9);
    store.close().await;

    let store = Store::open(dir.path(), Options::default()).unwrap();
    let refused = store.register(PODS, pods().sealed()).await.unwrap_err();
    assert!(refused.to_string().contains("without a seal"), "{refused}");
    let refused = store
        .register(PODS, Registration::new(index))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot load //pods/default/a: it is sealed and the store has no seal"
    );
}
