//! The loop around a reconciler: takes a key from the queue, reconciles, and decides from the result
//! when the key comes again. A reconciler is called with a key and looks at state, never at events;
//! it may be called at any time, for any key, any number of times.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::queue::WorkQueue;

/// When a key that was reconciled without error comes again, beside any change to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Only on change.
    OnChange,
    /// After this long at the latest.
    After(Duration),
    /// Soon, with the backoff of a failure, but without calling it one.
    Backoff,
}

/// Runs `workers` loops until `shutdown`; then lets the reconciliations under way end and returns.
///
/// A reconciler that fails or panics is logged and its key retried with backoff.
pub async fn run<K, F, Fut, E>(
    name: &'static str,
    queue: WorkQueue<K>,
    workers: usize,
    reconcile: F,
    shutdown: CancellationToken,
) where
    K: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, E>> + Send,
    E: Display + Send,
{
    let reconcile = Arc::new(reconcile);
    let mut loops = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        loops.spawn(async move {
            while let Some(work) = queue.next().await {
                let key = work.key().clone();
                let result = AssertUnwindSafe(reconcile(key.clone()))
                    .catch_unwind()
                    .await;
                match result {
                    Ok(Ok(requeue)) => {
                        debug!(controller = name, %key, ?requeue, "reconciled");
                        match requeue {
                            Requeue::OnChange => queue.forget(&key),
                            Requeue::After(delay) => {
                                queue.forget(&key);
                                queue.add_after(key, delay);
                            }
                            Requeue::Backoff => queue.add_rate_limited(key),
                        }
                    }
                    Ok(Err(failure)) => {
                        // Conflicts and the like mend themselves with the next try: only what
                        // keeps failing deserves a warning.
                        let failures = queue.failures(&key);
                        if failures >= 5 {
                            warn!(controller = name, %key, failures, "reconcile: {failure}");
                        } else {
                            debug!(controller = name, %key, failures, "reconcile: {failure}");
                        }
                        queue.add_rate_limited(key);
                    }
                    Err(panic) => {
                        let text = panic
                            .downcast_ref::<&str>()
                            .map(|text| (*text).to_owned())
                            .or_else(|| panic.downcast_ref::<String>().cloned())
                            .unwrap_or_default();
                        error!(controller = name, %key, "reconcile panicked: {text}");
                        queue.add_rate_limited(key);
                    }
                }
            }
        });
    }
    shutdown.cancelled().await;
    queue.close();
    while loops.join_next().await.is_some() {}
}

/// Feeds a queue from changes until the stream ends or `shutdown`: `keys` says which keys a change
/// concerns. With a delay, what changes in quick succession is reconciled once: the first change
/// starts the delay, and later ones do not prolong it.
pub async fn feed<K, S, I>(
    mut changes: S,
    queue: WorkQueue<K>,
    delay: Duration,
    mut keys: impl FnMut(S::Item) -> I,
    shutdown: CancellationToken,
) where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    S: Stream + Unpin,
    I: IntoIterator<Item = K>,
{
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => {
                    for key in keys(change) {
                        queue.add_after(key, delay);
                    }
                }
                None => return,
            }
        }
    }
}
