//! Pods that wait to be placed.
//!
//! A pod is *active* (will be tried next, highest priority first, then longest waiting), *backing
//! off* (was tried and may be tried again at a known time; sooner if nothing else is active, as
//! upstream does since 1.33, unless writing it failed) or *parked* (nothing that could help it has
//! happened yet). An event moves the parked pods it could help; what has been parked for five minutes
//! is tried once more in any case, as upstream does, in case an event was misjudged.
//!
//! The queue holds each unplaced pod once, so it is bounded by the number of pods in the cluster.
//! Parked pods stand in groups of equal pods rejected by the same plugins: an event is judged once
//! for each group, not for each pod. Where it frees room on one node, it wakes [`FEW`] of a group,
//! and each of them that is placed wakes as many again: if one of equal pods still does not fit, none
//! of the others does. Pods that others make room for are woken by what happens on that node.

pub mod events;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use self::events::ClusterEvents;
use crate::cache::{PodInfo, class::Class};

/// How long a pod stays parked at the most.
const LONGEST_PARK: Duration = Duration::from_secs(300);

/// Place in the active queue.
type Rank = (Reverse<i32>, u64);

/// The names of the plugins that rejected a pod, in order.
pub type Plugins = Arc<[&'static str]>;

/// A group of parked pods.
type Group = (u64, Plugins);

#[derive(Debug)]
enum Place {
    Active(Rank),
    BackingOff {
        due: Instant,
        /// A write failed: the time is kept.
        strict: bool,
    },
    Parked {
        since: Instant,
        group: Group,
    },
    /// Taken out by [`Queue::pop`].
    InFlight,
    /// Held back by scheduling gates.
    Gated,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    /// First seen.
    since: Instant,
}

#[derive(Debug)]
struct Parked {
    class: Arc<Class>,
    hints: ClusterEvents,
    /// Those parked for longest come first.
    idle: BTreeSet<(Instant, Box<str>)>,
    /// Those for whom room is being made.
    nominated: HashSet<Box<str>>,
}

impl Parked {
    fn len(&self) -> usize {
        self.idle.len() + self.nominated.len()
    }
}

/// Pods of a group that are woken together when room was freed on one node.
const FEW: usize = 8;

/// Whom of a group an event can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Nobody.
    Nobody,
    /// Anybody, but a few at first: one that cannot be placed shows that the others cannot either.
    Few,
    /// Any of them.
    Any,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    pods: HashMap<Box<str>, Waiting>,
    active: BTreeSet<(Rank, Box<str>)>,
    /// Backing off, by when that ends; those that may be tried sooner.
    patient: BTreeSet<(Instant, Box<str>)>,
    /// The others, and the ends of parking.
    timers: BTreeSet<(Instant, Box<str>)>,
    parked: HashMap<Group, Parked>,
    /// Groups of which a few were woken: whoever is placed wakes more.
    hopeful: HashSet<Group>,
    arrivals: u64,
    /// First and longest wait between two tries of one pod.
    pub backoff: (Duration, Duration),
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            pods: HashMap::new(),
            active: BTreeSet::new(),
            patient: BTreeSet::new(),
            timers: BTreeSet::new(),
            parked: HashMap::new(),
            hopeful: HashSet::new(),
            arrivals: 0,
            // Upstream's defaults.
            backoff: (Duration::from_secs(1), Duration::from_secs(10)),
        }
    }
}

/// A pod taken out to be tried.
#[derive(Debug)]
pub struct Attempt {
    /// Which.
    pub pod: Arc<PodInfo>,
    /// How often it has been tried, this time counted.
    pub attempts: u32,
    /// When it was first seen.
    pub since: Instant,
}

impl Queue {
    /// A pod came or changed. A change of a parked pod makes it active, unless only its status
    /// changed (our own condition would otherwise wake it again and again).
    pub fn apply(&mut self, pod: Arc<PodInfo>, gated: bool, now: Instant) {
        let uid = pod.uid.clone();
        let Some(waiting) = self.pods.get_mut(&uid) else {
            let waiting = Waiting {
                pod,
                place: Place::Gated,
                attempts: 0,
                since: now,
            };
            self.pods.insert(uid.clone(), waiting);
            if !gated {
                self.activate(&uid);
            }
            return;
        };
        let changed = waiting.pod.pod.spec != pod.pod.spec
            || waiting.pod.pod.metadata.labels != pod.pod.metadata.labels;
        waiting.pod = pod;
        match waiting.place {
            _ if gated => {
                self.detach(&uid);
                if let Some(waiting) = self.pods.get_mut(&uid) {
                    waiting.place = Place::Gated;
                }
            }
            Place::Gated => self.activate(&uid),
            Place::Parked { .. } if changed => self.activate(&uid),
            // The rank depends on the priority.
            Place::Active(_) if changed => self.activate(&uid),
            _ => {}
        }
    }

    /// A waiting pod.
    pub fn get(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|w| &w.pod)
    }

    /// A pod went or was placed.
    pub fn remove(&mut self, uid: &str) {
        self.detach(uid);
        self.pods.remove(uid);
    }

    /// The pod to try next.
    pub fn pop(&mut self) -> Option<Attempt> {
        let uid = match self.active.pop_first() {
            Some((_, uid)) => uid,
            None => self.patient.pop_first()?.1,
        };
        let waiting = self.pods.get_mut(&uid)?;
        waiting.attempts += 1;
        waiting.place = Place::InFlight;
        Some(Attempt {
            pod: waiting.pod.clone(),
            attempts: waiting.attempts,
            since: waiting.since,
        })
    }

    /// A try failed: park the pod until one of `hints` happens that helps. `nominated` says that room
    /// is being made for it.
    pub fn park(
        &mut self,
        uid: &str,
        plugins: Plugins,
        hints: ClusterEvents,
        nominated: bool,
        now: Instant,
    ) {
        let Some(waiting) = self.pods.get_mut(uid) else {
            return;
        };
        if !matches!(waiting.place, Place::InFlight) {
            return;
        }
        let class = waiting.pod.class.clone();
        let group = (class.id, plugins);
        waiting.place = Place::Parked {
            since: now,
            group: group.clone(),
        };
        self.timers.insert((now + LONGEST_PARK, uid.into()));
        let parked = self.parked.entry(group).or_insert_with(|| Parked {
            class,
            hints,
            idle: BTreeSet::new(),
            nominated: HashSet::new(),
        });
        parked.hints = hints;
        if nominated {
            parked.nominated.insert(uid.into());
        } else {
            parked.idle.insert((now, uid.into()));
        }
    }

    /// A try failed for a reason that passes by itself (a failed binding): try again later.
    /// Answers whether the pod still waits.
    pub fn back_off(&mut self, uid: &str, now: Instant) -> bool {
        let Some(attempts) = self.pods.get(uid).map(|w| w.attempts) else {
            return false;
        };
        let due = now + self.delay(attempts);
        self.detach(uid);
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.place = Place::BackingOff { due, strict: true };
        }
        self.timers.insert((due, uid.into()));
        true
    }

    /// The pod is to be tried at once.
    pub fn hurry(&mut self, uid: &str) {
        self.activate(uid);
    }

    /// Something happened: wake the parked pods it could help. `helps` is asked once for each group
    /// of equal pods rejected by the same plugins.
    pub fn notify(
        &mut self,
        event: ClusterEvents,
        now: Instant,
        helps: impl Fn(&Class, &[&'static str]) -> Help,
    ) {
        let groups = self.parked.iter();
        let woken: Vec<(Group, Help)> = groups
            .filter(|(_, parked)| parked.hints.intersects(event))
            .map(|(group, parked)| (group.clone(), helps(&parked.class, &group.1)))
            .filter(|(_, help)| *help != Help::Nobody)
            .collect();
        for (group, help) in woken {
            if help == Help::Few {
                self.wake_few(&group, now);
                self.hopeful.insert(group);
                continue;
            }
            let Some(parked) = self.parked.get(&group) else {
                continue;
            };
            let idle = parked.idle.iter().map(|(_, uid)| uid);
            let uids: Vec<Box<str>> = idle.chain(&parked.nominated).cloned().collect();
            for uid in uids {
                self.wake(&uid, now);
            }
        }
    }

    fn wake_few(&mut self, group: &Group, now: Instant) {
        let idle = self.parked.get(group).map(|parked| parked.idle.iter());
        let idle = idle.into_iter().flatten().take(FEW);
        let uids: Vec<Box<str>> = idle.map(|(_, uid)| uid.clone()).collect();
        for uid in uids {
            self.wake(&uid, now);
        }
    }

    /// A pod of a class was placed: more of its kind may fit where it did.
    pub fn placed(&mut self, class: &Class, now: Instant) {
        if self.hopeful.is_empty() {
            return;
        }
        let same = self.hopeful.iter().filter(|(id, _)| *id == class.id);
        let same: Vec<Group> = same.cloned().collect();
        for group in same {
            self.wake_few(&group, now);
            if self.parked.get(&group).is_none_or(|p| p.idle.is_empty()) {
                self.hopeful.remove(&group);
            }
        }
    }

    /// Something happened where room is being made for these pods.
    pub fn wake_all<'p>(&mut self, pods: impl Iterator<Item = &'p Arc<PodInfo>>, now: Instant) {
        for pod in pods {
            self.wake(&pod.uid, now);
        }
    }

    fn wake(&mut self, uid: &str, now: Instant) {
        let Some(waiting) = self.pods.get(uid) else {
            return;
        };
        let Place::Parked { since, .. } = waiting.place else {
            return;
        };
        let due = since + self.delay(waiting.attempts);
        if due <= now {
            self.activate(uid);
            return;
        }
        self.detach(uid);
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.place = Place::BackingOff { due, strict: false };
        }
        self.patient.insert((due, uid.into()));
    }

    /// Makes active what has waited long enough; answers when to call again, if ever.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        let next = |set: &BTreeSet<(Instant, Box<str>)>| set.first().map(|(due, _)| *due);
        loop {
            let (a, b) = (next(&self.patient), next(&self.timers));
            let due = a.into_iter().chain(b).min()?;
            if due > now {
                return Some(due);
            }
            let set = if a == Some(due) {
                &self.patient
            } else {
                &self.timers
            };
            let uid = set.first().map(|(_, uid)| uid.clone())?;
            self.activate(&uid);
        }
    }

    /// How many pods wait, by place: active, backing off, parked, gated.
    pub fn depths(&self) -> [usize; 4] {
        let parked: usize = self.parked.values().map(Parked::len).sum();
        let backing_off = self.patient.len() + self.timers.len() - parked;
        let others = self.active.len() + backing_off + parked;
        [
            self.active.len(),
            backing_off,
            parked,
            self.pods.len().saturating_sub(others),
        ]
    }

    /// Nobody waits to be tried.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.patient.is_empty()
    }

    fn delay(&self, attempts: u32) -> Duration {
        self.backoff
            .0
            .saturating_mul(1 << attempts.saturating_sub(1).min(16))
            .min(self.backoff.1)
    }

    fn activate(&mut self, uid: &str) {
        self.detach(uid);
        let Some(waiting) = self.pods.get_mut(uid) else {
            return;
        };
        self.arrivals += 1;
        let rank = (Reverse(waiting.pod.priority()), self.arrivals);
        waiting.place = Place::Active(rank);
        self.active.insert((rank, uid.into()));
    }

    /// Takes the pod out of whatever set it stands in.
    fn detach(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else {
            return;
        };
        match std::mem::replace(&mut waiting.place, Place::InFlight) {
            Place::Active(rank) => {
                self.active.remove(&(rank, uid.into()));
            }
            Place::BackingOff { due, strict } => {
                let set = if strict {
                    &mut self.timers
                } else {
                    &mut self.patient
                };
                set.remove(&(due, uid.into()));
            }
            Place::Parked { since, group } => {
                self.timers.remove(&(since + LONGEST_PARK, uid.into()));
                if let Some(parked) = self.parked.get_mut(&group) {
                    if !parked.nominated.remove(uid) {
                        parked.idle.remove(&(since, uid.into()));
                    }
                    if parked.len() == 0 {
                        self.parked.remove(&group);
                        self.hopeful.remove(&group);
                    }
                }
            }
            Place::InFlight | Place::Gated => {}
        }
    }
}

#[cfg(test)]
mod tests;
