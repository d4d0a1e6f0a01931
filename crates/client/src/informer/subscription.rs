//! How changes reach a subscriber without ever making the informer wait.
//!
//! A subscription holds at most one undelivered change per object: a later change of the same object
//! (the same uid) is merged into it, keeping the oldest `old` and the newest `new`. An undelivered
//! deletion of an object the subscriber was told of stays; so what waits is bounded by the objects
//! the subscriber knows plus those that exist. Objects that came and went again before it looked are
//! told as well, up to [`BRIEF_LIMIT`] of them; beyond that the oldest such pair is forgotten, which
//! a reconciler's slow resync of whoever cared makes good.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use kube::Resource;
use parking_lot::Mutex;

/// How many objects that came and went unseen a subscription remembers.
pub const BRIEF_LIMIT: usize = 16_384;

/// What happened to an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It was created or changed. The states between `old` and `new` may have been skipped.
    Applied {
        /// The last state this subscriber saw; none if it never saw the object.
        old: Option<Arc<K>>,
        /// The state now.
        new: Arc<K>,
    },
    /// It is gone; this is its last state.
    Deleted(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied { old, new } => Self::Applied {
                old: old.clone(),
                new: new.clone(),
            },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

impl<K> Change<K> {
    /// The newest state known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied { new, .. } => new,
            Self::Deleted(object) => object,
        }
    }

    /// The state before, if the subscriber saw one.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Applied { old, .. } => old.as_ref(),
            Self::Deleted(_) => None,
        }
    }

    /// The object is gone.
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

struct Pending<K> {
    change: Change<K>,
    /// The subscriber was told of the object before.
    known: bool,
}

pub(super) struct Inbox<K> {
    state: Mutex<State<K>>,
}

struct State<K> {
    order: VecDeque<Box<str>>,
    pending: HashMap<Box<str>, Pending<K>>,
    /// Uids in `pending` that came and went unseen, oldest first.
    brief: VecDeque<Box<str>>,
    waker: Option<Waker>,
    closed: bool,
}

impl<K> Default for Inbox<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                order: VecDeque::new(),
                pending: HashMap::new(),
                brief: VecDeque::new(),
                waker: None,
                closed: false,
            }),
        }
    }
}

impl<K: Resource> Inbox<K> {
    /// Takes note of a change; false when the subscription is gone.
    pub(super) fn put(&self, change: &Change<K>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let uid: Box<str> = identity(&**change.object()).into();
        match state.pending.get_mut(&uid) {
            None => {
                let known = change.old().is_some() || change.is_deleted();
                state.pending.insert(
                    uid.clone(),
                    Pending {
                        change: change.clone(),
                        known,
                    },
                );
                state.order.push_back(uid);
            }
            Some(waiting) => {
                let first_seen = waiting.change.old().cloned();
                waiting.change = match change {
                    Change::Applied { new, .. } => Change::Applied {
                        old: first_seen,
                        new: new.clone(),
                    },
                    Change::Deleted(last) => Change::Deleted(last.clone()),
                };
                if change.is_deleted() && !waiting.known {
                    state.brief.push_back(uid);
                    if state.brief.len() > BRIEF_LIMIT
                        && let Some(oldest) = state.brief.pop_front()
                    {
                        state.pending.remove(&oldest);
                        state.order.retain(|uid| *uid != oldest);
                    }
                }
            }
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        true
    }
}

impl<K> State<K> {
    fn take(&mut self) -> Option<Change<K>> {
        let uid = self.order.pop_front()?;
        if self.brief.front() == Some(&uid) {
            self.brief.pop_front();
        } else if !self.brief.is_empty() {
            self.brief.retain(|brief| *brief != uid);
        }
        self.pending.remove(&uid).map(|pending| pending.change)
    }
}

fn identity<K: Resource>(object: &K) -> String {
    match &object.meta().uid {
        Some(uid) => uid.clone(),
        None => crate::key::Key::of(object).to_string(),
    }
}

/// The changes of one informer's objects, for one subscriber. Keeps the informer running.
pub struct Subscription<K> {
    inbox: Arc<Inbox<K>>,
    _keep: Arc<dyn Any + Send + Sync>,
}

impl<K> Subscription<K> {
    pub(super) fn new(inbox: Arc<Inbox<K>>, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { inbox, _keep: keep }
    }

    /// The next change; waits for one. Never ends.
    pub async fn next(&mut self) -> Change<K> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The next change, if one waits.
    pub fn try_next(&mut self) -> Option<Change<K>> {
        self.inbox.state.lock().take()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Change<K>> {
        let mut state = self.inbox.state.lock();
        match state.take() {
            Some(change) => Poll::Ready(change),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<K> Stream for Subscription<K> {
    type Item = Change<K>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        self.poll(context).map(Some)
    }
}

impl<K> Drop for Subscription<K> {
    fn drop(&mut self) {
        let mut state = self.inbox.state.lock();
        state.closed = true;
        state.order.clear();
        state.pending.clear();
        state.brief.clear();
    }
}
