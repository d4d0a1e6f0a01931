//! Execute: what the loop decided, written through the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use crate::cache::PodInfo;

/// A write that failed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The pod, or its binding, is not as it was decided on.
    #[error("bind pod {pod} to node {node}: {source}")]
    Binding {
        /// `namespace/name`.
        pod: Box<str>,
        /// The node's name.
        node: Box<str>,
        /// What the API said.
        source: kube::Error,
    },
    /// The condition could not be written.
    #[error("set condition PodScheduled of pod {pod}: {source}")]
    Condition {
        /// `namespace/name`.
        pod: Box<str>,
        /// What the API said.
        source: kube::Error,
    },
    /// A victim could not be deleted.
    #[error("evict pod {pod}: {source}")]
    Evict {
        /// `namespace/name`.
        pod: Box<str>,
        /// What the API said.
        source: kube::Error,
    },
}

fn pods(client: &Client, pod: &PodInfo) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.namespace())
}

/// Binds the pod. The uid makes sure that it is still the pod that was decided on.
pub async fn bind(client: &Client, pod: &Arc<PodInfo>, node: &str) -> Result<(), BindError> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": &*pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    pods(client, pod)
        .create_subresource::<Value, Value>("binding", pod.name(), &PostParams::default(), &binding)
        .await
        .map(drop)
        .map_err(|source| BindError::Binding {
            pod: pod.key.clone(),
            node: node.into(),
            source,
        })
}

/// Writes `PodScheduled=False`, and the nominated node when preemption made room.
pub async fn set_unschedulable(
    client: &Client,
    pod: &Arc<PodInfo>,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: String,
) -> Result<(), BindError> {
    let current = pod.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let had = current
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled");
    let same_node = nominated.is_none()
        || pod
            .pod
            .status
            .as_ref()
            .and_then(|s| s.nominated_node_name.as_deref())
            == nominated;
    if same_node
        && had.is_some_and(|c| {
            c.status == "False"
                && c.reason.as_deref() == Some(reason)
                && c.message.as_deref() == Some(message)
        })
    {
        return Ok(());
    }
    let since = had
        .filter(|c| c.status == "False")
        .and_then(|c| c.last_transition_time.as_ref());
    let mut status = json!({"conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since.map_or(json!(now), |t| json!(t)),
        "observedGeneration": pod.pod.metadata.generation,
    }]});
    if let Some(node) = nominated {
        status["nominatedNodeName"] = json!(node);
    }
    let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
    pods(client, pod)
        .patch_status(
            pod.name(),
            &PatchParams::default(),
            &Patch::Strategic(&patch),
        )
        .await
        .map(drop)
        .map_err(|source| BindError::Condition {
            pod: pod.key.clone(),
            source,
        })
}

/// Deletes a victim, after saying in its status why.
pub async fn evict(
    client: &Client,
    victim: &Arc<PodInfo>,
    by: &str,
    now: String,
) -> Result<(), BindError> {
    let api = pods(client, victim);
    let message = format!("{by}: preempting to accommodate a higher priority pod");
    let patch = json!({
        "metadata": {"uid": &*victim.uid},
        "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": message, "lastTransitionTime": now,
        }]},
    });
    let gone =
        |source: &kube::Error| matches!(source, kube::Error::Api(status) if status.code == 404);
    let failed = |source| BindError::Evict {
        pod: victim.key.clone(),
        source,
    };
    match api
        .patch_status(
            victim.name(),
            &PatchParams::default(),
            &Patch::Strategic(&patch),
        )
        .await
    {
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(_) => {}
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(victim.uid.to_string()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(victim.name(), &params).await {
        Err(e) if !gone(&e) => Err(failed(e)),
        _ => Ok(()),
    }
}
