//! A kubelet that comes back finds its containers again.

use serde_json::json;

use crate::harness::{Cluster, container, phase, until};

#[tokio::test(flavor = "multi_thread")]
async fn running_containers_are_kept() {
    let mut cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "run",
        "readinessProbe": {"exec": {"command": ["check"]}}}]});
    cluster.create("kept", spec).await;
    let before = cluster.ready("kept").await;
    cluster.stop_kubelet().await;
    let calls = cluster.runtime.count("");
    cluster.start_kubelet();
    // Proof that it has looked: another pod comes up.
    cluster
        .create(
            "after",
            json!({"containers": [{"name": "d", "image": "run"}]}),
        )
        .await;
    cluster.ready("after").await;
    let after = cluster.ready("kept").await;
    let (a, b) = (
        container(&before, "c").unwrap(),
        container(&after, "c").unwrap(),
    );
    assert_eq!(
        (&a.container_id, a.restart_count),
        (&b.container_id, b.restart_count)
    );
    assert_eq!(cluster.runtime.count("start c"), 1);
    assert!(cluster.runtime.count("") > calls);
    // It is still the kubelet's: a deletion ends it.
    cluster.delete("kept", 1).await;
    cluster.gone("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_meanwhile_is_noticed() {
    let mut cluster = Cluster::start().await;
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "run"}]});
    cluster.create("ended", spec).await;
    cluster.ready("ended").await;
    cluster.stop_kubelet().await;
    let id = cluster.runtime.container_id("c");
    cluster.runtime.exit(&id, 0, "Completed");
    cluster.start_kubelet();
    cluster.pod_that("ended", |p| phase(p) == "Succeeded").await;
    assert_eq!(cluster.runtime.count("start c"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_runtime_lost_is_not_run_twice() {
    let mut cluster = Cluster::start().await;
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "run"}]});
    cluster.create("vanished", spec).await;
    cluster.ready("vanished").await;
    cluster.stop_kubelet().await;
    {
        let mut state = cluster.runtime.state.lock();
        state.containers.clear();
        state.sandboxes.clear();
    }
    cluster.start_kubelet();
    let pod = cluster.pod_that("vanished", |p| phase(p) == "Failed").await;
    let state = container(&pod, "c")
        .unwrap()
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (state.exit_code, state.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert_eq!(cluster.runtime.count("start c"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_removed() {
    let mut cluster = Cluster::start().await;
    let spec =
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "run"}]});
    cluster.create("orphan", spec).await;
    cluster.ready("orphan").await;
    cluster.stop_kubelet().await;
    cluster.delete("orphan", 0).await;
    cluster.start_kubelet();
    until(|| cluster.runtime.state.lock().sandboxes.is_empty()).await;
}
