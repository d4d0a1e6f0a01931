//! Which kind behaves how.

use crate::{
    apps, batch,
    core::{pod, service, small, storage},
    others,
    strategy::{Plain, Simple, Strategy, label_name, path_segment_name},
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
        ("", "Service") => simple!(default: service::defaults, create_on_update: true),
        ("", "Secret") => simple!(default: small::secret, fields: &["type"]),
        ("", "Namespace") => {
            simple!(default: small::namespace, fields: &["status.phase"], name: label_name)
        }
        ("", "Node") => simple!(default: small::node),
        ("", "PersistentVolume") => &storage::Volume,
        ("", "PersistentVolumeClaim") => &storage::Claim,
        ("", "Endpoints") => simple!(default: small::endpoints, create_on_update: true),
        ("", "LimitRange") => simple!(default: small::limit_range, create_on_update: true),
        ("", "ReplicationController") => {
            simple!(default: small::replication_controller, generation: SPEC)
        }
        ("", "ResourceQuota") => simple!(default: small::resource_quota),
        ("", "Event") | ("events.k8s.io", "Event") => simple!(create_on_update: true),
        ("apps", "Deployment") => {
            simple!(default: apps::defaults::deployment, generation: &["spec", "metadata.annotations"])
        }
        ("apps", "ReplicaSet") => simple!(default: apps::defaults::replica_set, generation: SPEC),
        ("apps", "DaemonSet") => simple!(default: apps::defaults::daemon_set, generation: SPEC),
        ("apps", "StatefulSet") => simple!(default: apps::defaults::stateful_set, generation: SPEC),
        ("batch", "Job") => simple!(default: batch::defaults::job, generation: SPEC),
        ("batch", "CronJob") => simple!(default: batch::defaults::cron_job, generation: SPEC),
        ("autoscaling", _) => simple!(default: others::autoscaler),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            simple!(default: others::role_binding, create_on_update: true, name: path_segment_name)
        }
        ("rbac.authorization.k8s.io", _) => {
            simple!(create_on_update: true, name: path_segment_name)
        }
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
