//! Which kind behaves how.

use crate::{
    apps::workloads,
    batch::job,
    core::{config, event, namespace, node, pod, service, small, storage},
    others, rbac,
    strategy::{Plain, Simple, Strategy},
};

/// A [`Simple`] strategy as a constant.
macro_rules! simple {
    ($($field:ident: $value:expr),* $(,)?) => {{
        static STRATEGY: Simple = Simple { $($field: $value,)* ..Simple::PLAIN };
        &STRATEGY
    }};
}

/// What this kind does specially.
pub fn strategy(group: &str, kind: &str) -> &'static dyn Strategy {
    const SPEC: &[&str] = &["spec"];
    match (group, kind) {
        ("", "Pod") => &pod::Pod,
        ("", "PodTemplate") => simple!(default: small::pod_template, generation: &["template"]),
        ("", "Service") => &service::Service,
        ("", "Secret") => &config::Secret,
        ("", "ConfigMap") => &config::ConfigMap,
        ("", "Namespace") => &namespace::Namespace,
        ("", "Node") => &node::Node,
        ("", "PersistentVolume") => &storage::Volume,
        ("", "PersistentVolumeClaim") => &storage::Claim,
        ("", "Endpoints") => {
            simple!(default: small::endpoints, validate: service::endpoints, create_on_update: true)
        }
        ("", "LimitRange") => simple!(default: small::limit_range, create_on_update: true),
        ("", "ReplicationController") => &workloads::ReplicationController,
        ("", "ResourceQuota") => simple!(default: small::resource_quota),
        ("", "Event") | ("events.k8s.io", "Event") => &event::Event,
        ("apps", "Deployment") => &workloads::Deployment,
        ("apps", "ReplicaSet") => &workloads::ReplicaSet,
        ("apps", "DaemonSet") => &workloads::DaemonSet,
        ("apps", "ControllerRevision") => &workloads::ControllerRevision,
        ("apps", "StatefulSet") => &workloads::StatefulSet,
        ("batch", "Job") => &job::Job,
        ("batch", "CronJob") => &job::CronJob,
        ("autoscaling", _) => simple!(default: others::autoscaler),
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::Binding { cluster: false },
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &rbac::Binding { cluster: true },
        ("rbac.authorization.k8s.io", "Role") => &rbac::Role { cluster: false },
        ("rbac.authorization.k8s.io", _) => &rbac::Role { cluster: true },
        ("coordination.k8s.io", _) => simple!(create_on_update: true, unconditional_update: false),
        ("discovery.k8s.io", _) => {
            simple!(default: others::endpoint_slice, generation: &["endpoints", "ports", "addressType", "metadata.labels"])
        }
        ("storage.k8s.io", "StorageClass") => simple!(default: others::storage_class),
        ("storage.k8s.io", "CSIDriver") => {
            simple!(default: others::csi_driver, generation: SPEC, unconditional_update: false)
        }
        ("storage.k8s.io", "CSIStorageCapacity" | "VolumeAttachment" | "CSINode") => {
            simple!(unconditional_update: false)
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            simple!(default: others::network_policy, generation: SPEC)
        }
        ("networking.k8s.io", "IngressClass") => {
            simple!(default: others::ingress_class, generation: SPEC)
        }
        ("networking.k8s.io", "Ingress") => simple!(generation: SPEC),
        ("policy", "PodDisruptionBudget") => simple!(generation: SPEC, unconditional_update: false),
        ("scheduling.k8s.io", "PriorityClass") => {
            simple!(default: others::priority_class, generation: &["value"])
        }
        ("node.k8s.io", "RuntimeClass") => {
            simple!(create_on_update: true, unconditional_update: false)
        }
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            simple!(default: others::webhooks, generation: &["webhooks"], unconditional_update: false)
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy",
        ) => {
            simple!(default: others::admission_policy, generation: SPEC, unconditional_update: false)
        }
        ("admissionregistration.k8s.io", _) => {
            simple!(default: others::admission_policy_binding, generation: SPEC, unconditional_update: false)
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            simple!(default: others::flow_schema, generation: SPEC)
        }
        ("flowcontrol.apiserver.k8s.io", _) => {
            simple!(default: others::priority_level, generation: SPEC)
        }
        ("apiextensions.k8s.io", _) => {
            simple!(default: others::custom_resource_definition, generation: SPEC)
        }
        ("apiregistration.k8s.io", _) => simple!(default: others::api_service),
        ("resource.k8s.io", "ResourceClaim") => simple!(default: others::resource_claim),
        ("resource.k8s.io", "ResourceClaimTemplate") => {
            simple!(default: others::resource_claim_template)
        }
        ("resource.k8s.io", "ResourceSlice" | "DeviceClass" | "DeviceTaintRule") => {
            simple!(generation: SPEC)
        }
        ("certificates.k8s.io", "ClusterTrustBundle" | "PodCertificateRequest") => {
            simple!(unconditional_update: false)
        }
        ("internal.apiserver.k8s.io" | "storagemigration.k8s.io", _) => {
            simple!(unconditional_update: false)
        }
        _ => &Plain,
    }
}
