//! Making the Node object, and writing its status.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, NodeSpec, NodeStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::machine::architecture;
use crate::agent::Agent;

fn labels(agent: &Agent) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", agent.config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    out.extend(agent.config.node_labels.clone());
    out
}

/// Makes the Node, or brings the labels of the one that is there up to date.
pub async fn register(agent: &Agent, status: NodeStatus) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(agent.context.client.clone());
    let name = &agent.config.node_name;
    let wanted = labels(agent);
    if let Some(existing) = api.get_opt(name).await? {
        let have = existing.metadata.labels.as_ref();
        let missing: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(k, v)| have.and_then(|h| h.get(*k)) != Some(v))
            .collect();
        if missing.is_empty() {
            return Ok(existing);
        }
        let patch = json!({"metadata": {"labels": missing}});
        return api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
    }
    let taints = agent.config.register_with_taints.clone();
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(wanted),
            annotations: Some(
                [(
                    "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                    "true".to_owned(),
                )]
                .into(),
            ),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            ..Default::default()
        }),
        status: Some(status),
    };
    api.create(&PostParams::default(), &node).await
}

/// Writes the status.
pub async fn report(agent: &Agent, status: &NodeStatus) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(agent.context.client.clone());
    let mut value = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    // Addresses are merged by their type, of which there may be two.
    if let Some(list) = value
        .get_mut("addresses")
        .and_then(serde_json::Value::as_array_mut)
    {
        list.insert(0, json!({"$patch": "replace"}));
    }
    let patch = json!({"status": value});
    api.patch_status(
        &agent.config.node_name,
        &PatchParams::default(),
        &Patch::Strategic(&patch),
    )
    .await
    .map(drop)
}
