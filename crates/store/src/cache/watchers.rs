//! Those who watch one resource, found by what they watch: an event is compared with the watchers
//! of its name, its namespace, its indexed fields and of everything, not with all of them.

use std::collections::HashMap;
use std::sync::Arc;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::event::Event;
use crate::key::{Key, Revision};
use crate::watch::{Scope, WatchError};

/// One watcher's side of the cache.
#[derive(Debug)]
pub(crate) struct Watcher {
    scope: Scope,
    /// Sees changes after this revision.
    after: Revision,
    queue: Mutex<Waiting>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Arc<Event>>,
    end: Option<WatchError>,
}

impl Watcher {
    pub(crate) fn new(scope: Scope, after: Revision, backlog: Vec<Arc<Event>>) -> Self {
        let queue = Mutex::new(Waiting {
            events: backlog,
            end: None,
        });
        Watcher {
            scope,
            after,
            queue,
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Everything that waits; an end only after all events before it.
    pub(crate) fn take(&self) -> Option<Result<Vec<Arc<Event>>, WatchError>> {
        let mut queue = self.queue.lock();
        if !queue.events.is_empty() {
            return Some(Ok(std::mem::take(&mut queue.events)));
        }
        queue.end.clone().map(Err)
    }

    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.events.is_empty() && queue.end.is_none()
    }

    pub(crate) fn end(&self, why: WatchError) {
        self.queue.lock().end.get_or_insert(why);
        self.wake();
    }

    /// Says whether the watcher is to be woken.
    fn push(&self, event: &Arc<Event>, bound: usize) -> bool {
        if event.revision() <= self.after || !self.scope.matches(event) {
            return false;
        }
        let mut queue = self.queue.lock();
        if queue.end.is_some() {
            return false;
        }
        if queue.events.len() >= bound {
            queue.end = Some(WatchError::Slow);
            return true;
        }
        queue.events.push(event.clone());
        queue.events.len() == 1
    }
}

/// The bucket a watcher is found in: the narrowest that its scope names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    Object(Key),
    Field(&'static str, Box<str>),
    Namespace(Box<str>),
    All,
}

/// All watchers of a resource.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    buckets: HashMap<Bucket, Vec<Arc<Watcher>>>,
}

impl Watchers {
    fn bucket(prefix: &str, scope: &Scope, indexed: &[&'static str]) -> Bucket {
        if let (Some(namespace), Some(name)) = (&scope.namespace, &scope.name) {
            return Bucket::Object(Key::new(format!("{prefix}{namespace}/{name}")));
        }
        let field = scope.field.as_ref();
        if let Some((name, value)) = field.filter(|(name, _)| indexed.contains(name)) {
            return Bucket::Field(name, value.as_str().into());
        }
        match &scope.namespace {
            Some(namespace) => Bucket::Namespace(namespace.as_str().into()),
            None => Bucket::All,
        }
    }

    pub(crate) fn add(&mut self, prefix: &str, indexed: &[&'static str], watcher: Arc<Watcher>) {
        let bucket = Self::bucket(prefix, &watcher.scope, indexed);
        self.buckets.entry(bucket).or_default().push(watcher);
    }

    pub(crate) fn remove(
        &mut self,
        prefix: &str,
        indexed: &[&'static str],
        watcher: &Arc<Watcher>,
    ) {
        let bucket = Self::bucket(prefix, &watcher.scope, indexed);
        if let Some(watchers) = self.buckets.get_mut(&bucket) {
            watchers.retain(|other| !Arc::ptr_eq(other, watcher));
            if watchers.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.buckets.values().map(Vec::len).sum()
    }

    /// How many watch everything, or everything of a namespace: those that every change there concerns.
    pub(crate) fn broad(&self, namespace: Option<&str>) -> usize {
        let count = |bucket: &Bucket| self.buckets.get(bucket).map_or(0, Vec::len);
        let here = namespace.map_or(0, |n| count(&Bucket::Namespace(n.into())));
        count(&Bucket::All) + here
    }

    pub(crate) fn drain(&mut self) -> Vec<Arc<Watcher>> {
        self.buckets
            .drain()
            .flat_map(|(_, watchers)| watchers)
            .collect()
    }

    /// Queues an event for everybody it concerns; adds to `wakers` those whose queue was empty.
    pub(crate) fn push(
        &self,
        event: &Arc<Event>,
        indexed: &[&'static str],
        bound: usize,
        wakers: &mut Vec<Arc<Watcher>>,
    ) {
        if self.buckets.is_empty() {
            return;
        }
        let mut offer = |bucket: &Bucket| {
            for watcher in self.buckets.get(bucket).into_iter().flatten() {
                if watcher.push(event, bound) {
                    wakers.push(watcher.clone());
                }
            }
        };
        let key = &event.entry.key;
        offer(&Bucket::All);
        if let Some(namespace) = key.namespace() {
            offer(&Bucket::Namespace(namespace.into()));
        }
        offer(&Bucket::Object(key.clone()));
        for name in indexed {
            let new = event.entry.attributes.field(name);
            let old = event
                .previous
                .as_ref()
                .and_then(|p| p.attributes.field(name));
            // An object that leaves a watcher's selection is that watcher's concern too
            for value in [new, old.filter(|old| new != Some(old))]
                .into_iter()
                .flatten()
            {
                offer(&Bucket::Field(name, value.into()));
            }
        }
    }
}
