//! What controllers ask about pods, and how they make, delete and rank them.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use client::{Index, Informer, Key};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStatus, ObjectReference, Pod, PodCondition, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;

use crate::error::{Error, On};
use crate::kit::{Kit, until};
use crate::write;

/// Lower goes first when replicas are scaled down.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// The node it is bound to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    Some(node).filter(|node| !node.is_empty())
}

/// The pods by the node they are bound to.
pub(crate) fn by_node(pods: &Informer<Pod>) -> Index<Pod> {
    pods.store().index("spec.nodeName", |pod, say| {
        if let Some(node) = node_of(pod) {
            say(node);
        }
    })
}

/// Ended, one way or the other.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither ended nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Ready for `min_ready_seconds`; if it is not yet but will be, the time until then.
pub(crate) fn availability(
    pod: &Pod,
    min_ready_seconds: i32,
    now: Timestamp,
) -> (bool, Option<Duration>) {
    if !is_ready(pod) {
        return (false, None);
    }
    if min_ready_seconds <= 0 {
        return (true, None);
    }
    let Some(since) = ready_since(pod) else {
        return (false, None);
    };
    let Ok(at) = since.checked_add(jiff::SignedDuration::from_secs(min_ready_seconds.into()))
    else {
        return (false, None);
    };
    if at <= now {
        (true, None)
    } else {
        (false, Some(until(at, now)))
    }
}

/// A pod of the template, for this owner.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    generate_name: &str,
    owner: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(generate_name.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        ..Pod::default()
    }
}

/// The prefix of generated pod names.
pub(crate) fn name_prefix(owner: &str) -> String {
    format!("{owner}-")
}

/// Creates a pod and says so in the owner's events.
pub(crate) async fn create(kit: &Kit, owner: &ObjectReference, pod: &Pod) -> Result<Pod, Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(kit.client.clone(), namespace);
    let name = pod
        .metadata
        .name
        .as_ref()
        .or(pod.metadata.generate_name.as_ref());
    let result = api
        .create(&PostParams::default(), pod)
        .await
        .on("create", "pod", || {
            Key::new(namespace, name.map_or("", String::as_str))
        });
    match &result {
        Ok(pod) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            kit.recorder.event(
                owner.clone(),
                EventType::Normal,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            );
        }
        // Nobody reads events of a namespace that is going.
        Err(error) if error.is_namespace_terminating() => {}
        Err(error) => kit.recorder.event(
            owner.clone(),
            EventType::Warning,
            "FailedCreate",
            format!("Error creating: {}", error.api_message()),
        ),
    }
    result
}

/// Deletes a pod and says so in the owner's events.
pub(crate) async fn delete(kit: &Kit, owner: &ObjectReference, pod: &Pod) -> Result<(), Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(kit.client.clone(), namespace);
    let result = write::delete(&api, pod, None, None).await;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match &result {
        Ok(()) => kit.recorder.event(
            owner.clone(),
            EventType::Normal,
            "SuccessfulDelete",
            format!("Deleted pod: {name}"),
        ),
        Err(error) => kit.recorder.event(
            owner.clone(),
            EventType::Warning,
            "FailedDelete",
            format!("Error deleting: {}", error.api_message()),
        ),
    }
    result
}

/// Runs the actions in batches of 1, 2, 4, …; after a batch with a failure no further one starts, so
/// that a quota or a broken admission webhook is not asked a thousand times in vain.
/// Answers what succeeded, and the first failure.
pub(crate) async fn slow_start<T, Fut, R>(
    items: Vec<T>,
    mut action: impl FnMut(T) -> Fut,
) -> (Vec<R>, Option<Error>)
where
    Fut: Future<Output = Result<R, Error>>,
{
    let mut done = Vec::with_capacity(items.len());
    let mut failure = None;
    let mut items = items.into_iter();
    let mut batch = 1;
    while failure.is_none() && items.len() > 0 {
        for result in join_all(items.by_ref().take(batch).map(&mut action)).await {
            match result {
                Ok(result) => done.push(result),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        batch *= 2;
    }
    (done, failure)
}

/// Sorts so that the pods to go first when scaling down come first. `crowd` says how many related
/// pods share the pod's node.
pub(crate) fn sort_for_deletion(
    pods: &mut [Arc<Pod>],
    now: Timestamp,
    crowd: impl Fn(&Pod) -> usize,
) {
    pods.sort_by(|a, b| deletion_order(a, b, now, &crowd));
}

fn deletion_order(a: &Pod, b: &Pod, now: Timestamp, crowd: &impl Fn(&Pod) -> usize) -> Ordering {
    let assigned = |pod: &Pod| node_of(pod).is_some();
    let running = |pod: &Pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = |pod: &Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(DELETION_COST)?.parse::<i32>().ok())
            .unwrap_or_default()
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| running(a).cmp(&running(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| younger_first(ready_since(a), ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(created(a), created(b), now))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// Most restarts of one container, and of one sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else {
        return (0, 0);
    };
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let most = |statuses: &Option<Vec<ContainerStatus>>, counts: &dyn Fn(&str) -> bool| {
        let counted = statuses.iter().flatten().filter(|one| counts(&one.name));
        counted.map(|one| one.restart_count).max().unwrap_or(0)
    };
    (
        most(&status.container_statuses, &|_| true),
        most(&status.init_container_statuses, &|name| {
            sidecars.contains(&name)
        }),
    )
}

/// Orders by age in powers of two, so that about equally old pods are not always taken from the
/// youngest node.
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |time: Option<Timestamp>| {
        let seconds = time.map_or(0, |time| now.duration_since(time).as_secs().max(0));
        seconds.checked_ilog2().map_or(0, |log| log + 1)
    };
    magnitude(a).cmp(&magnitude(b))
}
