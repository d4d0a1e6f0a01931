//! Evicts pods from nodes whose `NoExecute` taints they do not, or no longer, tolerate.

use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Change, Informer, Key, Scope};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::lifecycle::remaining;
use super::taints::{self, Stay};
use crate::error::{Error, On};
use crate::kit::Kit;
use crate::pods::is_active;
use crate::write;

struct Controller {
    kit: Kit,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

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
    let all = pods.store().clone();
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let node = change.object();
        let before = change
            .old()
            .map(|old| taints::evicting(old))
            .unwrap_or_default();
        let now = taints::evicting(node);
        // Only more taints evict: pods under fewer ones find that out when their time comes.
        let pods = if now == before || now.is_empty() {
            Vec::new()
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
            return Ok(Requeue::OnChange);
        };
        let node = node_of(&pod).and_then(|node| self.nodes.store().get("", node));
        let taints = node.map(|node| taints::evicting(&node)).unwrap_or_default();
        if taints.is_empty() {
            return Ok(Requeue::OnChange);
        }
        match taints::stay(&pod, &taints) {
            Stay::Forever => return Ok(Requeue::OnChange),
            Stay::Seconds(seconds) => {
                let added = taints
                    .iter()
                    .filter_map(|taint| taint.time_added.as_ref())
                    .map(|time| time.0)
                    .max();
                if let Some(wait) = remaining(added, seconds, self.kit.now()) {
                    return Ok(Requeue::After(wait));
                }
            }
            Stay::No => {}
        }
        self.evict(key, &pod).await?;
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
