//! A watch: first the kept changes that are no longer in memory, then the recent ones, then each
//! new one as it is committed; every one once and in order.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};

use crate::cache::{Cache, Resource, Watcher, past_event};
use crate::engine::{Engine, HistoryError, Past};
use crate::event::Event;
use crate::key::{Key, Revision};

/// Changes read from the engine at a time while catching up.
const CATCH_UP_STEP: usize = 512;

/// What part of a resource to watch; everything by default. An event concerns a watcher when the
/// object is in its scope after the change or was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only objects of this name.
    pub name: Option<String>,
    /// Only objects whose field has this value; quick for fields registered as indexed.
    pub field: Option<(&'static str, String)>,
}

impl Scope {
    pub(crate) fn matches(&self, event: &Event) -> bool {
        let key: &Key = &event.entry.key;
        if self.namespace.is_some() && self.namespace.as_deref() != key.namespace() {
            return false;
        }
        if self.name.as_deref().is_some_and(|name| name != key.name()) {
            return false;
        }
        let Some((name, value)) = &self.field else {
            return true;
        };
        let has = |entry: &crate::Entry| entry.attributes.field(name) == Some(value);
        has(&event.entry) || event.previous.as_deref().is_some_and(has)
    }
}

/// Why a watch could not begin, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The resource has not been registered.
    #[error("no resource is registered under {0}")]
    Unregistered(String),
    /// Changes after the revision are not kept any more; list, and watch from there.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired {
        /// The revision asked for.
        requested: Revision,
        /// The oldest from which a watch could begin.
        oldest: Revision,
    },
    /// The watcher did not keep up; it may resume from the last revision it saw.
    #[error("the watcher did not keep up with the changes")]
    Slow,
    /// The store was closed, or the resource unregistered.
    #[error("the watched resource is gone")]
    Closed,
    /// The history could not be read.
    #[error("cannot read the past: {0}")]
    History(String),
}

enum State {
    /// Reading what is not in memory any more.
    CatchingUp {
        after: Revision,
        read: BoxFuture<'static, Result<Past, HistoryError>>,
    },
    Live(Arc<Watcher>),
    Ended,
}

/// Changes of one resource from one revision on, in batches. Ends after its first error.
pub struct WatchStream {
    cache: Arc<Cache>,
    engine: Arc<dyn Engine>,
    resource: Arc<Resource>,
    scope: Scope,
    state: State,
    delivered: Revision,
}

impl WatchStream {
    pub(crate) fn new(
        cache: Arc<Cache>,
        engine: Arc<dyn Engine>,
        resource: Arc<Resource>,
        scope: Scope,
        after: Revision,
    ) -> Result<Self, WatchError> {
        let mut stream = WatchStream {
            cache,
            engine,
            resource,
            scope,
            state: State::Ended,
            delivered: after,
        };
        stream.advance(after);
        let oldest = stream.engine.compacted();
        if matches!(stream.state, State::CatchingUp { .. }) && after < oldest {
            return Err(WatchError::Expired {
                requested: after,
                oldest,
            });
        }
        Ok(stream)
    }

    /// The next batch; `None` after the end. May be dropped and called again without loss.
    pub async fn next(&mut self) -> Option<Result<Vec<Arc<Event>>, WatchError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The revision through which everything that concerns this watcher has been handed out: what
    /// a bookmark may say.
    pub fn progress(&self) -> Revision {
        let State::Live(watcher) = &self.state else {
            return self.delivered;
        };
        // In this order: what was applied by then had been queued before
        let revision = self.cache.revision();
        if watcher.is_empty() {
            revision.max(self.delivered)
        } else {
            self.delivered
        }
    }

    /// Goes live when everything after the revision is in memory, else reads on.
    fn advance(&mut self, after: Revision) {
        self.state = match self.resource.watch(&self.scope, after) {
            Some(watcher) => State::Live(watcher),
            None => {
                // Not beyond what the cache shows, or a reader could see an event before its effect
                let upto = self.cache.revision();
                let (engine, prefix) = (self.engine.clone(), self.resource.prefix().to_owned());
                let read = async move { engine.changes(&prefix, after, upto, CATCH_UP_STEP).await };
                State::CatchingUp {
                    after,
                    read: read.boxed(),
                }
            }
        };
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<Arc<Event>>, WatchError>>> {
        loop {
            let batch = match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Live(watcher) => {
                    // Before looking, or an event between the two would wake nobody
                    watcher.register(cx.waker());
                    match watcher.take() {
                        None => return Poll::Pending,
                        Some(batch) => batch,
                    }
                }
                State::CatchingUp { after, read, .. } => {
                    let after = *after;
                    match futures::ready!(read.poll_unpin(cx)) {
                        Ok(past) => {
                            let events = self.past_events(&past);
                            self.advance(past.through.max(after));
                            match events {
                                Ok(events) if events.is_empty() => continue,
                                events => events,
                            }
                        }
                        Err(HistoryError::Compacted { oldest }) => Err(WatchError::Expired {
                            requested: after,
                            oldest,
                        }),
                        Err(HistoryError::Closed) => Err(WatchError::Closed),
                        Err(HistoryError::Io(message)) => Err(WatchError::History(message)),
                    }
                }
            };
            match &batch {
                Ok(events) => {
                    let last = events.last().map(|event| event.revision());
                    self.delivered = last.unwrap_or(self.delivered);
                }
                Err(_) => self.end(),
            }
            return Poll::Ready(Some(batch));
        }
    }

    fn past_events(&self, past: &Past) -> Result<Vec<Arc<Event>>, WatchError> {
        let mut events = Vec::new();
        for change in &past.changes {
            let event = past_event(&self.resource.reader, change).map_err(WatchError::History)?;
            events.extend(
                event
                    .filter(|event| self.scope.matches(event))
                    .map(Arc::new),
            );
        }
        Ok(events)
    }

    fn end(&mut self) {
        if let State::Live(watcher) = std::mem::replace(&mut self.state, State::Ended) {
            self.resource.unwatch(&watcher);
        }
    }
}

impl Stream for WatchStream {
    type Item = Result<Vec<Arc<Event>>, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.end();
    }
}
