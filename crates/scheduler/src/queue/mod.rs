//! Pods that wait to be placed.
//!
//! A pod is *active* (will be tried next, highest priority first, then longest waiting), *backing
//! off* (was tried and may be tried again at a known time) or *parked* (nothing that could help it
//! has happened yet). An event moves the parked pods it could help; what has been parked for five
//! minutes is tried once more in any case, as upstream does, in case an event was misjudged.
//!
//! The queue holds each unplaced pod once, so it is bounded by the number of pods in the cluster.

pub mod events;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use self::events::ClusterEvents;
use crate::cache::PodInfo;

/// First and longest wait between two tries of one pod (upstream's defaults).
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long a pod stays parked at the most.
const LONGEST_PARK: Duration = Duration::from_secs(300);

/// Place in the active queue.
type Rank = (Reverse<i32>, u64);

#[derive(Debug)]
enum Place {
    Active(Rank),
    BackingOff(Instant),
    Parked {
        since: Instant,
        hints: ClusterEvents,
    },
    /// Taken out by [`Queue::pop`]; events that happened meanwhile.
    InFlight {
        seen: ClusterEvents,
    },
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    /// Order of first arrival.
    arrival: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<Box<str>, Waiting>,
    active: BTreeSet<(Rank, Box<str>)>,
    timers: BTreeSet<(Instant, Box<str>)>,
    arrivals: u64,
}

impl Queue {
    /// A pod came or changed. A change of a parked pod makes it active, unless only its status
    /// changed (our own condition would otherwise wake it again and again).
    pub fn apply(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        match self.pods.get_mut(&uid) {
            None => {
                self.arrivals += 1;
                let arrival = self.arrivals;
                let rank = (Reverse(pod.priority), arrival);
                self.active.insert((rank, uid.clone()));
                self.pods.insert(
                    uid,
                    Waiting {
                        pod,
                        place: Place::Active(rank),
                        attempts: 0,
                        arrival,
                    },
                );
            }
            Some(waiting) => {
                let changed = waiting.pod.pod.spec != pod.pod.spec
                    || waiting.pod.pod.metadata.labels != pod.pod.metadata.labels;
                waiting.pod = pod;
                if changed {
                    match &mut waiting.place {
                        Place::InFlight { seen } => *seen = ClusterEvents::ALL,
                        Place::Parked { .. } => self.activate(&uid),
                        Place::Active(_) | Place::BackingOff(_) => {}
                    }
                }
            }
        }
    }

    /// A pod went or was placed.
    pub fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.remove(uid) {
            self.unlink(uid, &waiting.place);
        }
    }

    /// The pod to try next.
    pub fn pop(&mut self) -> Option<Arc<PodInfo>> {
        let (_, uid) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&uid)?;
        waiting.attempts += 1;
        waiting.place = Place::InFlight {
            seen: ClusterEvents::NONE,
        };
        Some(waiting.pod.clone())
    }

    /// A try failed: park the pod until one of `hints` happens, or back off if one happened while
    /// it was tried.
    pub fn park(&mut self, uid: &str, hints: ClusterEvents, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else {
            return;
        };
        let Place::InFlight { seen } = waiting.place else {
            return;
        };
        if seen.intersects(hints) {
            self.back_off(uid, now);
        } else {
            waiting.place = Place::Parked { since: now, hints };
            self.timers.insert((now + LONGEST_PARK, uid.into()));
        }
    }

    /// A try failed for a reason that passes by itself (a failed binding): try again later.
    /// Answers whether the pod still waits.
    pub fn back_off(&mut self, uid: &str, now: Instant) -> bool {
        let Some(waiting) = self.pods.get_mut(uid) else {
            return false;
        };
        let due = now + backoff(waiting.attempts);
        let place = std::mem::replace(&mut waiting.place, Place::BackingOff(due));
        self.unlink(uid, &place);
        self.timers.insert((due, uid.into()));
        true
    }

    /// Something happened: wake the parked pods it could help.
    pub fn notify(&mut self, event: ClusterEvents, now: Instant) {
        let mut woken = Vec::new();
        for (uid, waiting) in &mut self.pods {
            match &mut waiting.place {
                Place::InFlight { seen } => *seen = *seen | event,
                Place::Parked { since, hints } if hints.intersects(event) => {
                    woken.push((uid.clone(), *since + backoff(waiting.attempts)));
                }
                _ => {}
            }
        }
        for (uid, due) in woken {
            if due <= now {
                self.activate(&uid);
            } else if let Some(waiting) = self.pods.get_mut(&uid) {
                let place = std::mem::replace(&mut waiting.place, Place::BackingOff(due));
                self.unlink(&uid, &place);
                self.timers.insert((due, uid));
            }
        }
    }

    /// Makes active what has waited long enough; answers when to call again, if ever.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        while let Some((due, uid)) = self.timers.first().cloned() {
            if due > now {
                return Some(due);
            }
            self.activate(&uid);
        }
        None
    }

    /// How many pods wait, by place: active, backing off, parked.
    pub fn depths(&self) -> (usize, usize, usize) {
        let parked = self
            .pods
            .values()
            .filter(|w| matches!(w.place, Place::Parked { .. }))
            .count();
        (self.active.len(), self.timers.len() - parked, parked)
    }

    fn activate(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else {
            return;
        };
        let rank = (Reverse(waiting.pod.priority), waiting.arrival);
        let place = std::mem::replace(&mut waiting.place, Place::Active(rank));
        self.unlink(uid, &place);
        self.active.insert((rank, uid.into()));
    }

    fn unlink(&mut self, uid: &str, place: &Place) {
        match place {
            Place::Active(rank) => {
                self.active.remove(&(*rank, uid.into()));
            }
            Place::BackingOff(due) => {
                self.timers.remove(&(*due, uid.into()));
            }
            Place::Parked { since, .. } => {
                self.timers.remove(&(*since + LONGEST_PARK, uid.into()));
            }
            Place::InFlight { .. } => {}
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(1 << attempts.saturating_sub(1).min(8))
        .min(BACKOFF.1)
}

#[cfg(test)]
mod tests;
