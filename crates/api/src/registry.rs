//! Which kind behaves how.

use schema::Value;

use crate::{
    apps::workloads,
    batch::{cron_job, job},
    core::{config, endpoints, event, limits, namespace, node, pod, service, small, storage},
    custom,
    groups::{
        admission, autoscaling, certificates, coordination, devices, discovery, extensions,
        flowcontrol, networking, node as node_class, pod_groups, policy, rbac, scheduling,
        storage as volumes, storage_versions,
    },
    strategy::{Plain, Simple, Strategy, path_segment_name},
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
    match (group, kind) {
        ("", "Pod") => &pod::Pod,
        ("", "PodTemplate") => simple!(
            default: small::pod_template,
            validate: small::validate_pod_template,
            generation: &["template"],
        ),
        ("", "Service") => &service::Service,
        ("", "Secret") => &config::Secret,
        ("", "ConfigMap") => &config::ConfigMap,
        ("", "Namespace") => &namespace::Namespace,
        ("", "Node") => &node::Node,
        ("", "PersistentVolume") => &storage::Volume,
        ("", "PersistentVolumeClaim") => &storage::Claim,
        ("", "Endpoints") => {
            simple!(
                default: small::endpoints,
                validate: endpoints::endpoints,
                result: Some(endpoints::endpoints_after),
                warnings: endpoints::warnings,
                create_on_update: true,
            )
        }
        ("", "LimitRange") => simple!(
            default: small::limit_range,
            validate: limits::limit_range,
            create_on_update: true,
        ),
        ("", "ReplicationController") => &workloads::ReplicationController,
        ("", "ResourceQuota") => &limits::ResourceQuota,
        ("", "Event") => &event::Event { core: true },
        ("events.k8s.io", "Event") => &event::Event { core: false },
        ("apps", "Deployment") => &workloads::Deployment,
        ("apps", "ReplicaSet") => &workloads::ReplicaSet,
        ("apps", "DaemonSet") => &workloads::DaemonSet,
        ("apps", "ControllerRevision") => &workloads::ControllerRevision,
        ("apps", "StatefulSet") => &workloads::StatefulSet,
        ("batch", "Job") => &job::Job,
        ("batch", "CronJob") => &cron_job::CronJob,
        ("autoscaling", _) => {
            simple!(
                default: autoscaling::autoscaler,
                validate: autoscaling::validate,
                result: Some(autoscaling::validate_after),
                status: autoscaling::status,
            )
        }
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::Binding { cluster: false },
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &rbac::Binding { cluster: true },
        ("rbac.authorization.k8s.io", "Role") => &rbac::Role { cluster: false },
        ("rbac.authorization.k8s.io", _) => &rbac::Role { cluster: true },
        ("coordination.k8s.io", "Lease") => {
            simple!(
                prepare: coordination::prepare_lease,
                validate: coordination::lease,
                create_on_update: true,
                unconditional_update: false,
            )
        }
        ("coordination.k8s.io", _) => &coordination::Candidate,
        ("discovery.k8s.io", _) => simple!(
            default: discovery::endpoint_slice,
            prepare: discovery::prepare,
            validate: discovery::validate,
            result: Some(discovery::validate_after),
            update: discovery::update,
            warnings: discovery::warnings,
            generation: &["endpoints", "ports", "addressType", "metadata.labels"],
        ),
        ("storage.k8s.io", kind) => storage_kind(kind),
        ("networking.k8s.io", kind) => networking_kind(kind),
        ("policy", "PodDisruptionBudget") => {
            simple!(
                validate: policy::validate,
                result: Some(policy::validate_after),
                status: policy::status,
                generation: SPEC,
                name: path_segment_name,
                unconditional_update: false,
            )
        }
        ("scheduling.k8s.io", "PriorityClass") => simple!(
            default: scheduling::priority_class,
            validate_create: scheduling::validate,
            update: scheduling::update,
            generation: &["value"],
        ),
        ("node.k8s.io", "RuntimeClass") => {
            simple!(
                validate: node_class::validate,
                update: node_class::update,
                create_on_update: true,
                unconditional_update: false,
            )
        }
        ("admissionregistration.k8s.io", kind) => admission_kind(kind),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            simple!(default: flowcontrol::flow_schema, validate: flowcontrol::validate_schema, status: flowcontrol::status, generation: SPEC)
        }
        ("flowcontrol.apiserver.k8s.io", _) => {
            simple!(default: flowcontrol::priority_level, validate: flowcontrol::validate_level, status: flowcontrol::status, generation: SPEC)
        }
        ("apiextensions.k8s.io", _) => &custom::definition::Definition,
        ("apiregistration.k8s.io", _) => &extensions::ApiService,
        ("resource.k8s.io", kind) => device_kind(kind),
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificates::SigningRequest,
        ("certificates.k8s.io", "ClusterTrustBundle") => simple!(
            validate: certificates::validate_bundle,
            result: Some(certificates::validate_bundle_after),
            update: certificates::update_bundle,
            fields: &["spec.signerName"],
            name: path_segment_name,
            unconditional_update: false,
        ),
        ("certificates.k8s.io", "PodCertificateRequest") => &certificates::PodRequest,
        ("scheduling.k8s.io", "PodGroup") => &pod_groups::PodGroup,
        ("scheduling.k8s.io", "Workload") => &pod_groups::Workload,
        ("internal.apiserver.k8s.io", "StorageVersion") => simple!(
            name: storage_versions::version_name,
            validate_create: |object, errors| storage_versions::version_status(object, &Value::Null, errors),
            status: storage_versions::version_status,
            unconditional_update: false,
        ),
        ("storagemigration.k8s.io", "StorageVersionMigration") => simple!(
            validate: storage_versions::validate_migration,
            update: storage_versions::update_migration,
            status: storage_versions::migration_status,
            unconditional_update: false,
        ),
        _ => &Plain,
    }
}

const SPEC: &[&str] = &["spec"];

fn storage_kind(kind: &str) -> &'static dyn Strategy {
    match kind {
        "StorageClass" => simple!(
            default: volumes::storage_class,
            validate: volumes::validate_class,
            update: volumes::update_class,
            warnings: volumes::class_warnings,
        ),
        "VolumeAttributesClass" => {
            simple!(validate: volumes::validate_attributes, update: volumes::update_attributes)
        }
        "CSIDriver" => &volumes::driver::Driver,
        "CSINode" => simple!(
            validate: volumes::driver::validate_node,
            update: volumes::driver::update_node,
            unconditional_update: false,
        ),
        "VolumeAttachment" => simple!(
            validate: volumes::attachment::validate,
            update: volumes::attachment::update,
            status: volumes::attachment::update_status,
            unconditional_update: false,
        ),
        _ => simple!(
            validate: volumes::validate_capacity,
            update: volumes::update_capacity,
            unconditional_update: false,
        ),
    }
}

fn networking_kind(kind: &str) -> &'static dyn Strategy {
    match kind {
        "NetworkPolicy" => &networking::NetworkPolicy,
        "Ingress" => &networking::Ingress,
        "IngressClass" => simple!(
            default: networking::ingress_class,
            validate: networking::validate_class,
            update: networking::update_class,
            generation: SPEC,
        ),
        "ServiceCIDR" => simple!(
            validate_create: networking::validate_cidr,
            update: networking::update_cidr,
        ),
        _ => simple!(
            validate: networking::validate_address,
            update: networking::update_address,
            name: networking::ip_name,
        ),
    }
}

fn admission_kind(kind: &str) -> &'static dyn Strategy {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => simple!(
            default: admission::webhooks,
            validate: admission::validate_webhooks,
            result: Some(admission::validate_webhooks_after),
            generation: &["webhooks"],
            warnings: admission::warnings,
            unconditional_update: false,
        ),
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => simple!(
            default: admission::admission_policy,
            validate: admission::validate_policy,
            status: admission::policy_status,
            generation: SPEC,
            warnings: admission::warnings,
            unconditional_update: false,
        ),
        _ => simple!(
            default: admission::admission_policy_binding,
            validate: admission::validate_binding,
            generation: SPEC,
            warnings: admission::warnings,
            unconditional_update: false,
        ),
    }
}

fn device_kind(kind: &str) -> &'static dyn Strategy {
    match kind {
        "ResourceClaim" => &devices::Claim,
        "ResourceClaimTemplate" => &devices::Template,
        "ResourceSlice" => &devices::Slice,
        "DeviceTaintRule" => &devices::TaintRule,
        "ResourcePoolStatusRequest" => &devices::PoolRequest,
        "DeviceClass" => simple!(validate: devices::validate_class, generation: SPEC),
        _ => simple!(generation: SPEC),
    }
}
