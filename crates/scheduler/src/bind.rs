//! Execute: what the loop decided, written through the API.

pub mod claims;

use std::{sync::Arc, time::Duration};

use client::{Change, Context, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use crate::{cache::PodInfo, plugins::volumes::binding::is_bound};

/// What has to be written before a pod may be bound (PreBind).
#[derive(Clone, Debug)]
pub enum Prepare {
    /// A claim gets this volume.
    BindVolume {
        /// The volume.
        volume: Arc<PersistentVolume>,
        /// The claim.
        claim: Arc<PersistentVolumeClaim>,
    },
    /// A volume for the claim is to be made where this node reaches it.
    Provision {
        /// The claim.
        claim: Arc<PersistentVolumeClaim>,
        /// The node.
        node: Arc<str>,
    },
    /// A claim for devices gets some, and is reserved for the pod.
    Claim(claims::ClaimStep),
}

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
    /// What the binding needs first could not be had.
    #[error("prepare what pod {pod} needs: {why}")]
    Prepare {
        /// `namespace/name`.
        pod: Box<str>,
        /// What is wrong.
        why: String,
    },
    /// An extender would not bind it.
    #[error("bind pod {pod}: {source}")]
    Extender {
        /// `namespace/name`.
        pod: Box<str>,
        /// What it said.
        source: crate::extenders::ExtenderError,
    },
    /// It could not be decided on.
    #[error("schedule pod {pod}: {why}")]
    Failed {
        /// `namespace/name`.
        pod: Box<str>,
        /// What is wrong.
        why: String,
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

/// How long what a pod needs may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Volumes.
    pub volumes: Duration,
    /// Devices that have to be attached to the node.
    pub devices: Duration,
}

/// Writes what the pod needs before it may be bound to `node`, and waits until it has it.
pub async fn prepare(
    context: &Context,
    pod: &Arc<PodInfo>,
    steps: &[Prepare],
    node: &str,
    patience: Patience,
) -> Result<(), BindError> {
    let failed = |why: String| BindError::Prepare {
        pod: pod.key.clone(),
        why,
    };
    let is_claim = |step: &Prepare| matches!(step, Prepare::Claim(_));
    if !steps.iter().all(is_claim) {
        prepare_volumes(context, steps, patience.volumes)
            .await
            .map_err(failed)?;
    }
    let claims = claim_steps(steps);
    if claims.is_empty() {
        return Ok(());
    }
    claims::prepare(context, pod, &claims, node, patience.devices)
        .await
        .map_err(failed)
}

/// Those of the steps that are about claims for devices.
pub fn claim_steps(steps: &[Prepare]) -> Vec<&claims::ClaimStep> {
    let claims = steps.iter().filter_map(|step| match step {
        Prepare::Claim(step) => Some(step),
        _ => None,
    });
    claims.collect()
}

async fn prepare_volumes(
    context: &Context,
    steps: &[Prepare],
    patience: Duration,
) -> Result<(), String> {
    for step in steps {
        write_step(&context.client, step)
            .await
            .map_err(|e| e.to_string())?;
    }
    let claims = context.informers.get::<PersistentVolumeClaim>(Scope::All);
    let mut changes = claims.subscribe();
    let done = |step: &Prepare| -> Result<bool, String> {
        let (Prepare::BindVolume { claim, .. } | Prepare::Provision { claim, .. }) = step else {
            return Ok(true);
        };
        let meta = &claim.metadata;
        let (space, name) = (
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        let Some(now) = claims.store().get(space, name) else {
            return Err(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if is_bound(&now) {
            return Ok(true);
        }
        let selected = |c: &PersistentVolumeClaim| {
            let annotations = c.metadata.annotations.as_ref();
            annotations.and_then(|a| a.get(SELECTED_NODE).cloned())
        };
        if let Prepare::Provision { node, claim } = step {
            let is_newer = now.metadata.resource_version != claim.metadata.resource_version;
            if is_newer && selected(&now).is_none_or(|s| *s != **node) {
                return Err(format!("provisioning failed for PVC \"{name}\""));
            }
        }
        Ok(false)
    };
    let waiting = async {
        loop {
            let mut all = true;
            for step in steps {
                all &= done(step)?;
            }
            if all {
                return Ok(());
            }
            // Any claim's change will do: the check is cheap.
            let (Change::Applied { .. } | Change::Deleted(_)) = changes.next().await;
        }
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => Err("binding volumes: context deadline exceeded".to_owned()),
    }
}

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

async fn write_step(client: &Client, step: &Prepare) -> Result<(), kube::Error> {
    match step {
        Prepare::Claim(_) => Ok(()),
        Prepare::BindVolume { volume, claim } => {
            let volumes: Api<PersistentVolume> = Api::all(client.clone());
            let meta = &claim.metadata;
            let patch = json!({
                "metadata": {
                    "resourceVersion": volume.metadata.resource_version,
                    "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
                },
                "spec": {"claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": meta.uid,
                    "namespace": meta.namespace, "name": meta.name,
                    "resourceVersion": meta.resource_version,
                }},
            });
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            volumes
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map(drop)
        }
        Prepare::Provision { claim, node } => {
            let meta = &claim.metadata;
            let space = meta.namespace.as_deref().unwrap_or_default();
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), space);
            let patch = json!({
                "metadata": {
                    "resourceVersion": meta.resource_version,
                    "annotations": {SELECTED_NODE: &**node},
                },
            });
            let name = meta.name.as_deref().unwrap_or_default();
            claims
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map(drop)
        }
    }
}

/// What becomes of `status.nominatedNodeName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nomination<'n> {
    /// Stays as it is.
    Keep,
    /// Is this now.
    Set(&'n str),
    /// Is void.
    Clear,
}

/// Writes a condition, such as `PodScheduled=False`, and the nomination; nothing where both are so.
pub async fn set_unschedulable(
    client: &Client,
    pod: &Arc<PodInfo>,
    message: &str,
    nomination: Nomination<'_>,
    now: String,
) -> Result<(), BindError> {
    let current = pod.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let had = current
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled");
    let same_node = match nomination {
        Nomination::Keep => true,
        Nomination::Set(node) => pod.nominated_node() == Some(node),
        Nomination::Clear => pod.nominated_node().is_none(),
    };
    let same = had.is_some_and(|c| {
        c.status == "False"
            && c.reason.as_deref() == Some("Unschedulable")
            && c.message.as_deref() == Some(message)
    });
    if same_node && same {
        return Ok(());
    }
    let since = had
        .filter(|c| c.status == "False")
        .and_then(|c| c.last_transition_time.as_ref());
    let mut status = json!({"conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since.map_or(json!(now), |t| json!(t)),
        "observedGeneration": pod.pod.metadata.generation,
    }]});
    match nomination {
        Nomination::Keep => {}
        Nomination::Set(node) => status["nominatedNodeName"] = json!(node),
        Nomination::Clear => status["nominatedNodeName"] = Value::Null,
    }
    patch_status(client, pod, status).await
}

/// A pod is nominated to no node any more.
pub async fn clear_nomination(client: &Client, pod: &Arc<PodInfo>) -> Result<(), BindError> {
    patch_status(client, pod, json!({"nominatedNodeName": null})).await
}

async fn patch_status(client: &Client, pod: &Arc<PodInfo>, status: Value) -> Result<(), BindError> {
    let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
    let api: Api<kube::core::PartialObjectMeta<Pod>> =
        Api::namespaced(client.clone(), pod.namespace());
    let outcome = api
        .patch_status(
            pod.name(),
            &PatchParams::default(),
            &Patch::Strategic(&patch),
        )
        .await;
    match outcome {
        // It went, or another has its name: nobody needs to know any more.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(source) => Err(BindError::Condition {
            pod: pod.key.clone(),
            source,
        }),
        Ok(_) => Ok(()),
    }
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
