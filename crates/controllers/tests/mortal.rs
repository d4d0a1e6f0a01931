//! A transport that ends after a number of writes, as a process does that is killed between two of
//! them: what was sent is done, everything after it never happens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request};
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

/// A transport of one account with such a life.
#[derive(Clone)]
pub struct Mortal<S> {
    pub inner: S,
    pub account: String,
    pub life: Option<Life>,
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
        if dead {
            return Box::pin(async { Err("killed".into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}
