//! Who is tried when.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{Queue, events::ClusterEvents};
use crate::cache::{PodInfo, tests::pod};

fn waiting(name: &str, priority: i32) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(pod(
        name,
        json!({"containers": [], "priority": priority}),
    )))
}

fn names(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.pop())
        .map(|p| p.name().to_string())
        .collect()
}

#[test]
fn higher_priority_first_then_first_come() {
    let mut queue = Queue::default();
    for (name, priority) in [("a", 0), ("b", 0), ("c", 10)] {
        queue.apply(waiting(name, priority));
    }
    assert_eq!(names(&mut queue), ["c", "a", "b"]);
}

#[test]
fn a_parked_pod_wakes_only_for_what_helps_it_and_not_before_its_backoff() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.apply(waiting("a", 0));
    let a = queue.pop().unwrap();
    queue.park(&a.uid, ClusterEvents::NODE_ADD, now);
    queue.notify(ClusterEvents::POD_DELETE, now);
    assert!(names(&mut queue).is_empty());
    queue.notify(ClusterEvents::NODE_ADD, now);
    assert!(names(&mut queue).is_empty(), "backing off");
    assert_eq!(queue.advance(now), Some(now + Duration::from_secs(1)));
    queue.advance(now + Duration::from_secs(1));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn an_event_during_the_try_is_not_lost() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.apply(waiting("a", 0));
    let a = queue.pop().unwrap();
    queue.notify(ClusterEvents::NODE_ADD, now);
    queue.park(&a.uid, ClusterEvents::NODE_ADD, now);
    assert_eq!(queue.depths(), (0, 1, 0));
}

#[test]
fn what_is_parked_for_five_minutes_is_tried_once_more() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.apply(waiting("a", 0));
    let a = queue.pop().unwrap();
    queue.park(&a.uid, ClusterEvents::NONE, now);
    queue.advance(now + Duration::from_secs(299));
    assert!(names(&mut queue).is_empty());
    queue.advance(now + Duration::from_secs(300));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn our_own_condition_does_not_wake_a_parked_pod_but_a_spec_change_does() {
    let mut queue = Queue::default();
    queue.apply(waiting("a", 0));
    let a = queue.pop().unwrap();
    queue.park(&a.uid, ClusterEvents::NONE, Instant::now());
    queue.apply(waiting("a", 0));
    assert!(names(&mut queue).is_empty());
    queue.apply(waiting("a", 5));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn removed_pods_leave_nothing_behind() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for (name, hints) in [("a", ClusterEvents::NODE_ADD), ("b", ClusterEvents::NONE)] {
        queue.apply(waiting(name, 0));
        let pod = queue.pop().unwrap();
        queue.park(&pod.uid, hints, now);
        queue.remove(&pod.uid);
    }
    assert_eq!(queue.depths(), (0, 0, 0));
    assert_eq!(queue.advance(now + Duration::from_secs(1000)), None);
}
