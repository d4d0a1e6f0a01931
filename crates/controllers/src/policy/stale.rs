//! Pods that were told they would be deleted and then were not: the condition DisruptionTarget is
//! taken back when nothing has come of it for a while.

use std::time::Duration;

use client::controller::Requeue;
use client::{Change, Informer, Key};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::{Kit, until};
use crate::pods::{condition, is_terminal, is_terminating};

/// How long the deletion may take to come.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);
const TYPE: &str = "DisruptionTarget";
/// The kubelet ends pods itself, and deletes none.
const BY_KUBELET: &str = "TerminationByKubelet";

/// How long the condition may stay, if it is one that has to be carried out.
fn patience(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let target = condition(pod, TYPE).filter(|target| target.status == "True")?;
    let by_kubelet = target.reason.as_deref() == Some(BY_KUBELET);
    if by_kubelet || is_terminating(pod) || is_terminal(pod) {
        return None;
    }
    let since = target.last_transition_time.as_ref()?.0;
    let end = since.checked_add(PATIENCE).ok()?;
    Some(if end > now {
        until(end, now)
    } else {
        Duration::ZERO
    })
}

/// Runs until the shutdown.
pub(super) async fn run(kit: Kit, pods: Informer<Pod>) {
    let queue = kit.queue::<Key>();
    let clock = kit.clock.clone();
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        let pod = change.object();
        let stale = !change.is_deleted() && patience(pod, clock.now()).is_some();
        stale.then(|| Key::of(&**pod))
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, pods) = (inner.clone(), pods.clone());
        async move {
            let pod = pods.store().get_key(&key);
            match pod.and_then(|pod| Some((patience(&pod, kit.now())?, pod))) {
                None => Ok(Requeue::OnChange),
                Some((wait, _)) if !wait.is_zero() => Ok(Requeue::After(wait)),
                Some((_, pod)) => take_back(&kit, &key, &pod).await,
            }
        }
    })
    .await;
}

async fn take_back(kit: &Kit, key: &Key, pod: &Pod) -> Result<Requeue, Error> {
    let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    let patch = json!({"metadata": meta, "status": {"conditions": [{
        "type": TYPE,
        "status": "False",
        "reason": null,
        "message": null,
        "lastTransitionTime": kit.time(),
        "observedGeneration": pod.metadata.generation,
    }]}});
    let api: Api<Pod> = Api::namespaced(kit.client.clone(), &key.namespace);
    let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
    let patched = api.patch_status(&key.name, &params, &patch).await;
    match patched.on("patch status of", "pod", || key.clone()) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Requeue::OnChange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn how_long_a_pod_may_be_about_to_go() {
        let seconds = |text: &str, reason: &str, status: &str| {
            let mut pod = pod(text);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(json!([{
                "type": TYPE, "status": status, "reason": reason, "lastTransitionTime": "1970-01-01T00:01:00Z",
            }]))
            .unwrap();
            let at = |second| Timestamp::from_second(second).unwrap();
            [at(100), at(180)].map(|now| patience(&pod, now).map(|wait| wait.as_secs()))
        };
        assert_eq!(seconds("p Running", "x", "True"), [Some(80), Some(0)]);
        assert_eq!(seconds("p Running", BY_KUBELET, "True"), [None; 2]);
        assert_eq!(seconds("p Running", "x", "False"), [None; 2]);
        assert_eq!(seconds("p Failed", "x", "True"), [None; 2]);
        assert_eq!(seconds("p Running deleting", "x", "True"), [None; 2]);
    }
}
