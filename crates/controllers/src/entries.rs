//! The table of controllers: under which name each is known, signs in and reports events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;

use crate::kit::Kit;
use crate::run::Config;
use crate::{
    apps, autoscaling, batch, certificates, core, discovery, gc, networking, node, policy,
    protection, rbac, resource, storage, storagemigration,
};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Entry {
    /// As `--controllers` knows it.
    pub name: &'static str,
    /// Its queue, as metrics know it: by upstream's name where upstream has such a queue.
    pub queue: &'static str,
    /// ServiceAccount.
    pub account: &'static str,
    /// Reporting component of its events.
    pub component: &'static str,
    pub start: fn(Kit, &Arc<Config>) -> Running,
}

/// Every controller there is.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "deployment-controller",
        queue: "deployment",
        account: "deployment-controller",
        component: "deployment-controller",
        start: |kit, _| Box::pin(apps::deployment::run(kit)),
    },
    Entry {
        name: "replicaset-controller",
        queue: "replicaset",
        account: "replicaset-controller",
        component: "replicaset-controller",
        start: |kit, _| Box::pin(apps::replicas::run::<ReplicaSet>(kit)),
    },
    Entry {
        name: "replicationcontroller-controller",
        queue: "replicationmanager",
        account: "replication-controller",
        component: "replication-controller",
        start: |kit, _| Box::pin(apps::replicas::run::<ReplicationController>(kit)),
    },
    Entry {
        name: "endpoints-controller",
        queue: "endpoint",
        account: "endpoint-controller",
        component: "endpoint-controller",
        start: |kit, _| Box::pin(discovery::endpoints::run(kit)),
    },
    Entry {
        name: "endpointslice-controller",
        queue: "endpoint_slice",
        account: "endpointslice-controller",
        component: "endpoint-slice-controller",
        start: |kit, _| Box::pin(discovery::slices::run(kit)),
    },
    Entry {
        name: "endpointslice-mirroring-controller",
        queue: "endpoint_slice_mirroring",
        account: "endpointslicemirroring-controller",
        component: "endpoint-slice-mirroring-controller",
        start: |kit, _| Box::pin(discovery::mirroring::run(kit)),
    },
    Entry {
        name: "namespace-controller",
        queue: "namespace",
        account: "namespace-controller",
        component: "namespace-controller",
        start: |kit, _| Box::pin(core::namespace::run(kit)),
    },
    Entry {
        name: "serviceaccount-controller",
        queue: "serviceaccount",
        account: "service-account-controller",
        component: "serviceaccount-controller",
        start: |kit, _| Box::pin(core::namespace_defaults::run_service_account(kit)),
    },
    Entry {
        name: "serviceaccount-token-controller",
        queue: "serviceaccount_tokens_service",
        account: "service-account-controller",
        component: "serviceaccount-token-controller",
        // Under the manager's own identity, as upstream: only that may ask for any account's token.
        start: |mut kit, config| {
            kit.client = config.context.client.clone();
            Box::pin(core::account_tokens::run(kit, config.root_ca_pem.clone()))
        },
    },
    Entry {
        name: "root-ca-certificate-publisher-controller",
        queue: "root_ca_cert_publisher",
        account: "root-ca-cert-publisher",
        component: "root-ca-cert-publisher",
        start: |kit, config| {
            Box::pin(core::namespace_defaults::run_root_ca(
                kit,
                config.root_ca_pem.clone(),
            ))
        },
    },
    Entry {
        name: "node-lifecycle-controller",
        queue: "node_lifecycle_controller",
        account: "node-controller",
        component: "node-controller",
        start: |kit, _| Box::pin(node::lifecycle::run(kit)),
    },
    Entry {
        name: "taint-eviction-controller",
        queue: "noexec_taint_pod",
        account: "node-controller",
        component: "taint-eviction-controller",
        start: |kit, _| Box::pin(node::eviction::run(kit)),
    },
    Entry {
        name: "node-ipam-controller",
        queue: "cidrallocator_node",
        account: "node-controller",
        component: "cidrAllocator",
        start: |kit, config| match config.node_networks.is_empty() {
            false => Box::pin(node::ipam::run(kit, config.node_networks.clone())),
            true => Box::pin(async move { kit.shutdown.cancelled().await }),
        },
    },
    Entry {
        name: "pod-garbage-collector-controller",
        queue: "orphaned_pods_nodes",
        account: "pod-garbage-collector",
        component: "pod-garbage-collector",
        start: |kit, _| Box::pin(core::pod_gc::run(kit)),
    },
    Entry {
        name: "garbage-collector-controller",
        queue: "garbage_collector_attempt_to_delete",
        account: "generic-garbage-collector",
        component: "garbage-collector-controller",
        start: |kit, _| Box::pin(gc::run(kit)),
    },
    Entry {
        name: "job-controller",
        queue: "job",
        account: "job-controller",
        component: "job-controller",
        start: |kit, _| Box::pin(batch::job::run(kit)),
    },
    Entry {
        name: "ttl-after-finished-controller",
        queue: "ttl_jobs_to_delete",
        account: "ttl-after-finished-controller",
        component: "ttl-after-finished-controller",
        start: |kit, _| Box::pin(batch::ttl::run(kit)),
    },
    Entry {
        name: "daemonset-controller",
        queue: "daemonset",
        account: "daemon-set-controller",
        component: "daemonset-controller",
        start: |kit, _| Box::pin(apps::daemonset::run(kit)),
    },
    Entry {
        name: "statefulset-controller",
        queue: "statefulset",
        account: "statefulset-controller",
        component: "statefulset-controller",
        start: |kit, _| Box::pin(apps::statefulset::run(kit)),
    },
    Entry {
        name: "cronjob-controller",
        queue: "cronjob",
        account: "cronjob-controller",
        component: "cronjob-controller",
        start: |kit, _| Box::pin(batch::cronjob::run(kit)),
    },
    Entry {
        name: "disruption-controller",
        queue: "disruption",
        account: "disruption-controller",
        component: "controllermanager",
        start: |kit, _| Box::pin(policy::disruption::run(kit)),
    },
    Entry {
        name: "resourcequota-controller",
        queue: "resourcequota_primary",
        account: "resourcequota-controller",
        component: "resourcequota-controller",
        start: |kit, _| Box::pin(policy::quota::run(kit)),
    },
    Entry {
        name: "horizontal-pod-autoscaler-controller",
        queue: "horizontalpodautoscaler",
        account: "horizontal-pod-autoscaler",
        component: "horizontal-pod-autoscaler",
        start: |kit, _| Box::pin(autoscaling::run(kit)),
    },
    Entry {
        name: "certificatesigningrequest-approving-controller",
        queue: "csrapproving",
        account: "certificate-controller",
        component: "csrapproving",
        start: |kit, _| Box::pin(certificates::approve::run(kit)),
    },
    Entry {
        name: "certificatesigningrequest-signing-controller",
        queue: "csrsigning",
        account: "certificate-controller",
        component: "csrsigning",
        start: |kit, config| match config.signer.clone() {
            Some(signer) => Box::pin(certificates::sign::run(kit, signer)),
            None => Box::pin(async move { kit.shutdown.cancelled().await }),
        },
    },
    Entry {
        name: "certificatesigningrequest-cleaner-controller",
        queue: "csrcleaner",
        account: "certificate-controller",
        component: "csrcleaner",
        start: |kit, _| Box::pin(certificates::clean::run(kit)),
    },
    Entry {
        name: "podcertificaterequest-cleaner-controller",
        queue: "podcertificaterequestcleaner",
        account: "podcertificaterequestcleaner",
        component: "podcertificaterequestcleaner",
        start: |kit, _| Box::pin(certificates::clean_pods::run(kit)),
    },
    Entry {
        name: "clusterrole-aggregation-controller",
        queue: "ClusterRoleAggregator",
        account: "clusterrole-aggregation-controller",
        component: "clusterrole-aggregation-controller",
        start: |kit, _| Box::pin(rbac::run(kit)),
    },
    Entry {
        name: "persistentvolumeclaim-protection-controller",
        queue: "pvcprotection",
        account: "pvc-protection-controller",
        component: "pvc-protection-controller",
        start: |kit, _| Box::pin(protection::run_claims(kit)),
    },
    Entry {
        name: "persistentvolume-protection-controller",
        queue: "pvprotection",
        account: "pv-protection-controller",
        component: "pv-protection-controller",
        start: |kit, _| Box::pin(protection::run_volumes(kit)),
    },
    Entry {
        name: "persistentvolume-binder-controller",
        queue: "claims",
        account: "persistent-volume-binder",
        component: "persistentvolume-controller",
        start: |kit, _| Box::pin(storage::binder::run(kit)),
    },
    Entry {
        name: "persistentvolume-attach-detach-controller",
        queue: "pvcs",
        account: "attachdetach-controller",
        component: "attachdetach-controller",
        start: |kit, _| Box::pin(storage::attach::run(kit)),
    },
    Entry {
        name: "persistentvolume-expander-controller",
        queue: "volume_expand",
        account: "expand-controller",
        component: "volume_expand",
        start: |kit, _| Box::pin(storage::expand::run(kit)),
    },
    Entry {
        name: "ephemeral-volume-controller",
        queue: "ephemeral_volume",
        account: "ephemeral-volume-controller",
        component: "ephemeral_volume",
        start: |kit, _| Box::pin(storage::ephemeral::run(kit)),
    },
    Entry {
        name: "volumeattributesclass-protection-controller",
        queue: "vacprotection",
        account: "volumeattributesclass-protection-controller",
        component: "volumeattributesclass-protection-controller",
        start: |kit, _| Box::pin(storage::attributes_class::run(kit)),
    },
    Entry {
        name: "resourceclaim-controller",
        queue: "resource_claim",
        account: "resource-claim-controller",
        component: "resource_claim",
        start: |kit, _| Box::pin(resource::claims::run(kit)),
    },
    Entry {
        name: "device-taint-eviction-controller",
        queue: "device_taint_eviction",
        account: "device-taint-eviction-controller",
        component: "device-taint-eviction",
        start: |kit, _| Box::pin(resource::taints::run(kit)),
    },
    Entry {
        name: "service-lb-controller",
        queue: "service",
        account: "service-controller",
        component: "service-controller",
        start: |kit, config| match config.load_balancer_reserved_ports.clone() {
            Some(reserved) => Box::pin(networking::load_balancer::run(
                kit,
                Box::new(networking::load_balancer::NodeAddresses { reserved }),
            )),
            None => Box::pin(async move { kit.shutdown.cancelled().await }),
        },
    },
    Entry {
        name: "service-cidr-controller",
        queue: "ipaddresses",
        account: "service-cidrs-controller",
        component: "service-cidr-controller",
        start: |kit, _| Box::pin(networking::service_cidrs::run(kit)),
    },
    Entry {
        name: "storage-version-migrator-controller",
        queue: "storage-version-migrator-controller",
        account: "storage-version-migrator-controller",
        component: "storage-version-migrator-controller",
        start: |kit, _| Box::pin(storagemigration::run(kit)),
    },
    Entry {
        name: "ttl-controller",
        queue: "ttlcontroller",
        account: "ttl-controller",
        component: "ttl-controller",
        start: |kit, _| Box::pin(node::ttl::run(kit)),
    },
    Entry {
        name: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        queue: "ca_cert_publisher_cluster_trust_bundles",
        account: "kube-apiserver-serving-clustertrustbundle-publisher",
        component: "kube-apiserver-serving-clustertrustbundle-publisher",
        start: |kit, config| {
            Box::pin(certificates::trust_bundle::run(
                kit,
                config.root_ca_pem.clone(),
            ))
        },
    },
    Entry {
        name: "bootstrap-signer-controller",
        queue: "bootstrap_signer_queue",
        account: "bootstrap-signer",
        component: "bootstrap-signer",
        start: |kit, _| Box::pin(core::cluster_info::run(kit)),
    },
    Entry {
        name: "legacy-serviceaccount-token-cleaner-controller",
        queue: "legacy_service_account_token_cleaner",
        account: "legacy-service-account-token-cleaner",
        component: "legacy-service-account-token-cleaner",
        start: |kit, _| Box::pin(core::legacy_tokens::run(kit)),
    },
    Entry {
        name: "apiserver-lease-garbage-collector-controller",
        queue: "apiserver_lease_garbage_collector",
        account: "apiserver-lease-garbage-collector",
        component: "apiserver-lease-garbage-collector",
        start: |kit, _| Box::pin(core::server_leases::run(kit)),
    },
    Entry {
        name: "token-cleaner-controller",
        queue: "token_cleaner",
        account: "token-cleaner",
        component: "token-cleaner",
        start: |kit, _| Box::pin(core::token_cleaner::run(kit)),
    },
];
