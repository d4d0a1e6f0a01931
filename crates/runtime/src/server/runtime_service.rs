//! CRI's runtime service: each call in terms of [`Runtime`].

use std::{collections::HashMap, time::Duration};

use cri::v1::{self, runtime_service_server::RuntimeService};
use tokio_stream::{StreamExt, wrappers::BroadcastStream};
use tonic::{Request, Response, Status};

use super::{
    lists::{Streamed, batches},
    serve::Services,
};

type Answer<T> = Result<Response<T>, Status>;

fn ok<T>(value: T) -> Answer<T> {
    Ok(Response::new(value))
}

#[tonic::async_trait]
impl RuntimeService for Services {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        ok(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "corten".into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request
            .config
            .ok_or_else(|| Status::invalid_argument("no sandbox config"))?;
        let pod_sandbox_id = self
            .runtime()
            .run_sandbox(config, &request.runtime_handler)
            .await?;
        ok(v1::RunPodSandboxResponse { pod_sandbox_id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        match self
            .runtime()
            .stop_sandbox(&request.into_inner().pod_sandbox_id)
            .await
        {
            // Stopping what is gone succeeds, as the interface demands.
            Ok(()) | Err(super::RuntimeError::NoSandbox(_)) => ok(v1::StopPodSandboxResponse {}),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        self.runtime()
            .remove_sandbox(&request.into_inner().pod_sandbox_id)
            .await?;
        ok(v1::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let sandbox = self.runtime().sandbox(&request.pod_sandbox_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let text = serde_json::json!({
                "netns": sandbox.netns,
                "shm": sandbox.shm,
                "directory": sandbox.directory,
            });
            info.insert("info".to_owned(), text.to_string());
        }
        let containers = self.runtime().containers_of(&sandbox.id);
        ok(v1::PodSandboxStatusResponse {
            status: Some(self.runtime().sandbox_status(&sandbox)),
            info,
            containers_statuses: containers
                .iter()
                .map(|c| self.runtime().container_status(c))
                .collect(),
            timestamp: crate::shim::now(),
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let items = self.sandboxes(request.into_inner().filter);
        ok(v1::ListPodSandboxResponse { items })
    }

    type StreamPodSandboxesStream = Streamed<v1::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let items = self.sandboxes(request.into_inner().filter);
        batches(items, |pod_sandboxes| v1::StreamPodSandboxesResponse {
            pod_sandboxes,
        })
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request
            .config
            .ok_or_else(|| Status::invalid_argument("no container config"))?;
        let container_id = self
            .runtime()
            .create_container(&request.pod_sandbox_id, config, request.sandbox_config)
            .await?;
        ok(v1::CreateContainerResponse { container_id })
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        self.runtime()
            .start_container(&request.into_inner().container_id)
            .await?;
        ok(v1::StartContainerResponse {})
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        let patience = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        self.runtime()
            .stop_container(&request.container_id, patience)
            .await?;
        ok(v1::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        self.runtime()
            .remove_container(&request.into_inner().container_id)
            .await?;
        ok(v1::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let containers = self.containers(request.into_inner().filter);
        ok(v1::ListContainersResponse { containers })
    }

    type StreamContainersStream = Streamed<v1::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let containers = self.containers(request.into_inner().filter);
        batches(containers, |containers| v1::StreamContainersResponse {
            containers,
        })
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.runtime().container(&request.container_id)?;
        let info = match request.verbose {
            true => self.runtime().container_info(&container),
            false => HashMap::new(),
        };
        ok(v1::ContainerStatusResponse {
            status: Some(self.runtime().container_status(&container)),
            info,
        })
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let linux = request.linux.unwrap_or_default();
        self.runtime()
            .update_container(&request.container_id, linux)
            .await?;
        ok(v1::UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        let container = self.runtime().container(&id)?;
        if !container.is_running() {
            return Err(Status::failed_precondition(format!(
                "container {id} is not running"
            )));
        }
        let shim = self.runtime().shim_of(&container.sandbox)?;
        let request = crate::shim::protocol::Request::ReopenLog {
            container: container.id.clone(),
        };
        shim.tell(request)
            .await
            .map_err(super::RuntimeError::from)?;
        ok(v1::ReopenContainerLogResponse {})
    }

    async fn exec_sync(
        &self,
        request: Request<v1::ExecSyncRequest>,
    ) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        let timeout = u64::try_from(request.timeout)
            .ok()
            .filter(|t| *t > 0)
            .map(Duration::from_secs);
        let (stdout, stderr, exit_code) = self
            .runtime()
            .exec_sync(&request.container_id, &request.cmd, timeout)
            .await?;
        ok(v1::ExecSyncResponse {
            stdout,
            stderr,
            exit_code,
        })
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        let request = request.into_inner();
        let container = self.runtime().container(&request.container_id)?;
        if !container.is_running() {
            return Err(Status::failed_precondition(format!(
                "container {} is not running",
                container.id
            )));
        }
        let url = self.streaming.exec_url(request)?;
        ok(v1::ExecResponse { url })
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        let request = request.into_inner();
        let container = self.runtime().container(&request.container_id)?;
        if !container.is_running() {
            return Err(Status::failed_precondition(format!(
                "container {} is not running",
                container.id
            )));
        }
        let url = self.streaming.attach_url(request)?;
        ok(v1::AttachResponse { url })
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        let request = request.into_inner();
        let sandbox = self.runtime().sandbox(&request.pod_sandbox_id)?;
        if !sandbox.is_ready() {
            return Err(Status::failed_precondition(format!(
                "sandbox {} is not running",
                sandbox.id
            )));
        }
        let url = self.streaming.port_forward_url(request)?;
        ok(v1::PortForwardResponse { url })
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        let container = self
            .runtime()
            .container(&request.into_inner().container_id)?;
        ok(v1::ContainerStatsResponse {
            stats: Some(self.runtime().container_stats(&container)),
        })
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let stats = self.containers_stats(request.into_inner().filter);
        ok(v1::ListContainerStatsResponse { stats })
    }

    type StreamContainerStatsStream = Streamed<v1::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let stats = self.containers_stats(request.into_inner().filter);
        batches(stats, |container_stats| v1::StreamContainerStatsResponse {
            container_stats,
        })
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let sandbox = self
            .runtime()
            .sandbox(&request.into_inner().pod_sandbox_id)?;
        ok(v1::PodSandboxStatsResponse {
            stats: Some(self.runtime().sandbox_stats(&sandbox)),
        })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        let stats = self.sandboxes_stats(request.into_inner().filter);
        ok(v1::ListPodSandboxStatsResponse { stats })
    }

    type StreamPodSandboxStatsStream = Streamed<v1::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let stats = self.sandboxes_stats(request.into_inner().filter);
        batches(stats, |pod_sandbox_stats| {
            v1::StreamPodSandboxStatsResponse { pod_sandbox_stats }
        })
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let network = request
            .into_inner()
            .runtime_config
            .and_then(|c| c.network_config);
        let cidrs: Vec<String> = network
            .map(|n| n.pod_cidr)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect();
        if !cidrs.is_empty() {
            let network = &self.runtime().network;
            network
                .set_pod_cidrs(&cidrs)
                .await
                .map_err(Status::invalid_argument)?;
        }
        ok(v1::UpdateRuntimeConfigResponse {})
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let network = self.runtime().network.ready().await;
        let condition = |kind: &str, problem: Option<(&str, String)>| {
            let status = problem.is_none();
            let (reason, message) = problem.unwrap_or_default();
            v1::RuntimeCondition {
                r#type: kind.to_owned(),
                status,
                reason: reason.to_owned(),
                message,
            }
        };
        let mut info = HashMap::new();
        if request.into_inner().verbose {
            let config = &self.runtime().config;
            let text = serde_json::json!({
                "root": config.root,
                "stateDir": config.state_dir,
                "cgroupVersion": if self.runtime().hierarchies.only_unified().is_some() { 2 } else { 1 },
            });
            info.insert("config".to_owned(), text.to_string());
        }
        ok(v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: vec![
                    condition("RuntimeReady", None),
                    condition(
                        "NetworkReady",
                        network.err().map(|m| ("NetworkPluginNotReady", m)),
                    ),
                ],
            }),
            info,
            runtime_handlers: vec![v1::RuntimeHandler {
                name: String::new(),
                features: Some(v1::RuntimeHandlerFeatures {
                    recursive_read_only_mounts: true,
                    user_namespaces: false,
                }),
            }],
            features: Some(v1::RuntimeFeatures {
                supplemental_groups_policy: true,
                ..v1::RuntimeFeatures::default()
            }),
        })
    }

    async fn checkpoint_container(
        &self,
        _: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        Err(Status::unimplemented(
            "checkpoints are not supported by this runtime",
        ))
    }

    type GetContainerEventsStream = Streamed<v1::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.runtime().events.subscribe());
        let events = events.map(|event| {
            // A listener that fell behind has to list anew: ending its stream makes it.
            event.map_err(|_| Status::data_loss("events were missed: list containers anew"))
        });
        let ended = self.shutdown.clone().cancelled_owned();
        ok(Box::pin(futures::StreamExt::take_until(events, ended)))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        ok(v1::ListMetricDescriptorsResponse {
            descriptors: crate::stats::metrics::descriptors(),
        })
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        let pod_metrics = crate::stats::metrics::of(&self.sandboxes_stats(None));
        ok(v1::ListPodSandboxMetricsResponse { pod_metrics })
    }

    type StreamPodSandboxMetricsStream = Streamed<v1::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let metrics = crate::stats::metrics::of(&self.sandboxes_stats(None));
        batches(metrics, |pod_sandbox_metrics| {
            v1::StreamPodSandboxMetricsResponse {
                pod_sandbox_metrics,
            }
        })
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        ok(v1::RuntimeConfigResponse {
            linux: Some(v1::LinuxRuntimeConfiguration {
                cgroup_driver: v1::CgroupDriver::Cgroupfs as i32,
            }),
        })
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        let request = request.into_inner();
        let sandbox = self.runtime().sandbox(&request.pod_sandbox_id)?;
        // The kubelet sets the pod's control group itself; the runtime keeps what it is told.
        {
            let mut config = sandbox.config.lock();
            let linux = config.linux.get_or_insert_default();
            linux.overhead = request.overhead.or(linux.overhead.take());
            linux.resources = request.resources.or(linux.resources.take());
        }
        sandbox
            .save()
            .map_err(|e| Status::internal(e.to_string()))?;
        ok(v1::UpdatePodSandboxResourcesResponse {})
    }
}
