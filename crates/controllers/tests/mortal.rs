//! A transport that ends after a number of writes, as a process does that is killed between two of
//! them: what was sent is done, everything after it never happens.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

/// How many writes are left to some accounts; shared by all their transports.
#[derive(Clone)]
pub struct Life {
    accounts: &'static [&'static str],
    left: Arc<AtomicI64>,
    /// Cancelled at the write that was one too many.
    pub over: CancellationToken,
}

impl Life {
    /// Only the writes of these accounts are counted; with the last of them all others end as well.
    pub fn of(accounts: &'static [&'static str], writes: i64) -> Self {
        Self {
            accounts,
            left: Arc::new(AtomicI64::new(writes)),
            over: CancellationToken::new(),
        }
    }

    fn allows(&self, account: &str) -> bool {
        if self.over.is_cancelled() {
            return false;
        }
        if self.accounts.contains(&account) && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.over.cancel();
            return false;
        }
        true
    }
}

/// A write, and when it was sent.
#[derive(Clone, Debug)]
pub struct Write {
    pub account: String,
    /// Method and path.
    pub what: String,
    pub at: tokio::time::Instant,
}

/// The writes of all accounts, as they are sent; clones share them.
#[derive(Clone, Default)]
pub struct Tally {
    writes: Arc<Mutex<Vec<Write>>>,
    more: Arc<Notify>,
}

impl Tally {
    fn note(&self, account: &str, method: &Method, uri: &http::Uri) {
        self.writes.lock().unwrap().push(Write {
            account: account.to_owned(),
            what: format!("{method} {}", uri.path()),
            at: tokio::time::Instant::now(),
        });
        self.more.notify_waiters();
    }

    /// The writes so far.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap().clone()
    }

    /// Waits until the writes are as wanted.
    pub async fn wait(&self, wanted: impl Fn(&[Write]) -> bool) {
        loop {
            let more = self.more.notified();
            if wanted(&self.writes()) {
                return;
            }
            more.await;
        }
    }
}

/// A transport of one account with such a life.
#[derive(Clone)]
pub struct Mortal<S> {
    pub inner: S,
    pub account: String,
    pub life: Option<Life>,
    pub tally: Tally,
}

impl<S, B> Service<Request<B>> for Mortal<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let writes = *request.method() != Method::GET;
        let dead = writes
            && self
                .life
                .as_ref()
                .is_some_and(|life| !life.allows(&self.account));
        if writes && !dead {
            self.tally
                .note(&self.account, request.method(), request.uri());
        }
        if dead {
            return Box::pin(async { Err("killed".into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}
