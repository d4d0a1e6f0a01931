//! Waiting for conditions.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up. Generous: it bounds hangs, it measures nothing.
pub const LONGEST: Duration = Duration::from_secs(120);

/// Looks until the answer is `Ok`, and fails the test with the last `Err` when it never is.
pub fn eventually<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + LONGEST;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() > end => panic!("never: {what}; last seen: {last:?}"),
            Err(_) => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}
