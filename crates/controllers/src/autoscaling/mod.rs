//! HorizontalPodAutoscaler: brings the number of replicas to where metrics say they are enough.
//!
//! Every autoscaler is looked at each [`PERIOD`], as metrics change without an object changing. What
//! is measured is read from the metrics APIs, if somebody serves them; without them the conditions
//! say so and nothing is scaled.

mod behavior;
mod calculate;
mod conditions;
mod counts;
mod evaluate;
mod metrics;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::labels::Selector;
use client::controller::Requeue;
use client::events::EventType;
use client::{Informer, Key, Scope};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus,
    MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::behavior::History;
use self::conditions::Conditions;
use self::counts::{Came, Counted};
use self::evaluate::Evaluation;
use self::metrics::Reader;
use crate::error::Error;
use crate::kit::Kit;
use crate::scale::{self, Resource, Scaled};
use crate::write;

/// How often metrics are read, as upstream does.
const PERIOD: Duration = Duration::from_secs(15);

struct Controller {
    kit: Kit,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    /// What was recommended and done lately; an entry per autoscaler, bounded by its windows. Lost
    /// with the process: then scaling down waits for a new window to fill.
    histories: Mutex<HashMap<Key, History>>,
    /// Which pods each autoscaler counts, to find those that two of them want.
    selectors: Mutex<HashMap<Key, Selector>>,
    counted: Counted,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let autoscalers = kit.informers.get::<HorizontalPodAutoscaler>(Scope::All);
    let pods = kit.informers.get::<Pod>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&autoscalers).await && kit.synced(&pods).await) {
        return;
    }
    kit.follow(
        &autoscalers,
        &queue,
        |change: client::Change<HorizontalPodAutoscaler>| {
            // One's own status does not bring it back sooner than the period.
            let same = change
                .old()
                .is_some_and(|old| old.spec == change.object().spec);
            (!same || change.is_deleted()).then(|| Key::of(&**change.object()))
        },
    );
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        autoscalers,
        pods,
        histories: Mutex::default(),
        selectors: Mutex::default(),
        counted: Counted::new(&kit.metrics),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(autoscaler) = self.autoscalers.store().get_key(key) else {
            self.histories.lock().remove(key);
            self.selectors.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let old = autoscaler.status.clone().unwrap_or_default();
        let mut status = old.clone();
        let mut conditions = Conditions::new(&old, self.kit.time());
        let began = Instant::now();
        let came = self
            .autoscale(key, &autoscaler, &mut conditions, &mut status)
            .await;
        self.counted.looked(came, began);
        status.conditions = conditions.into_list();
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.kit.client.clone(), &key.namespace);
        match write::status(&api, &*autoscaler, &old, &status).await {
            Err(error) if error.is_not_found() => return Ok(Requeue::OnChange),
            Err(error) if !error.is_conflict() => {
                self.warn(&autoscaler, "FailedUpdateStatus", error.api_message());
                return Err(error);
            }
            // Somebody else's write brings it back; the status is computed anew then.
            _ => {}
        }
        Ok(Requeue::After(PERIOD))
    }

    fn warn(&self, autoscaler: &HorizontalPodAutoscaler, reason: &str, message: String) {
        self.kit
            .recorder
            .on(autoscaler, EventType::Warning, reason, message);
    }

    /// One look at the metrics, and what follows. Failures end up in conditions and events.
    async fn autoscale(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        conditions: &mut Conditions,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Came {
        let spec = &autoscaler.spec;
        let client = &self.kit.client;
        let target = match scale_of(client, &key.namespace, &spec.scale_target_ref).await {
            Ok(target) => target,
            Err(why) => {
                let message = format!(
                    "the HPA controller was unable to get the target's current scale: {why}"
                );
                conditions.set("AbleToScale", false, "FailedGetScale", message);
                self.warn(autoscaler, "FailedGetScale", why);
                return Came::FAILED;
            }
        };
        conditions.set(
            "AbleToScale",
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        let now = self.kit.now();
        let current = target.replicas();
        let min = spec.min_replicas.unwrap_or(1);
        let mut history = self.histories.lock().remove(key).unwrap_or_default();
        history.begin(current, now);
        let mut measured: Option<Vec<MetricStatus>> = None;
        let mut reason = String::new();
        let mut wanted = current;
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            conditions.set("ScalingActive", false, "ScalingDisabled", message);
        } else if current > spec.max_replicas {
            "Current number of replicas above Spec.MaxReplicas".clone_into(&mut reason);
            wanted = spec.max_replicas;
        } else if current < min {
            "Current number of replicas below Spec.MinReplicas".clone_into(&mut reason);
            wanted = min;
        } else {
            let evaluation = self.evaluate(key, autoscaler, &target, conditions).await;
            measured = Some(evaluation.statuses);
            match evaluation.outcome {
                Err(why) => {
                    self.histories.lock().insert(key.clone(), history);
                    status.current_replicas = Some(current);
                    status.current_metrics = measured;
                    self.warn(autoscaler, "FailedComputeMetricsReplicas", why);
                    return Came::FAILED;
                }
                Ok((replicas, metric)) => {
                    if replicas > current {
                        reason = format!("{metric} above target");
                    } else if replicas < current {
                        "All metrics below target".clone_into(&mut reason);
                    }
                    let normal =
                        behavior::normalize(spec, current, replicas, min, &mut history, now);
                    conditions.set("AbleToScale", true, normal.able.0, normal.able.1);
                    let (limited, why, message) = normal.limited;
                    conditions.set("ScalingLimited", limited, why, message);
                    wanted = normal.replicas;
                }
            }
        }
        let mut rescaled = false;
        if wanted != current {
            match target.write(client, wanted).await {
                Ok(()) => {
                    rescaled = true;
                    history.scaled(spec.behavior.is_some(), current, wanted, now);
                    let message = format!(
                        "the HPA controller was able to update the target scale to {wanted}"
                    );
                    conditions.set("AbleToScale", true, "SucceededRescale", message);
                    self.kit.recorder.on(
                        autoscaler,
                        EventType::Normal,
                        "SuccessfulRescale",
                        format!("New size: {wanted}; reason: {reason}"),
                    );
                }
                Err(why) => {
                    let message =
                        format!("the HPA controller was unable to update the target scale: {why}");
                    conditions.set("AbleToScale", false, "FailedUpdateScale", message);
                    self.warn(
                        autoscaler,
                        "FailedRescale",
                        format!("New size: {wanted}; reason: {reason}; error: {why}"),
                    );
                }
            }
        }
        self.histories.lock().insert(key.clone(), history);
        status.current_replicas = Some(current);
        status.current_metrics = measured;
        if rescaled || wanted == current {
            status.desired_replicas = wanted;
        }
        if rescaled {
            status.last_scale_time = Some(self.kit.time());
        }
        if rescaled || wanted == current {
            Came::to(current, wanted)
        } else {
            Came::FAILED
        }
    }

    async fn evaluate(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        target: &Scaled,
        conditions: &mut Conditions,
    ) -> Evaluation {
        let selector = match self.selector(key, autoscaler, target, conditions) {
            Ok(selector) => selector,
            Err(why) => return Evaluation::failed(why),
        };
        let pods: Vec<_> = self
            .pods
            .store()
            .list_in(&key.namespace)
            .into_iter()
            .filter(|pod| counts(&selector, pod))
            .collect();
        let reader = Reader {
            client: &self.kit.client,
            namespace: &key.namespace,
            selector: target.selector(),
        };
        let evaluation = evaluate::evaluate(
            autoscaler,
            target.replicas(),
            target.status_replicas(),
            &pods,
            &reader,
            &self.counted,
            self.kit.now(),
        )
        .await;
        for (reason, message) in &evaluation.warnings {
            self.warn(autoscaler, reason, message.clone());
        }
        if let Some((active, reason, message)) = evaluation.active.clone() {
            conditions.set("ScalingActive", active, reason, message);
        }
        evaluation
    }

    /// Which pods count. Pods that several autoscalers count cannot be scaled by any.
    fn selector(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        target: &Scaled,
        conditions: &mut Conditions,
    ) -> Result<Selector, String> {
        let text = target.selector();
        if text.is_empty() {
            let why = "selector is required".to_owned();
            self.warn(autoscaler, "SelectorRequired", why.clone());
            let message = "the HPA target's scale is missing a selector";
            conditions.set("ScalingActive", false, "InvalidSelector", message);
            return Err(why);
        }
        let parsed = match Selector::parse(text) {
            Ok(selector) => selector,
            Err(why) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {why}"
                );
                self.warn(autoscaler, "InvalidSelector", why.clone());
                conditions.set("ScalingActive", false, "InvalidSelector", why.clone());
                return Err(why);
            }
        };
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), parsed.clone());
        let pods = self.pods.store().list_in(&key.namespace);
        let ours = || pods.iter().filter(|pod| counts(&parsed, pod));
        let mut all: Vec<_> = selectors
            .iter()
            .filter(|(other, selector)| {
                other.namespace == key.namespace
                    && (*other == key || ours().any(|pod| counts(selector, pod)))
            })
            .map(|(other, _)| other.to_string())
            .collect();
        if all.len() < 2 {
            return Ok(parsed);
        }
        all.sort();
        let why = format!(
            "pods by selector {text} are controlled by multiple HPAs: [{}]",
            all.join(" ")
        );
        drop(selectors);
        self.warn(autoscaler, "AmbiguousSelector", why.clone());
        conditions.set("ScalingActive", false, "AmbiguousSelector", why.clone());
        Err(why)
    }
}

/// Is the pod one of those the selector means?
fn counts(selector: &Selector, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.matches_with(|name| labels?.get(name).map(String::as_str))
}

/// Where the objects that an autoscaler names are served.
async fn resource_of(
    client: &kube::Client,
    object: &CrossVersionObjectReference,
) -> Result<Resource, String> {
    let api_version = object.api_version.as_deref().unwrap_or("v1");
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let found = Resource::find(client, api_version, &object.kind).await?;
    found.ok_or_else(|| {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        format!("no matches for kind {:?} in group {group:?}", object.kind)
    })
}

async fn scale_of(
    client: &kube::Client,
    namespace: &str,
    target: &CrossVersionObjectReference,
) -> Result<Scaled, String> {
    let resource = resource_of(client, target).await?;
    let scaled = Scaled::read(client, &resource, namespace, &target.name).await;
    scaled.map_err(|error| scale::text(&error))
}
