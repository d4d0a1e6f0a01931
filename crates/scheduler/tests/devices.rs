//! Claims are written before their pods are bound, and given back where that comes to nothing.

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The class `gpu`, and devices of node `b`.
async fn publish(cluster: &Cluster, devices: Value) {
    let class = json!({"metadata": {"name": "gpu"}, "spec": {
        "extendedResourceName": "example.com/gpu",
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}});
    cluster.create::<DeviceClass>("", class).await;
    let slice = json!({"metadata": {"name": "b-gpus"}, "spec": {
        "driver": "gpu.example.com", "nodeName": "b", "devices": devices,
        "pool": {"name": "b-gpus", "generation": 1, "resourceSliceCount": 1}}});
    cluster.create::<ResourceSlice>("", slice).await;
}

async fn claim(cluster: &Cluster, name: &str) {
    let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    let claim = json!({"metadata": {"name": name},
        "spec": {"devices": {"requests": [{"name": "one", "exactly": exactly}]}}});
    cluster.create::<ResourceClaim>("default", claim).await;
}

async fn pod(cluster: &Cluster, name: &str, claim: Option<&str>) -> Pod {
    let container = match claim {
        Some(_) => json!({"name": "c", "image": "x", "resources": {"claims": [{"name": "own"}]}}),
        None => {
            json!({"name": "c", "image": "x", "resources": {"limits": {"example.com/gpu": "1"}}})
        }
    };
    let claims: Vec<Value> = claim
        .iter()
        .map(|claim| json!({"name": "own", "resourceClaimName": claim}))
        .collect();
    let pod = json!({"metadata": {"name": name}, "spec": {
        "automountServiceAccountToken": false, "containers": [container], "resourceClaims": claims}});
    cluster.create::<Pod>("default", pod).await
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

#[tokio::test]
async fn a_claim_is_allocated_and_reserved_before_its_pod_is_bound() {
    let cluster = Cluster::start(&["a", "b"]).await;
    publish(&cluster, json!([{"name": "gpu-0"}])).await;
    claim(&cluster, "c").await;
    let made = pod(&cluster, "p", Some("c")).await;
    let bound = cluster.wait::<Pod>("p", |pod| node(pod).is_some()).await;
    assert_eq!(node(&bound), Some("b"));
    let claim = cluster
        .wait::<ResourceClaim>("c", |c| c.status.is_some())
        .await;
    let status = claim.status.clone().unwrap();
    let allocation = status.allocation.unwrap();
    assert!(allocation.allocation_timestamp.is_some());
    let results = allocation.devices.unwrap().results.unwrap();
    assert_eq!(
        (results[0].device.as_str(), results[0].request.as_str()),
        ("gpu-0", "one")
    );
    let reserved = status.reserved_for.unwrap();
    assert_eq!(Some(&reserved[0].uid), made.metadata.uid.as_ref());
    let finalizers = claim.metadata.finalizers.clone().unwrap();
    assert_eq!(finalizers, ["resource.kubernetes.io/delete-protection"]);
}

#[tokio::test]
async fn a_claim_is_made_up_for_extended_resources() {
    let cluster = Cluster::start(&["a", "b"]).await;
    publish(&cluster, json!([{"name": "gpu-0"}])).await;
    pod(&cluster, "p", None).await;
    let bound = cluster.wait::<Pod>("p", |pod| node(pod).is_some()).await;
    assert_eq!(node(&bound), Some("b"));
    let status = bound.status.clone().unwrap().extended_resource_claim_status;
    let status = status.unwrap();
    assert_eq!(status.request_mappings[0].resource_name, "example.com/gpu");
    let claim = status.resource_claim_name;
    let claim = cluster
        .wait::<ResourceClaim>(&claim, |c| c.status.is_some())
        .await;
    assert!(claim.metadata.owner_references.is_some());
}

#[tokio::test]
async fn a_pod_is_bound_when_its_device_is_attached_and_not_where_that_fails() {
    let cluster = Cluster::start(&["b"]).await;
    let device = |name: &str| {
        json!({"name": name, "bindsToNode": true, "bindingConditions": ["Attached"],
               "bindingFailureConditions": ["Broken"]})
    };
    publish(&cluster, json!([device("gpu-0")])).await;
    claim(&cluster, "c").await;
    pod(&cluster, "p", Some("c")).await;
    let reserved = |claim: &ResourceClaim| {
        let status = claim.status.as_ref();
        status.is_some_and(|s| s.allocation.is_some() && s.reserved_for.is_some())
    };
    cluster.wait::<ResourceClaim>("c", reserved).await;
    let api: Api<ResourceClaim> = Api::namespaced(cluster.client.clone(), "default");
    let tell = async |condition: &str| {
        let status = json!({"status": {"devices": [{
            "driver": "gpu.example.com", "pool": "b-gpus", "device": "gpu-0",
            "conditions": [{"type": condition, "status": "True", "reason": "Told", "message": "",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}});
        let params = PatchParams::default();
        api.patch_status("c", &params, &Patch::Merge(&status))
            .await
            .unwrap();
    };
    tell("Broken").await;
    // The device goes back, and the pod gets one anew, which nobody has said anything of.
    let anew = |claim: &ResourceClaim| {
        let told = claim.status.as_ref().is_some_and(|s| s.devices.is_some());
        reserved(claim) && !told
    };
    cluster.wait::<ResourceClaim>("c", anew).await;
    tell("Attached").await;
    let bound = cluster.wait::<Pod>("p", |pod| node(pod).is_some()).await;
    assert_eq!(node(&bound), Some("b"));
}
