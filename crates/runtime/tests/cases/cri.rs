//! The whole interface, driven as `crictl` drives it: every call of CRI 1.36 over the socket.

use cri::v1;
use futures::{Stream, StreamExt};
use serde_json::Value;
use tonic::{Code, Status};

use crate::harness::Node;

/// What a call refused with.
fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

async fn all<T>(stream: impl Stream<Item = Result<T, Status>>) -> Vec<T> {
    stream.map(Result::unwrap).collect().await
}

fn info(info: &std::collections::HashMap<String, String>) -> Value {
    serde_json::from_str(&info["info"]).unwrap()
}

/// `crictl version`, `info`, and what the kubelet asks at its start.
pub async fn the_runtime_tells_about_itself(node: Node) {
    let mut cri = node.cri.clone();
    let version = cri
        .version(v1::VersionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            version.runtime_name.as_str(),
            version.runtime_api_version.as_str()
        ),
        ("corten", "v1")
    );
    for verbose in [false, true] {
        let status = cri
            .status(v1::StatusRequest { verbose })
            .await
            .unwrap()
            .into_inner();
        let conditions: Vec<_> = (status.status.unwrap().conditions.into_iter())
            .map(|c| (c.r#type, c.status))
            .collect();
        assert_eq!(
            conditions,
            [
                ("RuntimeReady".to_owned(), true),
                ("NetworkReady".to_owned(), true)
            ]
        );
        assert_eq!(status.info.contains_key("config"), verbose);
        assert_eq!(status.runtime_handlers.len(), 1);
        assert_eq!(status.runtime_handlers[0].name, "");
    }
    let config = cri
        .runtime_config(v1::RuntimeConfigRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        config.linux.unwrap().cgroup_driver,
        v1::CgroupDriver::Cgroupfs as i32
    );
    let network = |pod_cidr: &str| v1::UpdateRuntimeConfigRequest {
        runtime_config: Some(v1::RuntimeConfig {
            network_config: Some(v1::NetworkConfig {
                pod_cidr: pod_cidr.into(),
            }),
        }),
    };
    cri.update_runtime_config(network("10.9.0.0/16"))
        .await
        .unwrap();
    cri.update_runtime_config(network("")).await.unwrap();
}

/// `crictl images`, `inspecti`, `imagefsinfo`, `rmi`.
pub async fn images_are_listed_inspected_and_removed(node: Node) {
    let name = node.guest_image();
    let mut images = node.images.clone();
    let named = |image: &str| {
        Some(v1::ImageSpec {
            image: image.into(),
            ..Default::default()
        })
    };
    let list = |image: Option<v1::ImageSpec>| v1::ListImagesRequest {
        filter: Some(v1::ImageFilter { image }),
    };
    let listed = images
        .list_images(list(None))
        .await
        .unwrap()
        .into_inner()
        .images;
    assert_eq!(listed.len(), 1);
    let image = &listed[0];
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert!(image.size > 1 << 20 && image.id.starts_with("sha256:"));
    for reference in [
        name.as_str(),
        "test.local/guest",
        &image.id,
        &image.id["sha256:".len()..][..12],
    ] {
        let found = images
            .list_images(list(named(reference)))
            .await
            .unwrap()
            .into_inner()
            .images;
        assert_eq!(found, listed, "{reference}");
        let request = v1::ImageStatusRequest {
            image: named(reference),
            verbose: true,
        };
        let status = images.image_status(request).await.unwrap().into_inner();
        assert_eq!(status.image.as_ref(), Some(image), "{reference}");
        assert_eq!(info(&status.info)["imageSpec"]["config"]["Cmd"][0], "sleep");
    }
    let streamed = images
        .stream_images(v1::StreamImagesRequest { filter: None })
        .await
        .unwrap();
    let streamed = all(streamed.into_inner()).await;
    assert_eq!(
        streamed
            .into_iter()
            .flat_map(|m| m.images)
            .collect::<Vec<_>>(),
        listed
    );
    let none = images
        .list_images(list(named("test.local/none")))
        .await
        .unwrap()
        .into_inner();
    assert!(none.images.is_empty());
    let request = v1::ImageStatusRequest {
        image: named("test.local/none"),
        verbose: true,
    };
    assert_eq!(
        images
            .image_status(request)
            .await
            .unwrap()
            .into_inner()
            .image,
        None
    );
    let unnamed = images.image_status(v1::ImageStatusRequest::default()).await;
    assert_eq!(code(unnamed), Code::InvalidArgument);

    let usage = images
        .image_fs_info(v1::ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let [of_images] = usage.image_filesystems.as_slice() else {
        panic!("{usage:?}")
    };
    assert!(of_images.used_bytes.unwrap().value > 1 << 20);
    assert!(of_images.inodes_used.unwrap().value >= 5);
    assert_eq!(usage.container_filesystems.len(), 1);

    let remove = || v1::RemoveImageRequest {
        image: named(&name),
    };
    images.remove_image(remove()).await.unwrap();
    images.remove_image(remove()).await.unwrap();
    assert!(
        images
            .list_images(list(None))
            .await
            .unwrap()
            .into_inner()
            .images
            .is_empty()
    );
}

/// `crictl runp`, `pods`, `inspectp`, `create`, `start`, `ps`, `inspect`, `exec -s`, `update`,
/// `stats`, `statsp`, `metricsp`, `stop`, `rm`, `stopp`, `rmp`, with `events` beside it.
pub async fn pods_and_containers_live_from_call_to_call(node: Node) {
    node.guest_image();
    let mut cri = node.cri.clone();
    let events = cri
        .get_container_events(v1::GetEventsRequest {})
        .await
        .unwrap()
        .into_inner();
    let sandbox = node.sandbox("life").await;

    let pods = |filter| v1::ListPodSandboxRequest {
        filter: Some(filter),
    };
    let listed = cri
        .list_pod_sandbox(pods(v1::PodSandboxFilter::default()))
        .await
        .unwrap();
    let listed = listed.into_inner().items;
    assert_eq!(listed.len(), 1);
    for (filter, count) in [
        (
            v1::PodSandboxFilter {
                id: sandbox[..10].into(),
                ..Default::default()
            },
            1,
        ),
        (
            v1::PodSandboxFilter {
                id: "none".into(),
                ..Default::default()
            },
            0,
        ),
        (
            v1::PodSandboxFilter {
                state: Some(v1::PodSandboxStateValue {
                    state: v1::PodSandboxState::SandboxNotready as i32,
                }),
                ..Default::default()
            },
            0,
        ),
        (
            v1::PodSandboxFilter {
                label_selector: [("no".to_owned(), "such".to_owned())].into(),
                ..Default::default()
            },
            0,
        ),
    ] {
        let found = cri
            .list_pod_sandbox(pods(filter.clone()))
            .await
            .unwrap()
            .into_inner()
            .items;
        assert_eq!(found.len(), count);
        let request = v1::StreamPodSandboxesRequest {
            filter: Some(filter),
        };
        let streamed = all(cri
            .stream_pod_sandboxes(request)
            .await
            .unwrap()
            .into_inner())
        .await;
        let streamed: Vec<_> = streamed.into_iter().flat_map(|m| m.pod_sandboxes).collect();
        assert_eq!(streamed, found);
    }
    // An unambiguous beginning of an id does, as crictl's users type it.
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: sandbox[..12].into(),
        verbose: true,
    };
    let status = cri.pod_sandbox_status(request).await.unwrap().into_inner();
    assert!(
        info(&status.info)["netns"]
            .as_str()
            .unwrap()
            .contains("netns")
    );
    let status = status.status.unwrap();
    assert_eq!(status.id, sandbox);
    assert_eq!(status.state, v1::PodSandboxState::SandboxReady as i32);
    assert_eq!(status.network.unwrap().ip, "10.9.9.9");

    let id = node
        .create(&sandbox, node.container_config(&["sleep"]))
        .await;
    let containers = |filter| v1::ListContainersRequest {
        filter: Some(filter),
    };
    let in_state = |state: v1::ContainerState| v1::ContainerFilter {
        state: Some(v1::ContainerStateValue {
            state: state as i32,
        }),
        ..Default::default()
    };
    let created = cri
        .list_containers(containers(in_state(v1::ContainerState::ContainerCreated)))
        .await;
    assert_eq!(created.unwrap().into_inner().containers.len(), 1);
    node.start_container(&id).await.unwrap();
    assert_eq!(
        code(node.start_container(&id).await),
        Code::FailedPrecondition
    );
    for (filter, count) in [
        (in_state(v1::ContainerState::ContainerRunning), 1),
        (in_state(v1::ContainerState::ContainerExited), 0),
        (
            v1::ContainerFilter {
                pod_sandbox_id: sandbox.clone(),
                ..Default::default()
            },
            1,
        ),
        (
            v1::ContainerFilter {
                pod_sandbox_id: "none".into(),
                ..Default::default()
            },
            0,
        ),
        (
            v1::ContainerFilter {
                label_selector: [("app".to_owned(), "guest".to_owned())].into(),
                ..Default::default()
            },
            1,
        ),
    ] {
        let found = cri
            .list_containers(containers(filter.clone()))
            .await
            .unwrap()
            .into_inner()
            .containers;
        assert_eq!(found.len(), count);
        let request = v1::StreamContainersRequest {
            filter: Some(filter),
        };
        let streamed = all(cri.stream_containers(request).await.unwrap().into_inner()).await;
        let streamed: Vec<_> = streamed.into_iter().flat_map(|m| m.containers).collect();
        assert_eq!(streamed, found);
    }
    let request = v1::ContainerStatusRequest {
        container_id: id[..12].into(),
        verbose: true,
    };
    let status = cri.container_status(request).await.unwrap().into_inner();
    assert!(info(&status.info)["pid"].as_i64().unwrap() > 1);
    let status = status.status.unwrap();
    assert_eq!(
        (status.id.as_str(), status.state),
        (id.as_str(), v1::ContainerState::ContainerRunning as i32)
    );
    assert!(status.created_at <= status.started_at && status.finished_at == 0);
    assert!(status.log_path.ends_with("life/main.log"));
    assert_eq!(status.user.unwrap().linux.unwrap().uid, 0);

    let answer = node.exec(&id, &["both"]).await;
    assert_eq!(
        (
            answer.exit_code,
            answer.stdout.as_slice(),
            answer.stderr.as_slice()
        ),
        (0, b"to stdout\n".as_slice(), b"to stderr\n".as_slice())
    );
    assert_eq!(node.exec(&id, &["exit", "3"]).await.exit_code, 3);
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(v1::LinuxContainerResources {
            cpu_shares: 256,
            ..Default::default()
        }),
        ..Default::default()
    };
    cri.update_container_resources(request).await.unwrap();
    let linux = node.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!(linux.cpu_shares, 256);
    let request = v1::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: sandbox.clone(),
        overhead: None,
        resources: Some(v1::LinuxContainerResources {
            cpu_shares: 300,
            ..Default::default()
        }),
    };
    cri.update_pod_sandbox_resources(request).await.unwrap();
    measures(&node, &sandbox, &id).await;
    let request = v1::CheckpointContainerRequest {
        container_id: id.clone(),
        ..Default::default()
    };
    assert_eq!(
        code(cri.checkpoint_container(request).await),
        Code::Unimplemented
    );

    let request = v1::StopContainerRequest {
        container_id: id.clone(),
        timeout: 0,
    };
    cri.stop_container(request).await.unwrap();
    let request = v1::RemoveContainerRequest {
        container_id: id.clone(),
    };
    cri.remove_container(request).await.unwrap();
    let pod = || v1::StopPodSandboxRequest {
        pod_sandbox_id: sandbox.clone(),
    };
    cri.stop_pod_sandbox(pod()).await.unwrap();
    cri.stop_pod_sandbox(pod()).await.unwrap();
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.clone(),
        verbose: false,
    };
    let status = cri
        .pod_sandbox_status(request)
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!(status.state, v1::PodSandboxState::SandboxNotready as i32);
    let pod = || v1::RemovePodSandboxRequest {
        pod_sandbox_id: sandbox.clone(),
    };
    cri.remove_pod_sandbox(pod()).await.unwrap();
    cri.remove_pod_sandbox(pod()).await.unwrap();

    use v1::ContainerEventType::{
        ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted,
        ContainerStartedEvent as Started, ContainerStoppedEvent as Stopped,
    };
    let expected = [
        (&sandbox, Created),
        (&sandbox, Started),
        (&id, Created),
        (&id, Started),
        (&id, Stopped),
        (&id, Deleted),
        (&sandbox, Stopped),
        (&sandbox, Deleted),
    ];
    let told: Vec<_> = all(events.take(expected.len())).await;
    let told: Vec<_> = told
        .iter()
        .map(|e| (&e.container_id, e.container_event_type()))
        .collect();
    assert_eq!(told, expected);
}

/// What a pod with one running container uses, by every call that tells.
async fn measures(node: &Node, sandbox: &str, id: &str) {
    let mut cri = node.cri.clone();
    let request = v1::ContainerStatsRequest {
        container_id: id.into(),
    };
    let one = cri
        .container_stats(request)
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    let attributes = one.attributes.unwrap();
    assert_eq!(
        (
            attributes.id.as_str(),
            attributes.metadata.unwrap().name.as_str()
        ),
        (id, "main")
    );
    assert!(one.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(one.memory.unwrap().working_set_bytes.unwrap().value > 0);
    for (filter, count) in [
        (
            v1::ContainerStatsFilter {
                pod_sandbox_id: sandbox.into(),
                ..Default::default()
            },
            1,
        ),
        (
            v1::ContainerStatsFilter {
                id: "none".into(),
                ..Default::default()
            },
            0,
        ),
    ] {
        let request = v1::ListContainerStatsRequest {
            filter: Some(filter.clone()),
        };
        let list = cri
            .list_container_stats(request)
            .await
            .unwrap()
            .into_inner()
            .stats;
        let request = v1::StreamContainerStatsRequest {
            filter: Some(filter),
        };
        let streamed = all(cri
            .stream_container_stats(request)
            .await
            .unwrap()
            .into_inner())
        .await;
        let streamed = streamed.iter().flat_map(|m| &m.container_stats).count();
        assert_eq!((list.len(), streamed), (count, count));
    }
    let request = v1::PodSandboxStatsRequest {
        pod_sandbox_id: sandbox.into(),
    };
    let pod = cri
        .pod_sandbox_stats(request)
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    let linux = pod.linux.unwrap();
    assert_eq!(linux.containers.len(), 1);
    assert!(linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(linux.process.unwrap().process_count.unwrap().value >= 1);
    let pods = cri
        .list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest { filter: None })
        .await;
    assert_eq!(pods.unwrap().into_inner().stats.len(), 1);
    let streamed = cri
        .stream_pod_sandbox_stats(v1::StreamPodSandboxStatsRequest { filter: None })
        .await;
    let streamed = all(streamed.unwrap().into_inner()).await;
    assert_eq!(
        streamed.iter().flat_map(|m| &m.pod_sandbox_stats).count(),
        1
    );

    let described = cri
        .list_metric_descriptors(v1::ListMetricDescriptorsRequest {})
        .await
        .unwrap();
    let described = described.into_inner().descriptors;
    let listed = cri
        .list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest {})
        .await
        .unwrap();
    let listed = listed.into_inner().pod_metrics;
    let streamed = cri
        .stream_pod_sandbox_metrics(v1::StreamPodSandboxMetricsRequest {})
        .await;
    let streamed = all(streamed.unwrap().into_inner()).await;
    assert_eq!(
        streamed.iter().flat_map(|m| &m.pod_sandbox_metrics).count(),
        1
    );
    assert_eq!(listed[0].pod_sandbox_id, sandbox);
    let metrics = &listed[0].container_metrics[0].metrics;
    assert!(!metrics.is_empty());
    for metric in metrics {
        let descriptor = described.iter().find(|d| d.name == metric.name).unwrap();
        assert_eq!(descriptor.label_keys.len(), metric.label_values.len());
    }
}

/// What is not there, or makes no sense, is answered with the code clients look at.
pub async fn refusals_have_the_codes_clients_know(node: Node) {
    node.guest_image();
    let mut cri = node.cri.clone();
    let id = || "0123456789ab".to_owned();
    let calls = [
        (
            "PodSandboxStatus",
            code(
                cri.pod_sandbox_status(v1::PodSandboxStatusRequest {
                    pod_sandbox_id: id(),
                    verbose: false,
                })
                .await,
            ),
        ),
        (
            "ContainerStatus",
            code(
                cri.container_status(v1::ContainerStatusRequest {
                    container_id: id(),
                    verbose: false,
                })
                .await,
            ),
        ),
        (
            "StartContainer",
            code(
                cri.start_container(v1::StartContainerRequest { container_id: id() })
                    .await,
            ),
        ),
        (
            "ExecSync",
            code(
                cri.exec_sync(v1::ExecSyncRequest {
                    container_id: id(),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "Exec",
            code(
                cri.exec(v1::ExecRequest {
                    container_id: id(),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "Attach",
            code(
                cri.attach(v1::AttachRequest {
                    container_id: id(),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "PortForward",
            code(
                cri.port_forward(v1::PortForwardRequest {
                    pod_sandbox_id: id(),
                    port: vec![80],
                })
                .await,
            ),
        ),
        (
            "ContainerStats",
            code(
                cri.container_stats(v1::ContainerStatsRequest { container_id: id() })
                    .await,
            ),
        ),
        (
            "PodSandboxStats",
            code(
                cri.pod_sandbox_stats(v1::PodSandboxStatsRequest {
                    pod_sandbox_id: id(),
                })
                .await,
            ),
        ),
        (
            "ReopenContainerLog",
            code(
                cri.reopen_container_log(v1::ReopenContainerLogRequest { container_id: id() })
                    .await,
            ),
        ),
        (
            "UpdateContainerResources",
            code(
                cri.update_container_resources(v1::UpdateContainerResourcesRequest {
                    container_id: id(),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "UpdatePodSandboxResources",
            code(
                cri.update_pod_sandbox_resources(v1::UpdatePodSandboxResourcesRequest {
                    pod_sandbox_id: id(),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "CreateContainer",
            code(
                cri.create_container(v1::CreateContainerRequest {
                    pod_sandbox_id: id(),
                    config: Some(node.container_config(&["sleep"])),
                    sandbox_config: None,
                })
                .await,
            ),
        ),
    ];
    for (call, code) in calls {
        assert_eq!(code, Code::NotFound, "{call}");
    }
    // Ending what has ended is fine.
    cri.stop_container(v1::StopContainerRequest {
        container_id: id(),
        timeout: 1,
    })
    .await
    .unwrap();
    cri.remove_container(v1::RemoveContainerRequest { container_id: id() })
        .await
        .unwrap();
    cri.stop_pod_sandbox(v1::StopPodSandboxRequest {
        pod_sandbox_id: id(),
    })
    .await
    .unwrap();
    cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
        pod_sandbox_id: id(),
    })
    .await
    .unwrap();

    let request = v1::RunPodSandboxRequest::default();
    assert_eq!(
        code(cri.run_pod_sandbox(request).await),
        Code::InvalidArgument
    );
    let request = v1::RunPodSandboxRequest {
        config: Some(node.sandbox_config("handler")),
        runtime_handler: "kata".into(),
    };
    let refused = cri.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("kata"), "{refused}");

    let sandbox = node.sandbox("refused").await;
    let created = node
        .create(&sandbox, node.container_config(&["sleep"]))
        .await;
    // Made and not started: nothing to run a command in.
    let exec = |timeout| v1::ExecSyncRequest {
        container_id: created.clone(),
        cmd: vec!["/guest".into(), "guest".into(), "sleep".into()],
        timeout,
    };
    assert_eq!(code(cri.exec_sync(exec(1)).await), Code::FailedPrecondition);
    node.start_container(&created).await.unwrap();
    assert_eq!(code(cri.exec_sync(exec(1)).await), Code::DeadlineExceeded);
    let request = v1::PortForwardRequest {
        pod_sandbox_id: sandbox.clone(),
        port: vec![80],
    };
    let url = cri.port_forward(request).await.unwrap().into_inner().url;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
}
