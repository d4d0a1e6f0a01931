//! Who is tried when.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{FEW, Help, Plugins, Queue, events::ClusterEvents};
use crate::cache::{PodInfo, class::Classes, tests::pod};

fn waiting(name: &str, priority: i32) -> Arc<PodInfo> {
    let spec = json!({"containers": [], "priority": priority});
    Arc::new(PodInfo::new(pod(name, spec), &mut Classes::default()))
}

fn names(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.pop())
        .map(|attempt| attempt.pod.name().to_string())
        .collect()
}

fn by(plugin: &'static str) -> Plugins {
    [plugin].into()
}

/// A queue in which pod `a` was rejected by plugin `P`.
fn with_parked(hints: ClusterEvents, now: Instant) -> Queue {
    let mut queue = Queue::default();
    queue.apply(waiting("a", 0), false, now);
    let a = queue.pop().unwrap();
    queue.park(&a.pod.uid, by("P"), hints, false, now);
    queue
}

#[test]
fn higher_priority_first_then_first_come() {
    let mut queue = Queue::default();
    for (name, priority) in [("a", 0), ("b", 0), ("c", 10)] {
        queue.apply(waiting(name, priority), false, Instant::now());
    }
    assert_eq!(names(&mut queue), ["c", "a", "b"]);
}

#[test]
fn a_parked_pod_wakes_only_for_what_helps_it() {
    let now = Instant::now();
    let mut queue = with_parked(ClusterEvents::NODE_ADD, now);
    queue.notify(ClusterEvents::POD_DELETE, now, |_, _| Help::Any);
    queue.notify(ClusterEvents::NODE_ADD, now, |_, _| Help::Nobody);
    assert!(names(&mut queue).is_empty());
    queue.notify(ClusterEvents::NODE_ADD, now, |_, plugins| match plugins {
        ["P"] => Help::Any,
        _ => Help::Nobody,
    });
    assert_eq!(queue.depths(), [0, 1, 0, 0], "backing off");
}

#[test]
fn who_backs_off_is_tried_sooner_when_nobody_else_waits() {
    let now = Instant::now();
    let mut queue = with_parked(ClusterEvents::NODE_ADD, now);
    queue.notify(ClusterEvents::NODE_ADD, now, |_, _| Help::Any);
    queue.apply(waiting("b", 0), false, now);
    assert_eq!(queue.advance(now), Some(now + Duration::from_secs(1)));
    assert_eq!(names(&mut queue), ["b", "a"]);
}

#[test]
fn a_failed_write_is_waited_for() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.apply(waiting("a", 0), false, now);
    let a = queue.pop().unwrap();
    assert!(queue.back_off(&a.pod.uid, now));
    assert!(names(&mut queue).is_empty());
    queue.advance(now + Duration::from_secs(1));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn what_is_parked_for_five_minutes_is_tried_once_more() {
    let now = Instant::now();
    let mut queue = with_parked(ClusterEvents::NONE, now);
    queue.advance(now + Duration::from_secs(299));
    assert!(names(&mut queue).is_empty());
    queue.advance(now + Duration::from_secs(300));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn our_own_condition_does_not_wake_a_parked_pod_but_a_spec_change_does() {
    let now = Instant::now();
    let mut queue = with_parked(ClusterEvents::NONE, now);
    queue.apply(waiting("a", 0), false, now);
    assert!(names(&mut queue).is_empty());
    queue.apply(waiting("a", 5), false, now);
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn gates_hold_a_pod_back_until_the_last_is_gone() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.apply(waiting("a", 0), true, now);
    assert!(names(&mut queue).is_empty());
    assert_eq!(queue.depths(), [0, 0, 0, 1]);
    queue.apply(waiting("a", 0), false, now);
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn removed_pods_leave_nothing_behind() {
    let now = Instant::now();
    for hints in [ClusterEvents::NODE_ADD, ClusterEvents::NONE] {
        let mut queue = with_parked(hints, now);
        queue.remove("a");
        assert_eq!(queue.depths(), [0; 4]);
        assert_eq!(queue.advance(now + Duration::from_secs(1000)), None);
    }
}

#[test]
fn of_equal_pods_a_few_are_woken_and_more_by_each_that_is_placed() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let mut classes = Classes::default();
    let mut equal = |name: &str| {
        Arc::new(PodInfo::new(
            pod(name, json!({"containers": []})),
            &mut classes,
        ))
    };
    let pods: Vec<_> = (0..3 * FEW).map(|n| equal(&format!("p{n:02}"))).collect();
    for pod in &pods {
        queue.apply(pod.clone(), false, now);
        let tried = queue.pop().unwrap().pod.uid.clone();
        let nominated = *tried == *"p01";
        queue.park(&tried, by("P"), ClusterEvents::POD_DELETE, nominated, now);
    }
    queue.notify(ClusterEvents::POD_DELETE, now, |_, _| Help::Few);
    let woken = names(&mut queue);
    assert_eq!(
        (woken.len(), woken.contains(&"p01".to_owned())),
        (FEW, false)
    );
    // Nobody was placed: the others need not be tried.
    assert!(names(&mut queue).is_empty());
    queue.placed(&pods[0].class, now);
    assert_eq!(names(&mut queue).len(), FEW);
    queue.wake_all([pods[1].clone()].iter(), now);
    assert_eq!(names(&mut queue), ["p01"]);
    queue.notify(ClusterEvents::POD_DELETE, now, |_, _| Help::Any);
    assert_eq!(names(&mut queue).len(), FEW - 1);
}
