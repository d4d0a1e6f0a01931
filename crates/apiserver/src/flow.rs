//! Flow control: how many requests work at one time. Watches and proxied connections do not count:
//! they wait, and connections are bounded where they come in.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A request waits this long for its turn, then is sent away with 429.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests that wait; further ones are sent away at once.
const MAX_WAITING: usize = 5_000;

/// Bounds the requests at work.
pub struct Limiter {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Limiter {
    /// A limiter with so many places.
    pub fn new(reads: usize, writes: usize) -> Limiter {
        Limiter {
            reads: Arc::new(Semaphore::new(reads)),
            writes: Arc::new(Semaphore::new(writes)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// A place among the readers or writers, held until dropped.
    pub async fn enter(&self, writes: bool) -> Result<OwnedSemaphorePermit, Status> {
        let places = if writes { &self.writes } else { &self.reads };
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let busy = || Status::too_many_requests("Too many requests, please try again later.", 1);
        let _turn = self.waiting.try_acquire().map_err(|_| busy())?;
        match tokio::time::timeout(PATIENCE, places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy()),
        }
    }
}
