//! Defaults of the workloads.

use schema::Value;

use crate::{core::pod::defaults::template, object::Object};

/// Defaults of a Deployment.
pub fn deployment(object: &mut Value) {
    object.set_default("spec.replicas", 1);
    object.set_default_text("spec.strategy.type", "RollingUpdate");
    let strategy = object.place("spec.strategy");
    if strategy.text("type") == "RollingUpdate" {
        strategy.set_default("rollingUpdate.maxUnavailable", "25%");
        strategy.set_default("rollingUpdate.maxSurge", "25%");
    }
    object.set_default("spec.revisionHistoryLimit", 10);
    object.set_default("spec.progressDeadlineSeconds", 600);
    template(object.place("spec.template"));
}

/// Defaults of a ReplicaSet.
pub fn replica_set(object: &mut Value) {
    object.set_default("spec.replicas", 1);
    template(object.place("spec.template"));
}

/// Defaults of a DaemonSet.
pub fn daemon_set(object: &mut Value) {
    object.set_default_text("spec.updateStrategy.type", "RollingUpdate");
    let strategy = object.place("spec.updateStrategy");
    if strategy.text("type") == "RollingUpdate" {
        strategy.set_default("rollingUpdate.maxUnavailable", 1);
        strategy.set_default("rollingUpdate.maxSurge", 0);
    }
    object.set_default("spec.revisionHistoryLimit", 10);
    template(object.place("spec.template"));
}

/// Defaults of a StatefulSet.
pub fn stateful_set(object: &mut Value) {
    object.set_default_text("spec.podManagementPolicy", "OrderedReady");
    let strategy = object.place("spec.updateStrategy");
    if strategy.text("type").is_empty() {
        strategy.set("type", "RollingUpdate");
        strategy.set_default("rollingUpdate", serde_json::json!({}));
    }
    if strategy.text("type") == "RollingUpdate" && strategy.has("rollingUpdate") {
        strategy.set_default("rollingUpdate.partition", 0);
    }
    object.set_default_text(
        "spec.persistentVolumeClaimRetentionPolicy.whenDeleted",
        "Retain",
    );
    object.set_default_text(
        "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
        "Retain",
    );
    object.set_default("spec.replicas", 1);
    object.set_default("spec.revisionHistoryLimit", 10);
    template(object.place("spec.template"));
    for claim in object.list_mut("spec.volumeClaimTemplates") {
        claim.set("apiVersion", "v1");
        claim.set("kind", "PersistentVolumeClaim");
        crate::core::small::persistent_volume_claim(claim);
    }
}
