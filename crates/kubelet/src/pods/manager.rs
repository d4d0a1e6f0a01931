//! Which pods the node has: follows the API and the runtime, and keeps one worker per pod.
//!
//! News of the runtime is pushed by its event stream. A full look every [`RELIST`] is only the
//! safety net for a lost event, and the time to remove what belongs to no pod.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use client::{Change, events::EventType};
use cri::v1;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    admission, allocation,
    hooks::{cleanup, observe},
    manifests, mirrors,
    observed::keys,
    qos::Qos,
    resources,
    status::Verdict,
    view::PodView,
    worker::{self, Handle, Message, Start},
};
use crate::{agent::Agent, volumes};

/// Time between full looks at the runtime.
const RELIST: Duration = Duration::from_secs(90);
/// Waits before the event stream is opened again.
const STREAM_RETRY: Duration = Duration::from_millis(200);
const STREAM_RETRY_MOST: Duration = Duration::from_secs(5);

/// The pods of the node.
pub struct Pods {
    pub(super) agent: Arc<Agent>,
    /// Pods from manifests on this node.
    pub(super) statics: watch::Sender<Vec<Arc<Pod>>>,
    workers: Mutex<HashMap<String, Handle>>,
    rejected: Mutex<HashSet<String>>,
    news: watch::Sender<()>,
    /// What the burstable pods asked for together, in thousandths of a core.
    weight: AtomicI64,
}

impl Pods {
    /// Begins to follow the API's pods of this node.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self {
            agent,
            statics: watch::Sender::new(Vec::new()),
            workers: Mutex::default(),
            rejected: Mutex::default(),
            news: watch::Sender::new(()),
            weight: AtomicI64::new(-1),
        }
    }

    /// Every pod of this node: the API's and static ones, without what mirrors those.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        let mut list = self.agent.pods.store().list();
        list.retain(|pod| !manifests::is_mirror(pod));
        list.extend(self.statics.borrow().iter().cloned());
        list
    }

    /// A pod by name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.static_pod(namespace, name)
            .or_else(|| self.agent.pods.store().get(namespace, name))
    }

    fn static_pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let name = format!("{namespace}/{name}");
        let statics = self.statics.borrow();
        let found = statics.iter().find(|pod| manifests::name_of(pod) == name);
        found.cloned()
    }

    /// Wakes when something happened in the runtime.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Has a pod leave the node.
    pub async fn evict(&self, uid: &str, verdict: Verdict, grace: i64) {
        let mailbox = self.workers.lock().get(uid).map(|h| h.mailbox.clone());
        if let Some(mailbox) = mailbox {
            // A worker that has just ended needs no eviction.
            let _ = mailbox.send(Message::Evict(verdict, grace)).await;
        }
    }

    /// Runs until shutdown. Workers end with it; containers do not.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tasks: JoinSet<String> = JoinSet::new();
        let known = tokio::select! {
            () = shutdown.cancelled() => return,
            known = self.known() => known,
        };
        let (events_in, mut events) = mpsc::channel(256);
        let mut background = JoinSet::new();
        background.spawn(follow_runtime(self.agent.clone(), events_in));
        let mut statics = self.statics.subscribe();
        if let Some(place) = self.agent.config.static_pod_path.clone() {
            // Known before anything is taken for an orphan.
            let (node, agent) = (self.agent.config.node_name.clone(), self.agent.clone());
            self.statics
                .send_replace(manifests::read(&place, &node, agent.now()).0);
            let found = self.statics.clone();
            let clock = move || agent.now();
            background.spawn(manifests::follow(place, node, clock, found));
        }
        background.spawn(mirrors::tend(self.clone()));
        self.apply_statics(&known, &mut tasks);
        let mut changes = self.agent.pods.subscribe();
        let mut relist = tokio::time::interval(RELIST);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once: by then the informer may not know the pods yet.
        relist.reset();
        let mut swept = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                change = changes.next() => self.apply(change, &known, &mut tasks),
                Ok(()) = statics.changed() => self.apply_statics(&known, &mut tasks),
                Some(event) = events.recv() => match event {
                    Some(event) => self.route(event),
                    None => self.ask_all(),
                },
                Some(ended) = tasks.join_next() => {
                    let broke = self.forget(ended);
                    self.retry_held();
                    self.apply_statics(&known, &mut tasks);
                    if broke {
                        for new in self.list() {
                            self.apply(Change::Applied { old: None, new }, &known, &mut tasks);
                        }
                    }
                }
                () = self.agent.pods.synced(), if !swept => {
                    swept = true;
                    while let Some(change) = changes.try_next() {
                        self.apply(change, &known, &mut tasks);
                    }
                    self.sweep();
                }
                _ = relist.tick() => {
                    self.ask_all();
                    if swept {
                        self.sweep();
                    }
                }
            }
        }
        background.abort_all();
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }

    /// What the runtime had before this kubelet began; waits until the runtime answers.
    async fn known(&self) -> HashSet<String> {
        loop {
            match observe::known_pods(&self.agent).await {
                Ok(pods) => return pods.into_keys().collect(),
                Err(error) => {
                    tracing::info!(%error, "waiting for the container runtime");
                    tokio::time::sleep(STREAM_RETRY).await;
                }
            }
        }
    }

    fn apply(&self, change: Change<Pod>, known: &HashSet<String>, tasks: &mut JoinSet<String>) {
        match change {
            Change::Applied { new: pod, .. } | Change::Deleted(pod)
                if manifests::is_mirror(&pod) =>
            {
                self.mirror_changed(&pod);
            }
            Change::Applied { old, new } => {
                let uid = new.metadata.uid.clone().unwrap_or_default();
                if let Some(old) = old.filter(|old| old.metadata.uid.as_deref() != Some(&uid)) {
                    self.gone(&old);
                }
                let mut workers = self.workers.lock();
                match workers.get(&uid) {
                    Some(worker) => self.update(worker, new, &workers),
                    None => {
                        let pod = allocation::remembered(new);
                        let was_known = known.contains(&uid) || admission::has_begun(&pod);
                        let rejected = if was_known || pod.deletion().is_some() {
                            None
                        } else {
                            self.admit(&pod, &workers)
                        };
                        let start = Start {
                            pod,
                            known: was_known,
                            rejected,
                        };
                        let handle = worker::spawn(self.agent.clone(), start, tasks);
                        workers.insert(uid, handle);
                        self.weigh(&workers);
                        self.agent.metrics.running_pods.set(workers.len() as i64);
                    }
                }
            }
            Change::Deleted(pod) => self.gone(&pod),
        }
    }

    /// Brings the workers in line with the manifests. A pod whose manifest changed is another one:
    /// it begins when the one before has ended.
    fn apply_statics(&self, known: &HashSet<String>, tasks: &mut JoinSet<String>) {
        let statics = self.statics.borrow().clone();
        let wanted: HashSet<&str> = statics
            .iter()
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        let mut names = HashSet::new();
        for (uid, worker) in self.workers.lock().iter() {
            let pod = worker.updates.borrow();
            if pod.is_static() {
                names.insert(manifests::name_of(pod.pod()));
                if !wanted.contains(uid.as_str()) {
                    worker.relist.gone();
                }
            }
        }
        for new in &statics {
            if !names.contains(&manifests::name_of(new)) {
                let new = new.clone();
                self.apply(Change::Applied { old: None, new }, known, tasks);
            }
        }
    }

    /// What shows a static pod came, changed or went: its worker looks at it.
    fn mirror_changed(&self, mirror: &Pod) {
        let name = manifests::name_of(mirror);
        for worker in self.workers.lock().values() {
            let shown = {
                let pod = worker.updates.borrow();
                pod.is_static() && manifests::name_of(pod.pod()) == name
            };
            if shown {
                worker.updates.send_modify(|_| {});
            }
        }
    }

    /// Hands a new version of a pod to its worker, with the resources that the node grants.
    fn update(&self, worker: &Handle, new: Arc<Pod>, workers: &HashMap<String, Handle>) {
        let old = worker.updates.borrow().clone();
        let node = self.agent.node.borrow().clone();
        let others = self.views(workers);
        let (pod, outcome) = allocation::take_in(&old, new, &others, node.as_deref());
        let told = match (outcome, pod.held()) {
            (allocation::Outcome::Granted, _) => Some((
                EventType::Normal,
                "ResizeStarted",
                "started",
                pod.generation(),
                "",
            )),
            (allocation::Outcome::Held, Some(held)) => {
                let message = held.message.as_str();
                let what = allocation::DEFERRED;
                Some((
                    EventType::Warning,
                    "ResizeDeferred",
                    what,
                    held.generation,
                    message,
                ))
            }
            _ => None,
        };
        if let Some((kind, reason, what, generation, error)) = told {
            let wanted = self.get(pod.namespace(), pod.name()).map(PodView::new);
            let summary = allocation::summary(wanted.as_ref().unwrap_or(&pod), generation, error);
            let message = format!("Pod resize {what}: {summary}");
            self.agent.pod_event(&pod, None, kind, reason, message);
        }
        worker.updates.send_replace(pod);
        if outcome == allocation::Outcome::Granted {
            self.weigh(workers);
        }
    }

    /// Asks again about the changes of resources that were held back: something has gone.
    fn retry_held(&self) {
        let workers = self.workers.lock();
        for worker in workers.values() {
            let pod = worker.updates.borrow().clone();
            if pod.held().is_some()
                && let Some(now) = self.get(pod.namespace(), pod.name())
                && now.metadata.uid.as_deref() == Some(pod.uid())
            {
                self.update(worker, now, &workers);
            }
        }
    }

    /// The pods of the node, with the resources they have been granted.
    fn views(&self, workers: &HashMap<String, Handle>) -> Vec<PodView> {
        self.list()
            .into_iter()
            .map(|pod| {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                match workers.get(uid) {
                    Some(worker) => worker.updates.borrow().clone(),
                    None => PodView::new(pod),
                }
            })
            .collect()
    }

    fn admit(&self, pod: &PodView, workers: &HashMap<String, Handle>) -> Option<Verdict> {
        let node = self.agent.node.borrow().clone()?;
        let mut rejected = self.rejected.lock();
        let others: Vec<PodView> = self
            .views(workers)
            .into_iter()
            .filter(|other| !rejected.contains(other.uid()) && self.earlier(other.pod(), pod))
            .collect();
        let verdict = admission::check(pod, &others, &node).err()?;
        rejected.insert(pod.uid().to_owned());
        self.agent.pod_event(
            pod,
            None,
            EventType::Warning,
            &verdict.reason,
            verdict.message.trim_start_matches("Pod was rejected: "),
        );
        Some(verdict)
    }

    /// Among pods that came together, the one made first is asked first.
    fn earlier(&self, other: &Pod, pod: &PodView) -> bool {
        let order = |p: &Pod| {
            (
                p.metadata.creation_timestamp.as_ref().map(|t| t.0),
                p.metadata.uid.clone(),
            )
        };
        let begun = other
            .status
            .as_ref()
            .is_some_and(|s| s.phase.as_deref() == Some("Running"));
        begun || order(other) < order(pod.pod())
    }

    /// Brings the weight of the burstable pods up to date.
    fn weigh(&self, workers: &HashMap<String, Handle>) {
        let asked: i128 = self
            .views(workers)
            .into_iter()
            .filter(|pod| !pod.is_terminal() && Qos::of(pod.spec()) == Qos::Burstable)
            .filter_map(|pod| resources::pod_requests(pod.spec()).get("cpu").copied())
            .sum();
        let milli = i64::try_from(asked / 1_000_000).unwrap_or(i64::MAX);
        if self.weight.swap(milli, Ordering::Relaxed) != milli
            && let Err(error) = self.agent.cgroups.weigh_burstable(milli)
        {
            tracing::warn!(%error, "burstable pods keep their old weight");
        }
    }

    fn gone(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.rejected.lock().remove(uid);
        if let Some(worker) = self.workers.lock().get(uid) {
            worker.relist.gone();
        }
    }

    /// Drops an ended worker; whether one broke, so that its pod has to be taken up again.
    fn forget(&self, ended: Result<String, tokio::task::JoinError>) -> bool {
        let mut workers = self.workers.lock();
        let mut broke = false;
        match ended {
            Ok(uid) => {
                workers.remove(&uid);
                self.weigh(&workers);
            }
            Err(error) if error.is_panic() => {
                // Which one is not said; the closed mailbox tells.
                tracing::error!(%error, "a pod worker broke; its pod is taken up again");
                workers.retain(|_, worker| !worker.mailbox.is_closed());
                broke = true;
            }
            Err(_) => {}
        }
        self.agent.metrics.running_pods.set(workers.len() as i64);
        broke
    }

    fn route(&self, event: v1::ContainerEventResponse) {
        self.news.send_replace(());
        let Some(uid) = uid_of(&event) else { return };
        let workers = self.workers.lock();
        let Some(worker) = workers.get(&uid) else {
            return;
        };
        if worker
            .mailbox
            .try_send(Message::Event(Box::new(event)))
            .is_err()
        {
            worker.relist.ask();
        }
    }

    fn ask_all(&self) {
        self.news.send_replace(());
        for worker in self.workers.lock().values() {
            worker.relist.ask();
        }
    }

    /// Removes what belongs to no pod: of the runtime and on disk. What is wanted is asked after
    /// what is there, so that a pod that comes meanwhile is not taken for an orphan.
    fn sweep(self: &Arc<Self>) {
        let this = self.clone();
        tokio::spawn(async move {
            let agent = &this.agent;
            let pods = match observe::known_pods(agent).await {
                Ok(pods) => pods,
                Err(error) => {
                    tracing::info!(%error, "cannot look for orphans");
                    return;
                }
            };
            let mut there: HashSet<String> = pods.into_keys().collect();
            there.extend(pod_dirs(agent).await);
            let mut wanted: HashSet<String> = this.workers.lock().keys().cloned().collect();
            wanted.extend(this.list().iter().filter_map(|p| p.metadata.uid.clone()));
            for uid in there.difference(&wanted) {
                tracing::info!(uid, "removing a pod that the API does not know");
                if let Err(error) = cleanup::runtime_objects(agent, uid).await {
                    tracing::warn!(uid, %error, "cannot remove orphaned containers");
                    continue;
                }
                if let Err(error) = volumes::tear_down(agent, uid).await {
                    tracing::warn!(uid, %error, "cannot remove orphaned volumes");
                }
            }
        });
    }
}

/// Uids that have a directory.
async fn pod_dirs(agent: &Agent) -> Vec<String> {
    let mut out = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(agent.config.root_dir.join("pods")).await else {
        return out;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        out.extend(entry.file_name().into_string().ok());
    }
    out
}

fn uid_of(event: &v1::ContainerEventResponse) -> Option<String> {
    let of_sandbox = event.pod_sandbox_status.as_ref().and_then(|s| {
        s.metadata
            .as_ref()
            .map(|m| m.uid.clone())
            .filter(|uid| !uid.is_empty())
            .or_else(|| s.labels.get(keys::POD_UID).cloned())
    });
    of_sandbox.or_else(|| {
        event
            .containers_statuses
            .iter()
            .find_map(|s| s.labels.get(keys::POD_UID).cloned())
    })
}

/// Passes on the runtime's events; `None` says that some may have been lost.
async fn follow_runtime(
    agent: Arc<Agent>,
    events: mpsc::Sender<Option<v1::ContainerEventResponse>>,
) {
    let mut wait = STREAM_RETRY;
    loop {
        match agent.runtime.container_events().await {
            Ok(mut stream) => {
                // What happened before the stream stood is not in it.
                if events.send(None).await.is_err() {
                    return;
                }
                while let Ok(Some(event)) = stream.message().await {
                    wait = STREAM_RETRY;
                    if events.send(Some(event)).await.is_err() {
                        return;
                    }
                }
                tracing::info!("the runtime's event stream ended");
            }
            Err(error) => tracing::info!(%error, "the runtime has no event stream"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(STREAM_RETRY_MOST);
    }
}
