//! Plan: the scheduler's state and what it decides next. No IO; time and chance are handed in.
//!
//! Events go in by [`Scheduler::pod_applied`] and its siblings, decisions come out of
//! [`Scheduler::next`]. Whoever carries a decision out reports a failed binding by
//! [`Scheduler::bind_failed`]; a durable one comes back as an event of the pod.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    resource::v1::ResourceClaim,
};
use tokio::time::Instant;

use crate::{
    bind::Prepare,
    cache::{Cache, PodInfo},
    extenders::{self, Extenders, Opinion},
    framework::{
        Overlay, Rejection,
        diagnosis::Diagnosis,
        profile::{self, Profile},
        ranking::{PodFilters, Rankings, whole},
    },
    plugins::devices::{self, awaiting::Awaiting, plugin::Released},
    preemption::{self, Candidate, NoCandidate},
    queue::{
        Attempt, Help, Queue,
        events::{ClusterEvents, Event},
    },
};

/// What is to be done about one pod.
#[derive(Debug)]
pub struct Decision {
    /// The pod, and how often it was tried.
    pub attempt: Attempt,
    /// What.
    pub verdict: Verdict,
}

/// See [`Decision`].
#[derive(Debug)]
pub enum Verdict {
    /// Bind it. It is counted on the node already.
    Bind {
        /// The node.
        node: Arc<str>,
        /// What has to be written first.
        prepare: Vec<Prepare>,
    },
    /// Ask the extenders about these nodes, which pass and score so with the plugins, and come back
    /// with [`Scheduler::answered`].
    Ask(Vec<(Arc<str>, i64)>),
    /// Something went wrong that is no fault of the pod; it is tried again later.
    Failed(String),
    /// Say why it cannot be placed, and make room where preemption found some. It is parked.
    Unschedulable {
        /// Why.
        diagnosis: Box<Diagnosis>,
        /// Whom to evict.
        preempt: Option<Arc<Candidate>>,
        /// The node it was nominated to will not do any more.
        clear: bool,
        /// A claim to give up.
        release: Released,
    },
}

/// See the module.
pub struct Scheduler {
    /// What is known of the cluster.
    pub cache: Cache,
    queue: Queue,
    profiles: Vec<(Profile, Rankings)>,
    extenders: Extenders,
    /// Pods whose claims for devices are not there yet.
    awaiting: Awaiting,
}

impl Scheduler {
    /// With nothing known yet.
    pub fn new(profiles: Vec<Profile>) -> Scheduler {
        let mut cache = Cache::default();
        for profile in &profiles {
            for key in profile.topology_keys() {
                cache.watch_topology(key);
            }
        }
        Scheduler {
            cache,
            queue: Queue::default(),
            profiles: profiles
                .into_iter()
                .map(|p| (p, Rankings::default()))
                .collect(),
            extenders: Extenders::default(),
            awaiting: Awaiting::default(),
        }
    }

    /// Who has a say beside the plugins.
    pub fn set_extenders(&mut self, extenders: Extenders) {
        self.extenders = extenders;
    }

    /// First and longest wait between two tries of one pod.
    pub fn set_backoff(&mut self, first: std::time::Duration, longest: std::time::Duration) {
        self.queue.backoff = (first, longest);
    }

    /// A pod came or changed.
    pub fn pod_applied(&mut self, pod: Arc<Pod>, now: Instant) {
        let info = self.cache.info(pod);
        let phase = info.pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            self.gone(&info.uid, now);
        } else if let Some(node) = info.spec().node_name.clone().filter(|n| !n.is_empty()) {
            // What was placed here waits in the queue until it is seen to be bound.
            let waited = self.queue.get(&info.uid).is_some();
            self.queue.remove(&info.uid);
            let before = self.cache.placed(&info.uid).cloned();
            self.cache.place_pod(info.clone(), &node);
            match before.filter(|_| !waited) {
                None => self.pod_event(ClusterEvents::POD_ADD, &info, now),
                Some(old) if old.class.id != info.class.id => {
                    let kind = if old.class.labels == info.class.labels {
                        ClusterEvents::POD_SCALE_DOWN
                    } else {
                        ClusterEvents::POD_SCALE_DOWN | ClusterEvents::POD_LABEL
                    };
                    self.pod_event(kind, &info, now);
                }
                Some(_) => {}
            }
        } else if !self.is_ours(&info) || info.terminating() {
            let nominated = self.cache.withdraw(&info.uid);
            self.queue.remove(&info.uid);
            if nominated.is_some() {
                self.left(&info, nominated, now);
            }
        } else if self.cache.placed(&info.uid).is_none() {
            // A nomination of another process, or of this one before it was started anew.
            if self.queue.get(&info.uid).is_none()
                && let Some(node) = info.nominated_node()
            {
                self.cache.nominate(info.clone(), node);
            }
            self.enqueue(info, now);
        }
    }

    /// The pod waits to be placed, or for what has to be there before it is worth a try (PreEnqueue).
    fn enqueue(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let held = self.awaiting.note(&pod, &self.cache.devices);
        let gated = gated(&pod) || held;
        self.queue.apply(pod, gated, now);
    }

    /// A claim for devices came, changed or went.
    pub fn resource_claim(&mut self, claim: Arc<ResourceClaim>, there: bool, now: Instant) {
        let key = devices::key(&claim);
        self.cache.devices.claim(claim, there);
        for uid in self.awaiting.take(&key) {
            if let Some(pod) = self.queue.get(&uid).cloned() {
                self.enqueue(pod, now);
            }
        }
        self.happened(ClusterEvents::DEVICES, now);
    }

    /// A pod went.
    pub fn pod_deleted(&mut self, uid: &str, now: Instant) {
        self.gone(uid, now);
    }

    fn gone(&mut self, uid: &str, now: Instant) {
        // Room that is kept for it is free as well.
        let nominated = self.cache.nomination(uid);
        let waiting = self.queue.get(uid).filter(|_| nominated.is_some()).cloned();
        self.queue.remove(uid);
        self.awaiting.forget(uid);
        let slot = self.cache.node_of(uid).map(|node| node.slot).or(nominated);
        if let Some(pod) = self.cache.remove_pod(uid).or(waiting) {
            self.left(&pod, slot, now);
        }
    }

    /// A pod is not on its node any more: those it made room for may come.
    fn left(&mut self, pod: &PodInfo, slot: Option<u32>, now: Instant) {
        if let Some(slot) = slot {
            let expected = self.cache.at(slot).nominated.iter();
            self.queue.wake_all(expected, now);
        }
        self.pod_event(ClusterEvents::POD_DELETE, pod, now);
    }

    fn pod_event(&mut self, kind: ClusterEvents, pod: &PodInfo, now: Instant) {
        let event = Event {
            kind,
            node: None,
            pod: Some(pod),
        };
        notify(&mut self.queue, &self.profiles, &event, now);
    }

    /// A node came or changed.
    pub fn node_applied(&mut self, node: Arc<Node>, now: Instant) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let kind = match self.cache.node(&name).and_then(|n| n.node.as_ref()) {
            None => ClusterEvents::NODE_ADD,
            Some(old) => ClusterEvents::between(old, &node),
        };
        self.cache.apply_node(node);
        if kind != ClusterEvents::NONE {
            let event = Event {
                kind,
                node: self.cache.node(&name),
                pod: None,
            };
            notify(&mut self.queue, &self.profiles, &event, now);
        }
    }

    /// A namespace came or changed: pods' affinity may select by its labels.
    pub fn namespace_applied(&mut self, namespace: &Namespace, now: Instant) {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        if self.cache.apply_namespace(name, labels) {
            self.happened(ClusterEvents::POD_ADD, now);
        }
    }

    /// A namespace went.
    pub fn namespace_deleted(&mut self, name: &str) {
        self.cache.remove_namespace(name);
    }

    /// A node went: what was spread over it may fit elsewhere.
    pub fn node_deleted(&mut self, name: &str, now: Instant) {
        let known = self.cache.node(name).is_some();
        self.cache.remove_node(name);
        if known {
            self.happened(ClusterEvents::NODE_DELETE, now);
        }
    }

    /// Something happened that is neither a pod's nor a node's.
    pub fn happened(&mut self, kind: ClusterEvents, now: Instant) {
        notify(&mut self.queue, &self.profiles, &Event::of(kind), now);
    }

    /// The next decision, or none while no pod is due. Placed pods are counted on their node at once.
    ///
    /// `tie` chooses among equals.
    pub fn next(&mut self, now: Instant, tie: &mut dyn FnMut(usize) -> usize) -> Option<Decision> {
        self.queue.advance(now);
        loop {
            let attempt = self.queue.pop()?;
            let name = &attempt.pod.class.scheduler_name;
            let profile = self
                .profiles
                .iter()
                .position(|(p, _)| p.scheduler_name == *name);
            let Some(profile) = profile else {
                self.queue.remove(&attempt.pod.uid);
                continue;
            };
            let verdict = self.decide(profile, &attempt.pod, now, tie);
            return Some(Decision { attempt, verdict });
        }
    }

    fn decide(
        &mut self,
        profile: usize,
        pod: &Arc<PodInfo>,
        now: Instant,
        tie: &mut dyn FnMut(usize) -> usize,
    ) -> Verdict {
        // It does not stand in its own way.
        let nominated = self.cache.withdraw(&pod.uid);
        let (profile, rankings) = &mut self.profiles[profile];
        let asks = self.extenders.concern(pod);
        match search(profile, rankings, &self.cache, pod, nominated, asks, tie) {
            Found::Node(node, prepare) => self.place(pod, node, prepare, now),
            Found::Nodes(nodes) => Verdict::Ask(nodes),
            Found::Trouble(why) => {
                self.queue.back_off(&pod.uid, now);
                Verdict::Failed(why)
            }
            Found::Room(diagnosis, candidate) => self.make_room(pod, diagnosis, candidate, now),
            Found::Nothing(diagnosis, why, release) => {
                let keeps = matches!(why, NoCandidate::Waiting(_));
                if let Some(slot) = nominated.filter(|_| keeps) {
                    let name = self.cache.at(slot).name.clone();
                    self.cache.nominate(pod.clone(), &name);
                }
                self.park(pod, &diagnosis, now);
                Verdict::Unschedulable {
                    diagnosis,
                    preempt: None,
                    clear: !keeps && (nominated.is_some() || pod.nominated_node().is_some()),
                    release,
                }
            }
        }
    }

    fn place(
        &mut self,
        pod: &Arc<PodInfo>,
        node: Arc<str>,
        prepare: Vec<Prepare>,
        now: Instant,
    ) -> Verdict {
        self.queue.placed(&pod.class, now);
        self.cache.place_pod(pod.clone(), &node);
        self.cache.volumes.promise(pod, &prepare);
        self.cache.devices.promise(pod, &prepare);
        Verdict::Bind { node, prepare }
    }

    /// What becomes of a pod that the extenders were asked about. Nothing else may have been told to
    /// the scheduler meanwhile.
    pub fn answered(
        &mut self,
        attempt: Attempt,
        opinion: Result<Opinion, String>,
        now: Instant,
        tie: &mut dyn FnMut(usize) -> usize,
    ) -> Decision {
        let pod = attempt.pod.clone();
        let verdict = match opinion {
            Err(why) => {
                self.queue.back_off(&pod.uid, now);
                Verdict::Failed(why)
            }
            Ok(opinion) => {
                let best = opinion.nodes.iter().map(|(_, score)| *score).max();
                let leaders: Vec<&Arc<str>> = opinion
                    .nodes
                    .iter()
                    .filter(|(_, score)| Some(*score) == best)
                    .map(|(name, _)| name)
                    .collect();
                if leaders.is_empty() {
                    let mut diagnosis = Box::new(Diagnosis {
                        total: self.cache.len(),
                        ..Diagnosis::default()
                    });
                    for why in opinion.refused.into_values() {
                        diagnosis.reject(extenders::NAME, &Rejection::unresolvable(why));
                    }
                    self.park(&pod, &diagnosis, now);
                    Verdict::Unschedulable {
                        diagnosis,
                        preempt: None,
                        clear: pod.nominated_node().is_some(),
                        release: Released::Nothing,
                    }
                } else {
                    let node = leaders[tie(leaders.len()).min(leaders.len() - 1)].clone();
                    let prepare = self.prepare(&pod, &node);
                    self.place(&pod, node, prepare, now)
                }
            }
        };
        Decision { attempt, verdict }
    }

    fn prepare(&self, pod: &PodInfo, node: &str) -> Vec<Prepare> {
        let (Some(profile), Some(node)) = (self.profile(pod), self.cache.node(node)) else {
            return Vec::new();
        };
        let filters = PodFilters::begin(profile, pod, &self.cache);
        filters.map_or_else(|_| Vec::new(), |f| f.reserve(node))
    }

    fn make_room(
        &mut self,
        pod: &Arc<PodInfo>,
        diagnosis: Box<Diagnosis>,
        candidate: Arc<Candidate>,
        now: Instant,
    ) -> Verdict {
        for lesser in &candidate.displaced {
            self.cache.withdraw(&lesser.uid);
            self.queue.hurry(&lesser.uid);
        }
        self.cache.nominate(pod.clone(), &candidate.node);
        self.park(pod, &diagnosis, now);
        Verdict::Unschedulable {
            diagnosis,
            preempt: Some(candidate),
            clear: false,
            release: Released::Nothing,
        }
    }

    fn park(&mut self, pod: &PodInfo, diagnosis: &Diagnosis, now: Instant) {
        let plugins: Vec<&'static str> = diagnosis.plugins.keys().copied().collect();
        let hints = self
            .profile(pod)
            .map_or(ClusterEvents::ALL, |p| p.hints(&plugins));
        let nominated = self.cache.nomination(&pod.uid).is_some();
        self.queue
            .park(&pod.uid, plugins.into(), hints, nominated, now);
    }

    /// When [`Scheduler::next`] may have something again without an event.
    pub fn wake_at(&mut self, now: Instant) -> Option<Instant> {
        self.queue.advance(now)
    }

    /// A binding failed: the pod is not on the node, and is tried again after a while (unless it
    /// went meanwhile).
    pub fn bind_failed(&mut self, pod: &PodInfo, now: Instant) {
        let slot = self.cache.node_of(&pod.uid).map(|node| node.slot);
        if self.queue.back_off(&pod.uid, now)
            && let Some(gone) = self.cache.remove_pod(&pod.uid)
        {
            self.left(&gone, slot, now);
        }
    }

    /// How many pods wait: active, backing off, parked, gated.
    pub fn depths(&self) -> [usize; 4] {
        self.queue.depths()
    }

    /// Nothing waits: what is kept to place the next pod faster is given back.
    pub fn rest(&mut self) {
        if self.queue.is_idle() {
            for (_, rankings) in &mut self.profiles {
                rankings.clear();
            }
        }
    }

    fn is_ours(&self, pod: &PodInfo) -> bool {
        self.profile(pod).is_some()
    }

    fn profile(&self, pod: &PodInfo) -> Option<&Profile> {
        let name = &pod.class.scheduler_name;
        self.profiles
            .iter()
            .map(|(p, _)| p)
            .find(|p| p.scheduler_name == *name)
    }
}

/// What a cycle found.
enum Found {
    Node(Arc<str>, Vec<Prepare>),
    /// For the extenders to choose from.
    Nodes(Vec<(Arc<str>, i64)>),
    /// It could not be found out.
    Trouble(String),
    Room(Box<Diagnosis>, Arc<Candidate>),
    Nothing(Box<Diagnosis>, NoCandidate, Released),
}

/// One scheduling cycle; `nominated` is where room was made for the pod before.
fn search(
    profile: &Profile,
    rankings: &mut Rankings,
    cache: &Cache,
    pod: &Arc<PodInfo>,
    nominated: Option<u32>,
    asks: bool,
    tie: &mut dyn FnMut(usize) -> usize,
) -> Found {
    let hopeless = || NoCandidate::Hopeless(String::new());
    let filters = match PodFilters::begin(profile, pod, cache) {
        Ok(filters) => filters,
        Err((plugin, rejection)) => {
            let mut diagnosis = whole(cache, plugin, &rejection);
            diagnosis.devices = profile.said_of_devices(plugin);
            let told = diagnosis.devices != Some(profile::NOT_FOUND);
            if profile.preempts && diagnosis.total > 0 && told {
                diagnosis.preemption = Some(unhelpful(diagnosis.total));
            }
            return Found::Nothing(Box::new(diagnosis), hopeless(), Released::Nothing);
        }
    };
    let mut ranking = rankings.take(profile, &pod.class, cache);
    let there = nominated
        .map(|slot| cache.at(slot))
        .filter(|node| node.node.is_some());
    let room = there.filter(|node| {
        let fits = ranking.fits_with_nominated(cache, &filters, node, Overlay::default());
        fits.is_ok()
    });
    if asks
        && room.is_none()
        && let Ok(scored) = ranking.scored(cache, &filters)
    {
        rankings.put(ranking);
        if let Some(why) = filters.trouble() {
            return Found::Trouble(why);
        }
        let named = scored
            .into_iter()
            .map(|(slot, score)| (cache.at(slot).name.clone(), score));
        return Found::Nodes(named.collect());
    }
    let chosen = match room {
        Some(node) => Ok(node.slot),
        None => ranking
            .choose(cache, &filters)
            .map(|best| best[tie(best.len()).min(best.len() - 1)]),
    };
    if room.is_none()
        && let Some(why) = filters.trouble()
    {
        rankings.put(ranking);
        return Found::Trouble(why);
    }
    let found = match chosen {
        Ok(slot) => {
            let node = cache.at(slot);
            Found::Node(node.name.clone(), filters.reserve(node))
        }
        Err(diagnosis) if diagnosis.total == 0 => {
            Found::Nothing(diagnosis, hopeless(), Released::Nothing)
        }
        Err(mut diagnosis) => {
            let release = ranking.release(cache, &filters);
            let devices = match ranking.rejected_by() {
                Some(plugin) => profile.said_of_devices(plugin),
                None => profile.said_of_devices("").map(|_| release.message()),
            };
            // Upstream stops there.
            let stops = devices == Some(profile::NOT_FOUND);
            if !profile.preempts || stops {
                diagnosis.devices = devices;
                rankings.put(ranking);
                return Found::Nothing(diagnosis, hopeless(), release);
            }
            match preemption::find(&mut ranking, cache, &filters, pod, &diagnosis, there) {
                Ok(candidate) => Found::Room(diagnosis, candidate),
                Err(why) => {
                    let (NoCandidate::Waiting(text) | NoCandidate::Hopeless(text)) = &why;
                    diagnosis.preemption = Some(text.clone());
                    diagnosis.devices = devices;
                    Found::Nothing(diagnosis, why, release)
                }
            }
        }
    };
    rankings.put(ranking);
    found
}

fn notify(queue: &mut Queue, profiles: &[(Profile, Rankings)], event: &Event<'_>, now: Instant) {
    queue.notify(event.kind, now, |class, plugins| {
        let profile = profiles
            .iter()
            .map(|(p, _)| p)
            .find(|p| p.scheduler_name == class.scheduler_name);
        let Some(profile) = profile else {
            return Help::Any;
        };
        // Without nodes no plugin has said anything, and any node helps.
        let helps = plugins.is_empty()
            || plugins.iter().any(|name| {
                profile.plugin(name).is_none_or(|plugin| {
                    let kind = event.kind.and(plugin.hints());
                    kind != ClusterEvents::NONE && plugin.helps(&Event { kind, ..*event }, class)
                })
            });
        match helps {
            false => Help::Nobody,
            // Pods of one class are equal to plugins that look at nothing else.
            true if event.kind == ClusterEvents::POD_DELETE
                && !plugins.is_empty()
                && plugins.iter().all(|name| profile.asks_of_classes(name)) =>
            {
                Help::Few
            }
            true => Help::Any,
        }
    });
}

/// What preemption says of a pod that a plugin rejected for every node at once.
fn unhelpful(total: usize) -> String {
    format!("0/{total} nodes are available: {total} Preemption is not helpful for scheduling.")
}

fn gated(pod: &PodInfo) -> bool {
    pod.spec()
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wakes;
