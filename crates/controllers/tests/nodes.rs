//! Node taints, eviction and pod networks.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn nodes_get_networks_and_taints_and_bad_ones_lose_their_pods() {
    let cluster = Cluster::start().await;
    cluster.create_node("n2").await;
    let nodes = cluster
        .wait::<Node>("", |all| {
            all.len() == 2
                && all.iter().all(|node| {
                    node.spec
                        .as_ref()
                        .is_some_and(|spec| spec.pod_cidr.is_some())
                })
        })
        .await;
    let mut networks: Vec<_> = nodes
        .into_iter()
        .map(|node| node.spec.unwrap())
        .map(|spec| (spec.pod_cidr.unwrap(), spec.pod_cidrs.unwrap()))
        .collect();
    networks.sort();
    let both = |n: u8| {
        let v4 = format!("10.244.{n}.0/24");
        let v6 = ["fd00:244::/64", "fd00:244:0:1::/64"][usize::from(n)].to_owned();
        (v4.clone(), vec![v4, v6])
    };
    assert_eq!(networks, [both(0), both(1)]);
    let pod = |name: &str, seconds: i64| {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "a"}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]}})
    };
    cluster
        .create::<Pod>("default", pod("patient", 3_600))
        .await;
    cluster.create::<Pod>("default", pod("hasty", 0)).await;
    cluster
        .wait::<Pod>("default", |all| {
            all.iter()
                .filter(|pod| {
                    pod.status
                        .as_ref()
                        .is_some_and(|status| status.phase.as_deref() == Some("Running"))
                })
                .count()
                == 2
        })
        .await;
    let api: Api<Node> = Api::all(cluster.client.clone());
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    api.patch_status("n1", &PatchParams::default(), &Patch::Strategic(&status))
        .await
        .unwrap();
    cluster
        .wait::<Node>("", |all| {
            let bad = all
                .iter()
                .find(|node| node.metadata.name.as_deref() == Some("n1"))
                .unwrap();
            let taints = bad
                .spec
                .as_ref()
                .and_then(|spec| spec.taints.clone())
                .unwrap_or_default();
            let has = |effect: &str| {
                taints.iter().any(|taint| {
                    taint.key == "node.kubernetes.io/not-ready" && taint.effect == effect
                })
            };
            has("NoSchedule") && has("NoExecute")
        })
        .await;
    let left = cluster.wait::<Pod>("default", |all| all.len() == 1).await;
    assert_eq!(left[0].metadata.name.as_deref(), Some("patient"));
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch_status("n1", &PatchParams::default(), &Patch::Strategic(&status))
        .await
        .unwrap();
    cluster
        .wait::<Node>("", |all| {
            all.iter().all(|node| {
                node.spec
                    .as_ref()
                    .and_then(|spec| spec.taints.as_ref())
                    .is_none_or(Vec::is_empty)
            })
        })
        .await;
    cluster.stop().await;
}
