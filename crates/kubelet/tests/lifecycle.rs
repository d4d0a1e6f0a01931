//! From a pod's creation to its end.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Cluster, condition, container, phase, waiting_reason};

#[tokio::test(flavor = "multi_thread")]
async fn the_node_registers_and_is_ready() {
    let cluster = Cluster::start().await;
    let node = cluster.node_ready().await;
    let labels = node.metadata.labels.unwrap();
    assert_eq!(labels["kubernetes.io/hostname"], "n1");
    assert_eq!(labels["kubernetes.io/os"], "linux");
    let status = node.status.unwrap();
    let info = status.node_info.unwrap();
    assert_eq!(info.kubelet_version, "v1.36.0");
    assert_eq!(info.container_runtime_version, "pretended://1");
    assert_eq!(status.capacity.unwrap()["pods"].0, "110");
    let port = status
        .daemon_endpoints
        .unwrap()
        .kubelet_endpoint
        .unwrap()
        .port;
    assert!(port > 0, "the port that was taken is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_waits_for_its_network_and_hands_over_the_pod_addresses() {
    let mut cluster = Cluster::bare().await;
    cluster.runtime.state.lock().network_ready = false;
    cluster.start_kubelet();
    let node = cluster
        .node_that(|n| n.status.as_ref().is_some_and(|s| s.conditions.is_some()))
        .await;
    let ready = node
        .status
        .unwrap()
        .conditions
        .unwrap()
        .into_iter()
        .find(|c| c.type_ == "Ready");
    let message = ready.unwrap().message.unwrap();
    assert!(message.contains("NetworkReady=false"), "{message}");
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(cluster.admin.clone());
    let patch = json!({"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}});
    nodes
        .patch("n1", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    cluster.node_ready().await;
    assert_eq!(cluster.runtime.state.lock().pod_cidr, "10.9.0.0/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_is_deleted() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "web",
            json!({"containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    let pod = cluster.ready("web").await;
    assert_eq!(phase(&pod), "Running");
    for name in [
        "PodScheduled",
        "Initialized",
        "ContainersReady",
        "PodReadyToStartContainers",
    ] {
        assert_eq!(condition(&pod, name).as_deref(), Some("True"), "{name}");
    }
    let status = pod.status.as_ref().unwrap();
    assert!(status.pod_ip.is_some() && status.host_ip.as_deref() == Some("127.0.0.1"));
    assert_eq!(status.observed_generation, pod.metadata.generation);
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let c = container(&pod, "c").unwrap();
    assert!(
        c.container_id
            .as_deref()
            .unwrap()
            .starts_with("pretended://c")
    );
    assert_eq!(
        (c.image.as_str(), c.restart_count, c.started),
        ("run", 0, Some(true))
    );
    let wanted = [
        ("Pulled", "Successfully pulled image \"run\""),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ];
    cluster.events("web", &wanted).await;

    cluster.delete("web", 7).await;
    cluster.gone("web").await;
    cluster
        .events("web", &[("Killing", "Stopping container c")])
        .await;
    let state = cluster.runtime.state.lock();
    assert_eq!(state.stops, [7]);
    assert!(
        state.containers.is_empty() && state.sandboxes.is_empty(),
        "nothing is left"
    );
    let uid = pod.metadata.uid.unwrap();
    assert!(!cluster.dir.path().join("kubelet/pods").join(uid).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_grace_period_is_heeded() {
    let cluster = Cluster::start().await;
    cluster.runtime.state.lock().stubborn = true;
    cluster
        .create(
            "slow",
            json!({"containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    cluster.ready("slow").await;
    cluster.delete("slow", 600).await;
    cluster
        .pod_that("slow", |p| p.metadata.deletion_timestamp.is_some())
        .await;
    cluster.delete("slow", 1).await;
    cluster.gone("slow").await;
    assert_eq!(cluster.runtime.state.lock().stops.last(), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_deletion_stops_the_containers_all_the_same() {
    let cluster = Cluster::start().await;
    let spec =
        json!({"containers": [{"name": "c", "image": "run"}], "terminationGracePeriodSeconds": 1});
    cluster.create("forced", spec).await;
    cluster.ready("forced").await;
    let mut events = cluster.runtime.clone();
    cluster.delete("forced", 0).await;
    cluster.gone("forced").await;
    crate::harness::until(|| events.state.lock().sandboxes.is_empty()).await;
    events = cluster.runtime.clone();
    assert_eq!(events.count("stop c"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_end() {
    let cluster = Cluster::start().await;
    for (name, image, policy, want) in [
        ("good", "exit-0", "Never", "Succeeded"),
        ("bad", "exit-3", "Never", "Failed"),
        ("well", "exit-0", "OnFailure", "Succeeded"),
    ] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c", "image": image}]});
        cluster.create(name, spec).await;
        let pod = cluster
            .pod_that(name, |p| ["Succeeded", "Failed"].contains(&phase(p)))
            .await;
        assert_eq!(phase(&pod), want, "{name}");
        let state = container(&pod, "c")
            .unwrap()
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap();
        let reason = if want == "Succeeded" {
            "Completed"
        } else {
            "Error"
        };
        assert_eq!(state.reason.as_deref(), Some(reason));
        assert_eq!(condition(&pod, "Ready").as_deref(), Some("False"));
        cluster.delete(name, 1).await;
        cluster.gone(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_container_is_restarted_and_then_waits() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "crash",
            json!({"containers": [{"name": "c", "image": "exit-1"}]}),
        )
        .await;
    let waits = |p: &k8s_openapi::api::core::v1::Pod| {
        waiting_reason(p, "c").as_deref() == Some("CrashLoopBackOff")
    };
    let pod = cluster.pod_that("crash", waits).await;
    let c = container(&pod, "c").unwrap();
    // The first restart is at once.
    assert_eq!(c.restart_count, 1);
    let last = c.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(last.exit_code, 1);
    let message = c.state.clone().unwrap().waiting.unwrap().message.unwrap();
    let uid = pod.metadata.uid.clone().unwrap();
    assert_eq!(
        message,
        format!("back-off 10s restarting failed container=c pod=crash_default({uid})")
    );
    assert_eq!(phase(&pod), "Running");
    cluster
        .events(
            "crash",
            &[("BackOff", "Back-off restarting failed container c in pod")],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_says_why() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "oom",
            json!({"containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    cluster.ready("oom").await;
    let id = cluster.runtime.container_id("c");
    cluster.runtime.exit(&id, 137, "OOMKilled");
    let pod = cluster
        .pod_that("oom", |p| {
            container(p, "c").is_some_and(|c| c.restart_count == 1)
        })
        .await;
    let last = container(&pod, "c")
        .unwrap()
        .last_state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (137, Some("OOMKilled"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_run_in_turn_and_sidecars_stay() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "initContainers": [
            {"name": "first", "image": "exit-0"},
            {"name": "side", "image": "run", "restartPolicy": "Always"},
            {"name": "second", "image": "exit-0"}
        ],
        "containers": [{"name": "c", "image": "run"}]
    });
    cluster.create("staged", spec).await;
    let pod = cluster.ready("staged").await;
    let order: Vec<String> = {
        let state = cluster.runtime.state.lock();
        state
            .calls
            .iter()
            .filter(|c| c.starts_with("start"))
            .cloned()
            .collect()
    };
    assert_eq!(
        order,
        ["start first", "start side", "start second", "start c"]
    );
    assert!(container(&pod, "side").unwrap().ready);
    cluster.delete("staged", 5).await;
    cluster.gone("staged").await;
    let state = cluster.runtime.state.lock();
    let stops: Vec<_> = state
        .calls
        .iter()
        .filter(|c| c.starts_with("stop "))
        .collect();
    assert_eq!(stops, ["stop c", "stop side", "stop sandbox"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_init_container_fails_the_pod() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "exit-2"}],
        "containers": [{"name": "c", "image": "run"}]
    });
    cluster.create("noinit", spec).await;
    let pod = cluster.pod_that("noinit", |p| phase(p) == "Failed").await;
    assert_eq!(
        waiting_reason(&pod, "c").as_deref(),
        Some("PodInitializing")
    );
    assert_eq!(cluster.runtime.count("start c"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_and_their_absence_is_told() {
    let cluster = Cluster::start().await;
    let two = json!({"containers": [
        {"name": "there", "image": "r.example/app:1"}, {"name": "not", "image": "absent:1"}
    ]});
    cluster.create("pull", two).await;
    let pod = cluster
        .pod_that("pull", |p| {
            waiting_reason(p, "not").as_deref() == Some("ErrImagePull")
        })
        .await;
    let message = container(&pod, "not")
        .unwrap()
        .state
        .clone()
        .unwrap()
        .waiting
        .unwrap()
        .message;
    assert!(message.unwrap().contains("no such image in the registry"));
    // One bad image does not keep the other container.
    cluster
        .pod_that("pull", |p| {
            container(p, "there")
                .is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
        })
        .await;
    cluster
        .pod_that("pull", |p| {
            waiting_reason(p, "not").as_deref() == Some("ImagePullBackOff")
        })
        .await;
    let wanted = [
        ("Pulling", "Pulling image \"absent:1\""),
        ("Failed", "Failed to pull image \"absent:1\""),
        ("Pulled", "Successfully pulled image \"r.example/app:1\""),
        ("BackOff", "Back-off pulling image \"absent:1\""),
    ];
    cluster.events("pull", &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pulled_says_so() {
    let cluster = Cluster::start().await;
    let never =
        json!({"containers": [{"name": "c", "image": "nowhere:1", "imagePullPolicy": "Never"}]});
    cluster.create("never", never).await;
    cluster
        .pod_that("never", |p| {
            waiting_reason(p, "c").as_deref() == Some("ErrImageNeverPull")
        })
        .await;
    let odd = json!({"containers": [{"name": "c", "image": "No Image!"}]});
    cluster.create("odd", odd).await;
    cluster
        .pod_that("odd", |p| {
            waiting_reason(p, "c").as_deref() == Some("InvalidImageName")
        })
        .await;
    assert!(cluster.runtime.state.lock().pulls.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_fit_is_rejected() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [
        {"name": "c", "image": "run", "resources": {"requests": {"cpu": "100000"}}}
    ]});
    cluster.create("huge", spec).await;
    let pod = cluster.pod_that("huge", |p| phase(p) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(
        status
            .message
            .unwrap()
            .starts_with("Pod was rejected: Node didn't have enough resource: cpu")
    );
    assert_eq!(cluster.runtime.count("run sandbox"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_pod() {
    let cluster = Cluster::start().await;
    let spec = json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "run"}]});
    cluster.create("late", spec).await;
    let pod = cluster.pod_that("late", |p| phase(p) == "Failed").await;
    assert_eq!(
        pod.status.unwrap().reason.as_deref(),
        Some("DeadlineExceeded")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_sandbox_is_made_again() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "lost",
            json!({"containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    cluster.ready("lost").await;
    cluster.runtime.lose_sandbox();
    let again = |p: &k8s_openapi::api::core::v1::Pod| {
        container(p, "c").is_some_and(|c| c.restart_count == 1 && c.ready)
    };
    cluster.pod_that("lost", again).await;
    assert_eq!(cluster.runtime.count("run sandbox 1"), 1);
    cluster
        .events("lost", &[("SandboxChanged", "Pod sandbox changed")])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "run", "lifecycle": {
        "postStart": {"exec": {"command": ["hello"]}},
        "preStop": {"exec": {"command": ["goodbye"]}}
    }}]});
    cluster.create("hooked", spec).await;
    cluster.ready("hooked").await;
    assert_eq!(cluster.runtime.count("exec hello"), 1);
    cluster.delete("hooked", 5).await;
    cluster.gone("hooked").await;
    let state = cluster.runtime.state.lock();
    let order: Vec<_> = state
        .calls
        .iter()
        .filter(|c| c.starts_with("exec g") || c.starts_with("stop c"))
        .collect();
    assert_eq!(order, ["exec goodbye", "stop c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_post_start_hook_kills_the_container() {
    let cluster = Cluster::start().await;
    cluster
        .runtime
        .state
        .lock()
        .commands
        .insert("hello".into(), (1, "no".into()));
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "run",
        "lifecycle": {"postStart": {"exec": {"command": ["hello"]}}}}]});
    cluster.create("unhooked", spec).await;
    cluster
        .pod_that("unhooked", |p| {
            container(p, "c").is_some_and(|c| c.restart_count > 0)
        })
        .await;
    cluster
        .events(
            "unhooked",
            &[("FailedPostStartHook", "PostStartHook failed")],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_are_kept() {
    let cluster = Cluster::start().await;
    let spec = json!({"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "run", "terminationMessagePolicy": "FallbackToLogsOnError"}
    ]});
    cluster.create("words", spec).await;
    cluster.ready("words").await;
    let id = cluster.runtime.container_id("c");
    cluster.runtime.exit(&id, 1, "Error");
    let pod = cluster.pod_that("words", |p| phase(p) == "Failed").await;
    let state = container(&pod, "c")
        .unwrap()
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(state.message.as_deref(), Some("c says hello\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_image_replaces_the_container() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "change",
            json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "run"}]}),
        )
        .await;
    cluster.ready("change").await;
    cluster.runtime.add_image("other:1");
    let patch = json!({"spec": {"containers": [{"name": "c", "image": "other:1"}]}});
    cluster
        .pods()
        .patch("change", &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .unwrap();
    cluster
        .pod_that("change", |p| {
            container(p, "c").is_some_and(|c| c.image == "other:1" && c.ready)
        })
        .await;
    cluster
        .events(
            "change",
            &[(
                "Killing",
                "Container c definition changed, will be restarted",
            )],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_the_container_runs() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "run",
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]});
    cluster.create("grows", spec).await;
    cluster.ready("grows").await;
    let patch = json!({"spec": {"containers": [{"name": "c",
        "resources": {"limits": {"cpu": "500m"}}}]}});
    let params = PatchParams::default();
    cluster
        .pods()
        .patch_subresource("resize", "grows", &params, &Patch::Strategic(&patch))
        .await
        .unwrap();
    let resized = |p: &k8s_openapi::api::core::v1::Pod| {
        let resources = container(p, "c").and_then(|c| c.resources.clone());
        resources
            .and_then(|r| r.limits)
            .is_some_and(|l| l["cpu"].0 == "500m")
    };
    let pod = cluster.pod_that("grows", resized).await;
    assert_eq!(container(&pod, "c").unwrap().restart_count, 0);
    let state = cluster.runtime.state.lock();
    assert_eq!(state.updated.last().unwrap().cpu_quota, 50_000);
}
