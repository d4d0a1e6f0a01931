//! The task of an informer: lists and watches one kind and keeps its [`Store`] up to date.
//!
//! The initial state comes as a streamed list (a watch that sends what exists, then a bookmark);
//! where the server refuses that, as a paged list followed by a watch. A lost watch is resumed where
//! it stopped, an expired one starts over; what vanished meanwhile is told as deleted.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Object, Scope, Store};
use crate::backoff::Backoff;
use crate::key::Key;
use crate::random::Random;

pub(super) struct Task<K> {
    pub api: Api<K>,
    pub scope: Scope,
    pub store: Store<K>,
    pub backoff: Backoff,
    pub random: Arc<dyn Random>,
    pub stop: CancellationToken,
}

/// Runs until stopped.
pub(super) async fn run<K: Object>(task: Task<K>) {
    let stop = task.stop.clone();
    let mut streaming = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = follow(&task, streaming) => streaming = false,
        }
    }
}

/// Follows the watch for good; returns only when the server does not stream lists.
async fn follow<K: Object>(task: &Task<K>, streaming: bool) {
    let config = config(&task.scope, streaming);
    let mut events = std::pin::pin!(watcher::watcher(task.api.clone(), config));
    let mut listed = HashSet::new();
    let mut failures = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    failures = 0;
                }
                take(task, &mut listed, event);
            }
            Err(failure) if streaming && refuses_streaming(&failure) => {
                debug!(
                    url = task.api.resource_url(),
                    "server does not stream lists: {failure}"
                );
                return;
            }
            Err(failure) => {
                let delay = task.backoff.delay(failures, &*task.random);
                if failures == 5 {
                    warn!(
                        url = task.api.resource_url(),
                        "watch keeps failing: {failure}"
                    );
                } else {
                    debug!(url = task.api.resource_url(), ?delay, "watch: {failure}");
                }
                failures = failures.saturating_add(1);
                tokio::time::sleep(delay).await;
            }
        }
    }
}

fn take<K: Object>(task: &Task<K>, listed: &mut HashSet<Key>, event: Event<K>) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(mut object) => {
            object.meta_mut().managed_fields = None;
            listed.insert(Key::of(&object));
            task.store.apply(object, true);
        }
        Event::InitDone => {
            task.store.retain(listed);
            *listed = HashSet::new();
            task.store.mark_synced();
        }
        Event::Apply(mut object) => {
            object.meta_mut().managed_fields = None;
            task.store.apply(object, false);
        }
        Event::Delete(mut object) => {
            object.meta_mut().managed_fields = None;
            task.store.delete(object);
        }
    }
}

fn config(scope: &Scope, streaming: bool) -> watcher::Config {
    let config = match scope {
        Scope::All => watcher::Config::default(),
        Scope::Fields(selector) => watcher::Config::default().fields(selector),
        Scope::Labels(selector) => watcher::Config::default().labels(selector),
    };
    if streaming {
        config.streaming_lists()
    } else {
        config
    }
}

/// A server that knows `sendInitialEvents` but not for this resource, or not at all, calls the
/// request invalid.
fn refuses_streaming(failure: &watcher::Error) -> bool {
    matches!(
        failure,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 405 | 415 | 422)
    )
}
