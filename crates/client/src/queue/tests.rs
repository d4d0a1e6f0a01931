//! The queue's promises, on tokio's paused time.

use super::*;
use crate::random::Seeded;

fn queue() -> WorkQueue<&'static str> {
    let plain = Backoff {
        jitter: 0.0,
        ..Backoff::QUEUE
    };
    WorkQueue::with_backoff("test", &Metrics::new(), Arc::new(Seeded::new(1)), plain)
}

#[tokio::test(start_paused = true)]
async fn a_key_is_queued_once_and_worked_on_once_at_a_time() {
    let queue = queue();
    queue.add("a");
    queue.add("a");
    queue.add("b");
    assert_eq!(queue.len(), 2);
    let a = queue.next().await.unwrap();
    assert_eq!(*a.key(), "a");
    queue.add("a");
    let b = queue.next().await.unwrap();
    assert_eq!(*b.key(), "b");
    assert!(queue.is_empty(), "a is being worked on");
    drop(a);
    assert_eq!(*queue.next().await.unwrap().key(), "a");
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_earliest_delay_counts() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(60));
    queue.add_after("late", Duration::from_secs(90));
    queue.add_after("late", Duration::from_secs(30));
    queue.add_after("early", Duration::from_secs(10));
    assert_eq!(*queue.next().await.unwrap().key(), "early");
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(*queue.next().await.unwrap().key(), "late");
    assert_eq!(start.elapsed().as_secs(), 30);
    let nothing = tokio::time::timeout(Duration::from_secs(600), queue.next()).await;
    assert!(nothing.is_err(), "superseded delays do not fire");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_until_forgotten() {
    let queue = queue();
    let mut waits = Vec::new();
    for round in 0..4 {
        if round == 3 {
            queue.forget(&"a");
        }
        let start = Instant::now();
        queue.add_rate_limited("a");
        drop(queue.next().await.unwrap());
        waits.push(start.elapsed().as_millis());
    }
    assert_eq!(waits, [5, 10, 20, 5]);
    assert_eq!(queue.failures(&"a"), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_waiters_and_drops_adds() {
    let queue = queue();
    let waiter = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await.is_none() }
    });
    tokio::task::yield_now().await;
    queue.close();
    assert!(waiter.await.unwrap());
    queue.add("a");
    assert!(queue.next().await.is_none());
}
