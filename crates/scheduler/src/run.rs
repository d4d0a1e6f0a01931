//! Execute: the loop between the informers, the plan in [`crate::decide`] and the API.

use std::{sync::Arc, time::Duration};

use api::clock::rfc3339;
use client::{
    Change, Context, Scope, Subscription,
    events::{EventType, reference},
    informer::Object,
};
use futures::future::BoxFuture;
use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        Service,
    },
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kube::Resource;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    bind::{self, BindError, Nomination, Patience},
    cache::PodInfo,
    decide::{Decision, Scheduler, Verdict},
    extenders::Extenders,
    framework::{config::Configuration, diagnosis::Diagnosis, profile::Profile},
    metrics::Metrics,
    plugins::devices::plugin::Released,
    preemption::Candidate,
    queue::{Attempt, events::ClusterEvents},
};

/// How many writes are under way at once. At the bound the loop decides no further pod until one
/// has come back; events are taken in meanwhile. Writes under way together share the store's syncs.
const WRITES: usize = 256;

/// Events taken in at a stretch before the next decision.
const STRETCH: usize = 256;

/// How long the loop has had nothing to do before it gives memory back.
const REST: Duration = Duration::from_secs(30);

/// What became of a decision.
struct Outcome {
    pod: Arc<PodInfo>,
    /// Counts towards [`WRITES`].
    counted: bool,
    /// The pod is not where it was placed.
    unbound: bool,
}

/// Schedules with the default configuration until `shutdown`.
pub async fn run(context: Context, shutdown: CancellationToken) {
    run_with(context, Configuration::default(), shutdown).await;
}

/// Schedules until `shutdown`.
pub fn run_with(
    context: Context,
    configuration: Configuration,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let pods = context.informers.get::<Pod>(Scope::All);
        let nodes = context.informers.get::<Node>(Scope::All);
        let mut pod_changes = pods.subscribe();
        let mut node_changes = nodes.subscribe();
        let mut others = Others::new();
        let synced = others.follow_all(&context);
        tokio::select! {
            () = async { pods.synced().await; nodes.synced().await; synced.await } => {}
            () = shutdown.cancelled() => return,
        }
        let (report, mut outcomes) = mpsc::channel::<Outcome>(WRITES);
        let metrics = Metrics::new(&context.metrics);
        let extenders = match Extenders::new(&configuration.extenders).await {
            Ok(extenders) => extenders,
            Err(error) => {
                tracing::error!(%error, "extenders cannot be asked: nothing is scheduled");
                return shutdown.cancelled().await;
            }
        };
        let hand = Hand {
            extenders: extenders.clone(),
            context: context.clone(),
            metrics: metrics.clone(),
            report,
            patience: configuration.patience,
        };
        let mut scheduler = Scheduler::new(
            configuration
                .profiles
                .into_iter()
                .map(Profile::of)
                .collect(),
        );
        scheduler.set_backoff(configuration.backoff.0, configuration.backoff.1);
        scheduler.set_extenders(extenders.clone());
        let mut under_way = 0;
        let mut tie =
            |n: usize| usize::try_from(context.random.next() % n.max(1) as u64).unwrap_or_default();
        let mut rested = false;
        loop {
            let now = Instant::now();
            // Events that have arrived are taken in before the next decision.
            for _ in 0..STRETCH {
                if let Some(change) = node_changes.try_next() {
                    node_changed(&mut scheduler, change, now);
                } else if let Some(change) = pod_changes.try_next() {
                    pod_changed(&mut scheduler, change, now);
                } else {
                    break;
                }
            }
            let decision = if under_way < WRITES {
                scheduler.next(now, &mut tie)
            } else {
                None
            };
            let idle = decision.is_none();
            if let Some(mut decision) = decision {
                if let Verdict::Ask(nodes) = decision.verdict {
                    let pod = decision.attempt.pod.clone();
                    let object = |name: &str| scheduler.cache.node(name)?.node.clone();
                    let opinion = extenders.ask(&pod, nodes, object).await;
                    let opinion = opinion.map_err(|e| e.to_string());
                    decision =
                        scheduler.answered(decision.attempt, opinion, Instant::now(), &mut tie);
                }
                metrics.decided(now.elapsed());
                rested = false;
                let counted = match &decision.verdict {
                    Verdict::Bind { prepare, .. } => prepare.is_empty(),
                    _ => true,
                };
                under_way += usize::from(counted);
                tokio::spawn(hand.clone().carry_out(decision, counted));
            } else {
                metrics.sizes(scheduler.depths(), scheduler.cache.len());
            }
            let wake = scheduler.wake_at(now);
            let wake = match (rested, wake) {
                (true, wake) => wake,
                (false, wake) => Some(wake.map_or(now + REST, |w| w.min(now + REST))),
            };
            // Without a decision to make, wait for an event.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(outcome) = outcomes.recv() => {
                    under_way -= usize::from(outcome.counted);
                    if outcome.unbound {
                        scheduler.bind_failed(&outcome.pod, Instant::now());
                    }
                }
                Some(apply) = others.streams.next() => apply(&mut scheduler, Instant::now()),
                () = std::future::ready(()), if !idle => {}
                change = node_changes.next() => node_changed(&mut scheduler, change, Instant::now()),
                change = pod_changes.next() => pod_changed(&mut scheduler, change, Instant::now()),
                () = async { match wake { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {
                    if !rested && now.elapsed() >= REST {
                        scheduler.rest();
                        rested = true;
                    }
                }
            }
        }
    })
}

fn node_changed(scheduler: &mut Scheduler, change: Change<Node>, now: Instant) {
    match change {
        Change::Applied { new, .. } => scheduler.node_applied(new, now),
        Change::Deleted(node) => {
            scheduler.node_deleted(node.meta().name.as_deref().unwrap_or_default(), now);
        }
    }
}

fn pod_changed(scheduler: &mut Scheduler, change: Change<Pod>, now: Instant) {
    match change {
        Change::Applied { new, .. } => scheduler.pod_applied(new, now),
        Change::Deleted(pod) => {
            scheduler.pod_deleted(pod.meta().uid.as_deref().unwrap_or_default(), now);
        }
    }
}

type Apply = Box<dyn FnOnce(&mut Scheduler, Instant) + Send>;

/// The kinds that change seldom, in one stream.
struct Others {
    streams: SelectAll<BoxStream<'static, Apply>>,
    synced: Vec<futures::future::BoxFuture<'static, ()>>,
}

impl Others {
    fn new() -> Others {
        Others {
            streams: SelectAll::new(),
            synced: Vec::new(),
        }
    }

    fn follow<K>(
        &mut self,
        context: &Context,
        apply: impl Fn(&mut Scheduler, Arc<K>, bool, Instant) + Copy + Send + 'static,
    ) where
        K: Object + Resource<DynamicType = ()>,
    {
        let informer = context.informers.get::<K>(Scope::All);
        let changes: Subscription<K> = informer.subscribe();
        let stream = changes.map(move |change| -> Apply {
            let there = !change.is_deleted();
            let object = change.object().clone();
            Box::new(move |scheduler, now| apply(scheduler, object, there, now))
        });
        self.streams.push(stream.boxed());
        self.synced
            .push(Box::pin(async move { informer.synced().await }));
    }

    /// Follows them all; the future ends when all are known.
    fn follow_all(&mut self, context: &Context) -> impl Future<Output = ()> + use<> {
        self.follow::<Namespace>(context, |s, namespace, there, now| {
            if there {
                s.namespace_applied(&namespace, now);
            } else {
                s.namespace_deleted(namespace.meta().name.as_deref().unwrap_or_default());
            }
        });
        self.follow::<PodDisruptionBudget>(context, |s, budget, there, _| {
            let (space, name) = names(&*budget);
            s.cache
                .budgets
                .apply(space, name, Some(&*budget).filter(|_| there));
        });
        self.follow_owners(context);
        self.follow::<PersistentVolumeClaim>(context, |s, claim, there, now| {
            s.cache.volumes.claim(claim, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        self.follow::<PersistentVolume>(context, |s, volume, there, now| {
            s.cache.volumes.volume(volume, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        self.follow::<StorageClass>(context, |s, class, there, now| {
            s.cache.volumes.class(class, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        self.follow::<CSINode>(context, |s, node, there, now| {
            s.cache.volumes.csi_node(node, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        self.follow::<VolumeAttachment>(context, |s, attachment, there, now| {
            s.cache.volumes.attachment(attachment, there);
            if !there {
                s.happened(ClusterEvents::STORAGE, now);
            }
        });
        self.follow::<CSIDriver>(context, |s, driver, there, now| {
            s.cache.volumes.driver(driver, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        self.follow::<DeviceClass>(context, |s, class, there, now| {
            s.cache.apply_device_class(class, there);
            s.happened(ClusterEvents::DEVICES, now);
        });
        self.follow::<ResourceSlice>(context, |s, slice, there, now| {
            s.cache.devices.slice(slice, there);
            s.happened(ClusterEvents::DEVICES, now);
        });
        self.follow::<ResourceClaim>(context, |s, claim, there, now| {
            s.resource_claim(claim, there, now);
        });
        self.follow::<CSIStorageCapacity>(context, |s, capacity, there, now| {
            s.cache.volumes.capacity(capacity, there);
            s.happened(ClusterEvents::STORAGE, now);
        });
        let synced = std::mem::take(&mut self.synced);
        async move {
            futures::future::join_all(synced).await;
        }
    }

    fn follow_owners(&mut self, context: &Context) {
        self.follow::<Service>(context, |s, service, there, _| {
            let (space, name) = names(&*service);
            let selector = service.spec.as_ref().and_then(|s| s.selector.clone());
            let selector = selector.filter(|_| there);
            s.cache.epoch += u64::from(s.cache.owners.service(space, name, selector));
        });
        self.follow::<ReplicationController>(context, |s, controller, there, _| {
            let (space, name) = names(&*controller);
            let labels = controller.spec.as_ref().and_then(|s| s.selector.clone());
            let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
                match_labels: labels,
                match_expressions: None,
            };
            let selector = Some(selector).filter(|_| there);
            let changed = s
                .cache
                .owners
                .controller(space, "ReplicationController", name, selector);
            s.cache.epoch += u64::from(changed);
        });
        self.follow::<ReplicaSet>(context, |s, set, there, _| {
            let (space, name) = names(&*set);
            let selector = set.spec.as_ref().map(|s| s.selector.clone());
            let selector = selector.filter(|_| there);
            let changed = s
                .cache
                .owners
                .controller(space, "ReplicaSet", name, selector);
            s.cache.epoch += u64::from(changed);
        });
        self.follow::<StatefulSet>(context, |s, set, there, _| {
            let (space, name) = names(&*set);
            let selector = set.spec.as_ref().map(|s| s.selector.clone());
            let selector = selector.filter(|_| there);
            let changed = s
                .cache
                .owners
                .controller(space, "StatefulSet", name, selector);
            s.cache.epoch += u64::from(changed);
        });
    }
}

fn names<K: Resource>(object: &K) -> (&str, &str) {
    let meta = object.meta();
    (
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// Carries decisions out.
#[derive(Clone)]
struct Hand {
    extenders: Extenders,
    context: Context,
    metrics: Metrics,
    report: mpsc::Sender<Outcome>,
    patience: Patience,
}

impl Hand {
    /// What is seldom needed is boxed, so that the task of a plain binding stays small.
    async fn carry_out(self, decision: Decision, counted: bool) {
        let Decision { attempt, verdict } = decision;
        let begun = Instant::now();
        let result = match &verdict {
            Verdict::Bind { node, prepare } => {
                let bound = async {
                    if !prepare.is_empty() {
                        let pod = &attempt.pod;
                        let (context, patience) = (&self.context, self.patience);
                        Box::pin(bind::prepare(context, pod, prepare, node, patience)).await?;
                    }
                    match self.extenders.bind(&attempt.pod, node).await {
                        Ok(true) => Ok(()),
                        Ok(false) => bind::bind(&self.context.client, &attempt.pod, node).await,
                        Err(source) => Err(BindError::Extender {
                            pod: attempt.pod.key.clone(),
                            source,
                        }),
                    }
                };
                let bound = bound.await;
                let claims = bind::claim_steps(prepare);
                if matches!(
                    bound,
                    Err(BindError::Binding { .. } | BindError::Extender { .. })
                ) && !claims.is_empty()
                {
                    Box::pin(bind::claims::undo(&self.context, &attempt.pod, &claims)).await;
                }
                bound.map(|()| self.note_bound(&attempt, node))
            }
            // Asked and answered in the loop.
            Verdict::Ask(_) => Ok(()),
            Verdict::Failed(why) => Err(BindError::Failed {
                pod: attempt.pod.key.clone(),
                why: why.clone(),
            }),
            Verdict::Unschedulable {
                diagnosis,
                preempt,
                clear,
                release,
            } => {
                let explained = self.explain(&attempt, diagnosis, preempt.as_deref(), *clear);
                let explained = Box::pin(explained).await;
                explained.and(Box::pin(self.release(&attempt, release)).await)
            }
        };
        let profile = &attempt.pod.class.scheduler_name;
        let what = match (&result, &verdict) {
            (Err(_), _) => "error",
            (Ok(()), Verdict::Bind { .. }) => "scheduled",
            (Ok(()), _) => "unschedulable",
        };
        self.metrics.attempted(profile, what, begun.elapsed());
        let unbound = matches!(verdict, Verdict::Bind { .. }) && result.is_err();
        match result {
            Ok(()) => {}
            Err(BindError::Binding {
                source: kube::Error::Api(status),
                ..
            }) if status.code == 404 => {
                tracing::debug!(pod = &*attempt.pod.key, "went before it was bound");
            }
            Err(error) => {
                tracing::warn!(%error, "will be tried again");
                if unbound || matches!(verdict, Verdict::Failed(_)) {
                    self.context.recorder.event(
                        reference(&*attempt.pod.pod),
                        EventType::Warning,
                        "FailedScheduling",
                        error.to_string(),
                    );
                }
            }
        }
        let outcome = Outcome {
            pod: attempt.pod,
            counted,
            unbound,
        };
        // The loop is gone only at shutdown; nobody needs the outcome then.
        let _ = self.report.send(outcome).await;
    }

    async fn release(&self, attempt: &Attempt, release: &Released) -> Result<(), BindError> {
        let released = bind::claims::release(&self.context, &attempt.pod, release).await;
        released.map_err(|source| BindError::Prepare {
            pod: attempt.pod.key.clone(),
            why: format!("give up a claim: {source}"),
        })
    }

    fn note_bound(&self, attempt: &Attempt, node: &str) {
        let note = format!("Successfully assigned {} to {node}", attempt.pod.key);
        let about = reference(&*attempt.pod.pod);
        self.context
            .recorder
            .event(about, EventType::Normal, "Scheduled", note);
        self.metrics
            .scheduled(attempt.attempts, attempt.since.elapsed());
    }

    async fn explain(
        &self,
        attempt: &Attempt,
        diagnosis: &Diagnosis,
        preempt: Option<&Candidate>,
        clear: bool,
    ) -> Result<(), BindError> {
        let (context, pod) = (&self.context, &attempt.pod);
        let message = diagnosis.message();
        context.recorder.event(
            reference(&*pod.pod),
            EventType::Warning,
            "FailedScheduling",
            message.as_str(),
        );
        let now = || rfc3339(context.clock.now());
        let nomination = match preempt {
            Some(candidate) => Nomination::Set(&candidate.node),
            None if clear => Nomination::Clear,
            None => Nomination::Keep,
        };
        bind::set_unschedulable(&context.client, pod, &message, nomination, now()).await?;
        let Some(candidate) = preempt else {
            return Ok(());
        };
        self.metrics.preempts(candidate.victims.len());
        for lesser in &candidate.displaced {
            bind::clear_nomination(&context.client, lesser).await?;
        }
        let by = &pod.class.scheduler_name;
        let evictions = candidate.victims.iter().map(|victim| async {
            bind::evict(&context.client, victim, by, now()).await?;
            let note = format!("Preempted by pod {} on node {}", pod.uid, candidate.node);
            let about = reference(&*victim.pod);
            context
                .recorder
                .event(about, EventType::Normal, "Preempted", note);
            Ok(())
        });
        // A node's pods at the most.
        futures::future::try_join_all(evictions).await.map(drop)
    }
}
