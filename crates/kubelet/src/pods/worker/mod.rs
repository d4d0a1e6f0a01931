//! The task that owns one pod: takes in news, asks the plan, begins steps, reports the status.
//!
//! It never waits for a step: steps run beside it and send their end. It sleeps until there is
//! news or until the plan's own time (a back-off, a deadline); an idle pod has no timer.

mod execute;
mod news;
mod report;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cri::v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    observed::Observed,
    plan::{self, Facts, Progress, Stop, Waiting},
    status::Verdict,
    view::PodView,
};
use crate::{
    agent::Agent,
    probes::{ProbeKind, Report, Running},
    volumes::Volumes,
};

use news::Done;

/// News that a worker has not taken in yet. When there are more, the manager marks the worker
/// for a full look at the runtime instead, which needs no queue.
pub const MAILBOX: usize = 64;

/// News from outside.
#[derive(Debug)]
pub enum Message {
    /// A container's status, and its sandbox.
    Status(Box<v1::ContainerStatus>, String),
    /// Something happened in the runtime.
    Event(Box<v1::ContainerEventResponse>),
    /// A probe's result changed.
    Probe(Report),
    /// The pod is to go, for this reason, within so many seconds.
    Evict(Verdict, i64),
}

/// The manager's end of a worker.
pub struct Handle {
    /// News.
    pub mailbox: mpsc::Sender<Message>,
    /// The pod's versions.
    pub updates: watch::Sender<PodView>,
    /// Calls for a full look at the runtime.
    pub relist: Arc<Relist>,
}

/// A call for a full look at the runtime, and for the end.
#[derive(Debug, Default)]
pub struct Relist {
    wanted: AtomicBool,
    gone: AtomicBool,
    bell: Notify,
}

impl Relist {
    /// Asks for a full look.
    pub fn ask(&self) {
        self.wanted.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Says that the API has the pod no more.
    pub fn gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.bell.notify_one();
    }
}

/// How a worker begins.
pub struct Start {
    /// The pod.
    pub pod: PodView,
    /// The runtime may have something of it.
    pub known: bool,
    /// The node does not take it.
    pub rejected: Option<Verdict>,
}

/// Where the end of a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It lives, or its containers are ending.
    Open,
    /// Volumes and cgroup are being taken down; the object stays.
    Releasing,
    /// They are.
    Released,
    /// Everything is being removed.
    Removing,
    /// Everything is; the object is being deleted.
    Deleting,
    /// Nothing is left.
    Gone,
}

struct Worker {
    agent: Arc<Agent>,
    pod: PodView,
    updates: watch::Receiver<PodView>,
    mailbox: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    relist: Arc<Relist>,
    observed: Observed,
    progress: Progress,
    volumes: Option<Arc<Volumes>>,
    ops: JoinSet<Done>,
    /// Steps that the pod's end cuts short.
    early: HashMap<String, AbortHandle>,
    /// Containers being stopped, by id.
    stops: HashMap<String, AbortHandle>,
    stopping: watch::Sender<bool>,
    probes: BTreeMap<(String, ProbeKind), Running>,
    stop: Option<Stop>,
    verdict: Option<Verdict>,
    waiting: BTreeMap<String, Waiting>,
    /// Resources of containers being started, by name.
    given: BTreeMap<String, ResourceRequirements>,
    /// Failures in a row, by step.
    failures: HashMap<String, u32>,
    /// Back-offs that an event told of: container to run or retry.
    noted: HashMap<String, String>,
    generated: PodStatus,
    sent: PodStatus,
    sending: bool,
    retry_status: Option<Timestamp>,
    hold_status: Timestamp,
    /// The uid of the mirror pod that got a static pod's status.
    mirror: String,
    api_gone: bool,
    end: End,
    retry_end: Option<Timestamp>,
    first_seen: Timestamp,
    was_ready: bool,
}

/// Longest time that a pod's first status waits for its containers, so that a quick start is one
/// write.
const HOLD: SignedDuration = SignedDuration::from_millis(250);

/// Begins a worker; its task ends when nothing of the pod is left.
pub fn spawn(agent: Arc<Agent>, start: Start, tasks: &mut JoinSet<String>) -> Handle {
    let (sender, mailbox) = mpsc::channel(MAILBOX);
    let (updates, updates_seen) = watch::channel(start.pod.clone());
    let relist = Arc::new(Relist::default());
    let handle = Handle {
        mailbox: sender.clone(),
        updates,
        relist: relist.clone(),
    };
    let now = agent.now();
    let status = start.pod.status().clone();
    let mut generated = status.clone();
    if generated.start_time.is_none() {
        let time = super::status::whole_seconds(now);
        generated.start_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    }
    let worker = Worker {
        pod: start.pod,
        updates: updates_seen,
        mailbox,
        sender,
        relist,
        observed: Observed::default(),
        progress: Progress::default(),
        volumes: None,
        ops: JoinSet::new(),
        early: HashMap::new(),
        stops: HashMap::new(),
        stopping: watch::Sender::new(false),
        probes: BTreeMap::new(),
        stop: None,
        verdict: start.rejected,
        waiting: BTreeMap::new(),
        given: BTreeMap::new(),
        failures: HashMap::new(),
        noted: HashMap::new(),
        generated,
        sent: status,
        sending: false,
        retry_status: None,
        hold_status: now + HOLD,
        mirror: String::new(),
        api_gone: false,
        end: End::Open,
        retry_end: None,
        first_seen: now,
        was_ready: false,
        agent,
    };
    tasks.spawn(worker.run(start.known));
    handle
}

impl Worker {
    async fn run(mut self, known: bool) -> String {
        if known {
            self.adopt().await;
        }
        loop {
            self.take_in();
            self.mind_the_end();
            let plan = plan::plan(Facts {
                pod: &self.pod,
                observed: &self.observed,
                progress: &self.progress,
                stop: self.stop,
                now: self.agent.now(),
            });
            let (wake_at, settled) = (plan.wake_at, plan.settled);
            let acted = !plan.actions.is_empty();
            self.note_backoffs(&plan.waiting);
            self.waiting = plan.waiting;
            for action in plan.actions {
                self.execute(action);
            }
            self.tend_probes();
            let held = self.report(plan.finished, settled);
            // What an action changed may call for another at once.
            if acted {
                self.conclude(settled, plan.finished);
                if self.end == End::Gone {
                    break;
                }
                tokio::task::yield_now().await;
                if self.has_news() {
                    continue;
                }
            }
            self.conclude(settled, plan.finished);
            if self.end == End::Gone {
                break;
            }
            let wake = [wake_at, held, self.retry_status, self.retry_end]
                .into_iter()
                .flatten()
                .min();
            self.wait(wake).await;
        }
        self.pod.uid().to_owned()
    }

    fn has_news(&self) -> bool {
        !self.mailbox.is_empty()
            || self.updates.has_changed().unwrap_or(false)
            || self.relist.wanted.load(Ordering::Acquire)
    }

    /// Sleeps until there is news, or until `wake`.
    async fn wait(&mut self, wake: Option<Timestamp>) {
        let pause = wake.map(|at| {
            let left = at.duration_since(self.agent.now());
            // A time already past is a moment, not a busy loop.
            Duration::try_from(left)
                .unwrap_or_default()
                .max(Duration::from_millis(1))
        });
        let done = tokio::select! {
            message = self.mailbox.recv() => {
                if let Some(message) = message {
                    self.hear(message);
                }
                None
            }
            Some(done) = self.ops.join_next() => Some(done),
            changed = self.updates.changed() => {
                // The manager is gone: the kubelet is ending, and containers stay.
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
                self.updates.mark_changed();
                None
            }
            () = self.relist.bell.notified() => None,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => None,
        };
        if let Some(Ok(done)) = done {
            self.finish(done);
        }
    }
}

/// Wait before the n-th retry of a step: half a second, doubling to `longest` seconds.
fn retry_wait(failures: u32, longest: i64) -> SignedDuration {
    let millis = 500_i64 << failures.min(10);
    SignedDuration::from_millis(millis.min(longest * 1000))
}
