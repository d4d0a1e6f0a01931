//! Stores and objects for the tests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::clock::Clock;
use bytes::Bytes;
use store::{Attributes, Event, EventKind, Key, Options, Registration, Store, Stored, WatchStream};

pub const PODS: &str = "//pods/";
pub const NODE: &str = "spec.nodeName";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct Manual(AtomicI64);

impl Manual {
    pub fn new() -> Arc<Self> {
        Arc::new(Manual(AtomicI64::new(1_700_000_000_000)))
    }

    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// Attributes out of `{"labels":{…},"node":"…"}`.
pub fn index(bytes: &[u8]) -> Attributes {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let labels = value["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into()));
    let node = value["node"].as_str().map(|node| (NODE, node.into()));
    Attributes {
        labels: labels.collect(),
        fields: node.into_iter().collect(),
    }
}

pub fn object(value: serde_json::Value) -> Stored {
    let bytes = serde_json::to_vec(&value).unwrap();
    let attributes = index(&bytes);
    // Directly behind the opening brace, where the text's trailing comma needs a member to follow
    let rv_at = if bytes.len() > 2 { 1 } else { Stored::NO_RV };
    Stored::new(Bytes::from(bytes), rv_at, attributes)
}

/// An object that says `n`.
pub fn numbered(n: u64) -> Stored {
    object(serde_json::json!({ "n": n }))
}

pub fn pod(name: &str) -> Key {
    Key::of("", "pods", Some("default"), name)
}

pub fn pods() -> Registration {
    Registration::new(index).indexed([NODE])
}

pub async fn open(dir: &Path) -> Arc<Store> {
    open_with(dir, Options::default()).await
}

pub async fn open_with(dir: &Path, options: Options) -> Arc<Store> {
    let store = Store::open(dir, options).unwrap();
    store.register(PODS, pods()).await.unwrap();
    store
}

/// What an object says.
pub fn n(json: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
    value["n"].as_u64().unwrap()
}

/// The event as (revision, name, what it says; `None` for a deletion).
pub fn seen(event: &Event) -> (u64, String, Option<u64>) {
    let n = (event.kind == EventKind::Put).then(|| n(&event.entry.json));
    (event.revision().0, event.entry.key.name().to_owned(), n)
}

/// Reads events until `count` have come.
pub async fn take(watch: &mut WatchStream, count: usize) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(watch.next().await.unwrap().unwrap());
    }
    assert_eq!(events.len(), count);
    events
}
