//! A pod as simulated nodes see it: of the whole object only what [`crate::plan`] asks is decoded,
//! so that a watch of 150,000 pods costs little and nothing of it is kept.

use std::borrow::Cow;

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{Resource, core::ObjectMeta};
use serde::Deserialize;

/// See the module.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SimPod {
    /// Without labels, annotations and managedFields.
    #[serde(deserialize_with = "client::informer::slim")]
    pub metadata: ObjectMeta,
    /// What runs where.
    #[serde(default)]
    pub spec: Spec,
    /// What was reported.
    #[serde(default)]
    pub status: Status,
}

/// Of `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The node it is bound to.
    #[serde(default)]
    pub node_name: String,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Its init containers.
    #[serde(default)]
    pub init_containers: Vec<Container>,
    /// Conditions others set that readiness waits for.
    #[serde(default)]
    pub readiness_gates: Vec<serde::de::IgnoredAny>,
}

/// Of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image.
    #[serde(default)]
    pub image: String,
    /// `Always` for a sidecar.
    #[serde(default)]
    pub restart_policy: String,
}

/// Of `status`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    /// Phase.
    #[serde(default)]
    pub phase: String,
}

impl Resource for SimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        Pod::kind(dynamic)
    }
    fn group(dynamic: &()) -> Cow<'_, str> {
        Pod::group(dynamic)
    }
    fn version(dynamic: &()) -> Cow<'_, str> {
        Pod::version(dynamic)
    }
    fn plural(dynamic: &()) -> Cow<'_, str> {
        Pod::plural(dynamic)
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_asked_is_kept() {
        let pod: SimPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"a": "b"},
                         "managedFields": [{"fieldsV1": {"f:spec": {}}}], "deletionGracePeriodSeconds": 5},
            "spec": {"nodeName": "sim-1", "containers": [{"name": "c", "image": "i", "env": [{"name": "X"}]}]},
            "status": {"phase": "Pending", "conditions": [{"type": "Ready"}]},
        }))
        .unwrap();
        assert_eq!(pod.metadata.labels, None);
        assert_eq!(pod.metadata.managed_fields, None);
        assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(5));
        assert_eq!(pod.spec.node_name, "sim-1");
        assert_eq!(pod.spec.containers[0].image, "i");
        assert_eq!(pod.status.phase, "Pending");
    }
}
