//! Evicts pods from nodes whose `NoExecute` taints they do not, or no longer, tolerate.

use std::collections::HashMap;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use super::taints::{self, Stay};
use crate::error::{Error, On};
use crate::kit::{Kit, until};
use crate::pods::is_active;
use crate::write;

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    waiting: Waiting,
}

/// The pods whose time is running, and when each was first seen under the taints.
type Waiting = Arc<Mutex<HashMap<Key, (Option<String>, Timestamp)>>>;

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|node| !node.is_empty())
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let pods = kit.informers.get::<Pod>(Scope::All);
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !(kit.synced(&pods).await && kit.synced(&nodes).await) {
        return;
    }
    let tainted = nodes.store().clone();
    kit.follow(&pods, &queue, move |change: Change<Pod>| {
        let pod = change.object();
        let node = tainted.get("", node_of(pod)?)?;
        (!change.is_deleted() && !taints::evicting(&node).is_empty()).then(|| Key::of(&**pod))
    });
    let waiting = Waiting::default();
    let timed = waiting.clone();
    let all = pods.store().clone();
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let node = change.object();
        let before = change
            .old()
            .map(|old| taints::evicting(old))
            .unwrap_or_default();
        let now = taints::evicting(node);
        let pods = if now == before {
            Vec::new()
        } else if now.is_empty() {
            let timed = timed.lock();
            timed.keys().filter_map(|key| all.get_key(key)).collect()
        } else {
            all.list()
        };
        let name = node.metadata.name.clone();
        pods.into_iter()
            .filter(|pod| node_of(pod) == name.as_deref())
            .map(|pod| Key::of(&*pod))
            .collect::<Vec<_>>()
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        pods,
        nodes,
        waiting,
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.store().get_key(key).filter(|pod| is_active(pod)) else {
            self.waiting.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let node = node_of(&pod).and_then(|node| self.nodes.store().get("", node));
        let taints = node
            .as_ref()
            .map(|node| taints::evicting(node))
            .unwrap_or_default();
        let now = self.kit.now();
        let seen = {
            let waiting = self.waiting.lock();
            let known = waiting.get(key).filter(|(uid, _)| *uid == pod.metadata.uid);
            known.map(|(_, seen)| *seen)
        };
        match taints::stay(&pod, &taints, seen.unwrap_or(now)) {
            Stay::Forever => {
                self.waiting.lock().remove(key);
                // A node that is gone takes its pods with it.
                if seen.is_some() && node.is_some() {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.kit
                        .recorder
                        .on(&*pod, EventType::Normal, "TaintManagerEviction", message);
                }
                return Ok(Requeue::OnChange);
            }
            Stay::Until(end) if end > now => {
                let entry = (pod.metadata.uid.clone(), seen.unwrap_or(now));
                self.waiting.lock().insert(key.clone(), entry);
                return Ok(Requeue::After(until(end, now)));
            }
            Stay::Until(_) | Stay::No => {}
        }
        self.evict(key, &pod).await?;
        self.waiting.lock().remove(key);
        Ok(Requeue::OnChange)
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        self.kit.recorder.on(
            pod,
            EventType::Normal,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {key}"),
        );
        let api: Api<Pod> = Api::namespaced(self.kit.client.clone(), &key.namespace);
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": self.kit.time(),
            "observedGeneration": pod.metadata.generation,
        }]}});
        let marked = api
            .patch_status(
                &key.name,
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await;
        match marked.on("patch status of", "pod", || key.clone()) {
            Err(error) if error.is_not_found() => return Ok(()),
            result => drop(result?),
        }
        write::delete(&api, pod, None, None).await
    }
}
