//! Pods nobody looks after: those bound to a node that is gone, those deleted before they had a node,
//! those deleted on a node that is out of service, and ended ones beyond a threshold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::informer::Store;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::error::{Error, On};
use crate::kit::Kit;
use crate::pods::{by_node, is_terminal, is_terminating, node_of, phase};
use crate::write;

/// Put on by an administrator: the node is off, and what it held may be used elsewhere.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Ended pods that are kept.
const KEPT: usize = 12_500;
/// A node that is missing may be about to register: its pods get this long.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods are counted this long after one more has ended.
const COUNT_AFTER: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// Look at one pod.
    Pod(Key),
    /// Look at it once more after the quarantine.
    Orphan(Key),
    /// Count the ended ones.
    Count,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) | Self::Orphan(key) => key.fmt(f),
            Self::Count => f.write_str("ended pods"),
        }
    }
}

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get::<Pod>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Task>();
    if !(kit.synced(&pods).await && kit.synced(&nodes).await) {
        return;
    }
    let known = nodes.store().clone();
    let later = queue.clone();
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        let pod = change.object();
        if change.is_deleted() {
            return None;
        }
        if is_terminal(pod) {
            later.add_after(Task::Count, COUNT_AFTER);
        }
        fate(pod, &known).map(|_| Task::Pod(Key::of(&**pod)))
    });
    let bound = by_node(&pods);
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let node = change.object();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let pods = if change.is_deleted() || is_out_of_service(node) {
            bound.get(name)
        } else {
            Vec::new()
        };
        let tasks = pods.iter().map(|pod| Task::Pod(Key::of(&**pod)));
        tasks.collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        pods,
        nodes,
    });
    let tasks = queue.clone();
    kit.run(queue, move |task| {
        let (controller, tasks) = (controller.clone(), tasks.clone());
        async move {
            match task {
                Task::Pod(key) => {
                    let pod = controller.pods.store().get_key(&key);
                    match pod
                        .as_deref()
                        .and_then(|pod| fate(pod, controller.nodes.store()))
                    {
                        Some(Fate::Orphaned) => tasks.add_after(Task::Orphan(key), QUARANTINE),
                        Some(Fate::Abandoned) => controller.delete(&key, None).await?,
                        None => {}
                    }
                }
                Task::Orphan(key) => controller.orphan(&key).await?,
                Task::Count => {
                    for key in surplus(&controller.pods.store().list(), KEPT) {
                        controller.delete(&key, None).await?;
                    }
                }
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its node is not there.
    Orphaned,
    /// It was deleted before it had a node, or on one that is out of service, so that no kubelet will
    /// finish the deletion.
    Abandoned,
}

fn fate(pod: &Pod, nodes: &Store<Node>) -> Option<Fate> {
    let abandoned = match node_of(pod).map(|node| nodes.get("", node)) {
        Some(None) => return Some(Fate::Orphaned),
        Some(Some(node)) => is_out_of_service(&node),
        None => true,
    };
    (abandoned && is_terminating(pod)).then_some(Fate::Abandoned)
}

/// Not ready, and somebody has said that it is off for sure.
fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    !ready && taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE))
}

/// The ended pods beyond `kept`: evicted ones first, then the oldest.
fn surplus(pods: &[Arc<Pod>], kept: usize) -> Vec<Key> {
    let mut ended: Vec<_> = pods
        .iter()
        .filter(|pod| is_terminal(pod) && !is_terminating(pod))
        .collect();
    let surplus = ended.len().saturating_sub(kept);
    ended.sort_by(|a, b| {
        let rank = |pod: &Pod| {
            let reason = pod
                .status
                .as_ref()
                .and_then(|status| status.reason.as_deref());
            (
                !(phase(pod) == "Failed" && reason == Some("Evicted")),
                pod.metadata.creation_timestamp.clone(),
                pod.metadata.name.clone(),
            )
        };
        rank(a).cmp(&rank(b))
    });
    ended.truncate(surplus);
    ended.into_iter().map(|pod| Key::of(&**pod)).collect()
}

impl Controller {
    async fn orphan(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.store().get_key(key) else {
            return Ok(());
        };
        if fate(&pod, self.nodes.store()) != Some(Fate::Orphaned) {
            return Ok(());
        }
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default();
        let nodes: Api<Node> = Api::all(self.kit.client.clone());
        // The cache may lag behind a node that has just registered.
        if nodes
            .get_opt(&node)
            .await
            .on("get", "node", || Key::new("", &node))?
            .is_some()
        {
            return Ok(());
        }
        self.delete(key, Some("PodGC: node no longer exists")).await
    }

    /// Deletes without grace; the pod first says that it failed, and why if there is a reason.
    async fn delete(&self, key: &Key, reason: Option<&str>) -> Result<(), Error> {
        let Some(pod) = self.pods.store().get_key(key) else {
            return Ok(());
        };
        let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        if !is_terminal(&pod) {
            let mut patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"phase": "Failed", "observedGeneration": pod.metadata.generation},
            });
            if let Some(reason) = reason {
                patch["status"]["conditions"] = json!([{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": reason,
                    "lastTransitionTime": self.kit.time(),
                    "observedGeneration": pod.metadata.generation,
                }]);
            }
            let patched = api
                .patch_status(
                    &key.name,
                    &PatchParams::default(),
                    &Patch::Strategic(&patch),
                )
                .await;
            match patched.on("patch status of", "pod", || key.clone()) {
                Err(error) if error.is_not_found() => return Ok(()),
                result => drop(result?),
            }
        }
        write::delete(&api, &*pod, None, Some(0)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    #[test]
    fn the_oldest_ended_pods_are_surplus() {
        let some = pods([
            "a Succeeded created=30",
            "b Failed created=10",
            "c Running ready created=1",
            "d Failed created=20",
            "e Failed created=5 deleting",
        ]);
        let names = |kept| {
            surplus(&some, kept)
                .into_iter()
                .map(|key| key.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(3), Vec::<String>::new());
        assert_eq!(names(1), ["b", "d"]);
        assert_eq!(names(0), ["b", "d", "a"]);
        let mut evicted = some.to_vec();
        let status = Arc::make_mut(&mut evicted[3]).status.as_mut().unwrap();
        status.reason = Some("Evicted".to_owned());
        let first = surplus(&evicted, 2);
        assert_eq!(&*first[0].name, "d", "evicted ones go first");
    }

    #[test]
    fn a_node_is_out_of_service_when_it_is_off_and_said_to_be() {
        let taint =
            json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute", "value": "nodeshutdown"}]);
        for (ready, taints, expected) in [
            ("Unknown", taint.clone(), true),
            ("False", taint.clone(), true),
            ("True", taint, false),
            ("Unknown", json!([]), false),
        ] {
            let node = serde_json::from_value(json!({
                "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }));
            assert_eq!(
                is_out_of_service(&node.unwrap()),
                expected,
                "{ready} {taints}"
            );
        }
    }
}
