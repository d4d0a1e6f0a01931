//! A container runtime without containers: keeps what it was told, and plays scripts by image.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use cri::v1::image_service_server::{ImageService, ImageServiceServer};
use cri::v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use cri::v1::{self, *};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use tower::Service as _;

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub struct Sandbox {
    pub config: PodSandboxConfig,
    pub status: PodSandboxStatus,
}

pub struct Container {
    pub config: ContainerConfig,
    pub status: ContainerStatus,
    pub sandbox: String,
    pub log: PathBuf,
}

#[derive(Default)]
pub struct State {
    pub network_ready: bool,
    pub pod_cidr: String,
    pub next: u64,
    pub sandboxes: HashMap<String, Sandbox>,
    pub containers: HashMap<String, Container>,
    pub images: Vec<Image>,
    pub pulls: Vec<PullImageRequest>,
    /// Exit code and output of commands, by their first word.
    pub commands: HashMap<String, (i32, String)>,
    /// Every change asked for, in order.
    pub calls: Vec<String>,
    /// Grace periods of stops.
    pub stops: Vec<i64>,
    /// Containers that do not heed a stop until told.
    pub stubborn: bool,
    /// Limits that were changed.
    pub updated: Vec<LinuxContainerResources>,
}

/// One pretended runtime; clones share it.
#[derive(Clone)]
pub struct Runtime {
    pub state: Arc<Mutex<State>>,
    events: broadcast::Sender<ContainerEventResponse>,
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

impl Runtime {
    pub fn new() -> Self {
        let state = State {
            network_ready: true,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            events: broadcast::channel(256).0,
        }
    }

    /// Serves on a socket until dropped.
    pub fn serve(&self, socket: &std::path::Path) -> tokio::task::JoinHandle<()> {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let runtime = self.clone();
        let (calls, images) = (
            RuntimeServiceServer::new(runtime.clone()),
            ImageServiceServer::new(runtime),
        );
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (calls, images) = (calls.clone(), images.clone());
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (mut calls, mut images) = (calls.clone(), images.clone());
                    async move {
                        if request
                            .uri()
                            .path()
                            .starts_with("/runtime.v1.ImageService/")
                        {
                            images.call(request).await
                        } else {
                            calls.call(request).await
                        }
                    }
                });
                connections.spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        })
    }

    pub fn add_image(&self, name: &str) {
        self.state.lock().images.push(Image {
            id: format!("sha256:{name}"),
            repo_tags: vec![name.to_owned()],
            size: 100,
            ..Default::default()
        });
    }

    /// The newest container of that name.
    pub fn container_id(&self, name: &str) -> String {
        let state = self.state.lock();
        let newest = state
            .containers
            .values()
            .filter(|c| c.config.metadata.as_ref().unwrap().name == name)
            .max_by_key(|c| c.status.created_at);
        newest.unwrap().status.id.clone()
    }

    pub fn count(&self, call: &str) -> usize {
        self.state
            .lock()
            .calls
            .iter()
            .filter(|c| c.starts_with(call))
            .count()
    }

    /// Has a container end.
    pub fn exit(&self, id: &str, code: i32, reason: &str) {
        {
            let mut state = self.state.lock();
            let Some(container) = state.containers.get_mut(id) else {
                return;
            };
            if container.status.state != v1::ContainerState::ContainerRunning as i32 {
                return;
            }
            container.status.state = v1::ContainerState::ContainerExited as i32;
            container.status.exit_code = code;
            container.status.reason = reason.to_owned();
            container.status.finished_at = now();
        }
        self.tell(id, ContainerEventType::ContainerStoppedEvent);
    }

    /// Has a sandbox die with its containers.
    pub fn lose_sandbox(&self) {
        let (id, containers): (String, Vec<String>) = {
            let mut state = self.state.lock();
            let id = state
                .sandboxes
                .values()
                .max_by_key(|s| s.status.created_at)
                .unwrap()
                .status
                .id
                .clone();
            state.sandboxes.get_mut(&id).unwrap().status.state =
                PodSandboxState::SandboxNotready as i32;
            let of = |c: &&Container| c.sandbox == id;
            let list = state
                .containers
                .values()
                .filter(of)
                .map(|c| c.status.id.clone())
                .collect();
            (id, list)
        };
        for container in containers {
            self.exit(&container, 137, "Error");
        }
        self.tell(&id, ContainerEventType::ContainerStoppedEvent);
    }

    fn tell(&self, id: &str, kind: ContainerEventType) {
        let state = self.state.lock();
        let sandbox_id = state
            .containers
            .get(id)
            .map_or(id, |c| &c.sandbox)
            .to_owned();
        let event = ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: now(),
            pod_sandbox_status: state.sandboxes.get(&sandbox_id).map(|s| s.status.clone()),
            containers_statuses: state
                .containers
                .values()
                .filter(|c| c.sandbox == sandbox_id)
                .map(|c| c.status.clone())
                .collect(),
        };
        let _ = self.events.send(event);
    }

    fn id(&self, what: &str) -> String {
        let mut state = self.state.lock();
        state.next += 1;
        format!("{what}{}", state.next)
    }
}

fn matches(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn missing(id: &str) -> Status {
    Status::not_found(format!("{id} not found"))
}

macro_rules! refused {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        $(
            fn $method<'a, 'b>(
                &'a self,
                _: Request<$request>,
            ) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(async { Err(Status::unimplemented("not pretended")) })
            }
        )*
    };
}

#[async_trait::async_trait]
impl RuntimeService for Runtime {
    type StreamPodSandboxesStream = Events<StreamPodSandboxesResponse>;
    type StreamContainersStream = Events<StreamContainersResponse>;
    type StreamContainerStatsStream = Events<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Events<StreamPodSandboxStatsResponse>;
    type GetContainerEventsStream = Events<ContainerEventResponse>;
    type StreamPodSandboxMetricsStream = Events<StreamPodSandboxMetricsResponse>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            runtime_name: "pretended".into(),
            runtime_version: "1".into(),
            ..Default::default()
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let ready = self.state.lock().network_ready;
        let condition = |name: &str, status| RuntimeCondition {
            r#type: name.into(),
            status,
            ..Default::default()
        };
        Ok(Response::new(StatusResponse {
            status: Some(RuntimeStatus {
                conditions: vec![
                    condition("RuntimeReady", true),
                    condition("NetworkReady", ready),
                ],
            }),
            ..Default::default()
        }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.unwrap_or_default();
        let mut state = self.state.lock();
        state.pod_cidr = config.network_config.unwrap_or_default().pod_cidr;
        state.network_ready = true;
        Ok(Response::new(Default::default()))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<RunPodSandboxRequest>,
    ) -> Answer<RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap();
        let id = self.id("s");
        let number = self.state.lock().next;
        let mut state = self.state.lock();
        state.calls.push(format!(
            "run sandbox {}",
            config.metadata.as_ref().unwrap().attempt
        ));
        let status = PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            created_at: now(),
            network: Some(PodSandboxNetworkStatus {
                ip: format!("127.0.0.{}", number % 250 + 1),
                ..Default::default()
            }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..Default::default()
        };
        state
            .sandboxes
            .insert(id.clone(), Sandbox { config, status });
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Answer<StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut state = self.state.lock();
        state.calls.push("stop sandbox".into());
        let sandbox = state.sandboxes.get_mut(&id).ok_or_else(|| missing(&id))?;
        sandbox.status.state = PodSandboxState::SandboxNotready as i32;
        Ok(Response::new(Default::default()))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Answer<RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut state = self.state.lock();
        state.calls.push("remove sandbox".into());
        state.sandboxes.remove(&id);
        Ok(Response::new(Default::default()))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Answer<PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let state = self.state.lock();
        let sandbox = state.sandboxes.get(&id).ok_or_else(|| missing(&id))?;
        Ok(Response::new(PodSandboxStatusResponse {
            status: Some(sandbox.status.clone()),
            ..Default::default()
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Answer<ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let items = self
            .state
            .lock()
            .sandboxes
            .values()
            .filter(|s| matches(&s.status.labels, &filter.label_selector))
            .map(|s| PodSandbox {
                id: s.status.id.clone(),
                metadata: s.status.metadata.clone(),
                state: s.status.state,
                created_at: s.status.created_at,
                labels: s.status.labels.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Answer<CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap();
        let id = self.id("c");
        let mut state = self.state.lock();
        let metadata = config.metadata.clone().unwrap();
        state.calls.push(format!("create {}", metadata.name));
        let sandbox = state
            .sandboxes
            .get(&request.pod_sandbox_id)
            .ok_or_else(|| missing(&request.pod_sandbox_id))?;
        let log = PathBuf::from(&sandbox.config.log_directory).join(&config.log_path);
        let status = ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            created_at: now(),
            image: config.image.clone(),
            image_ref: config.image.as_ref().unwrap().image.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..Default::default()
        };
        let container = Container {
            config,
            status,
            sandbox: request.pod_sandbox_id,
            log,
        };
        state.containers.insert(id.clone(), container);
        Ok(Response::new(CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Answer<StartContainerResponse> {
        let id = request.into_inner().container_id;
        let script = {
            let mut state = self.state.lock();
            let container = state.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
            container.status.state = v1::ContainerState::ContainerRunning as i32;
            container.status.started_at = now();
            let name = container.config.metadata.as_ref().unwrap().name.clone();
            let line = format!("2026-01-01T00:00:00Z stdout F {name} says hello\n");
            std::fs::write(&container.log, line).unwrap();
            let script = container
                .config
                .image
                .as_ref()
                .unwrap()
                .user_specified_image
                .clone();
            state.calls.push(format!("start {name}"));
            script
        };
        self.tell(&id, ContainerEventType::ContainerStartedEvent);
        if let Some(code) = script.strip_prefix("exit-") {
            self.exit(&id, code.parse().unwrap(), "");
        }
        Ok(Response::new(Default::default()))
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Answer<StopContainerResponse> {
        let request = request.into_inner();
        let stubborn = {
            let mut state = self.state.lock();
            let container = state.containers.get(&request.container_id);
            let name = container.map(|c| c.config.metadata.as_ref().unwrap().name.clone());
            state
                .calls
                .push(format!("stop {}", name.unwrap_or_default()));
            state.stops.push(request.timeout);
            state.stubborn && request.timeout > 1
        };
        if stubborn {
            std::future::pending::<()>().await;
        }
        self.exit(&request.container_id, 143, "Error");
        Ok(Response::new(Default::default()))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Answer<RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        let mut state = self.state.lock();
        state.calls.push("remove container".into());
        state.containers.remove(&id);
        Ok(Response::new(Default::default()))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Answer<ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let containers = self
            .state
            .lock()
            .containers
            .values()
            .filter(|c| matches(&c.status.labels, &filter.label_selector))
            .filter(|c| filter.state.is_none_or(|s| s.state == c.status.state))
            .map(|c| v1::Container {
                id: c.status.id.clone(),
                pod_sandbox_id: c.sandbox.clone(),
                metadata: c.status.metadata.clone(),
                image: c.status.image.clone(),
                image_ref: c.status.image_ref.clone(),
                state: c.status.state,
                created_at: c.status.created_at,
                labels: c.status.labels.clone(),
                annotations: c.status.annotations.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Answer<ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let state = self.state.lock();
        let container = state.containers.get(&id).ok_or_else(|| missing(&id))?;
        Ok(Response::new(ContainerStatusResponse {
            status: Some(container.status.clone()),
            ..Default::default()
        }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        let resources = request.into_inner().linux.unwrap();
        self.state.lock().updated.push(resources);
        Ok(Response::new(Default::default()))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        let request = request.into_inner();
        let mut state = self.state.lock();
        let command = request.cmd.first().cloned().unwrap_or_default();
        state.calls.push(format!("exec {command}"));
        let (exit_code, output) = state.commands.get(&command).cloned().unwrap_or_default();
        Ok(Response::new(ExecSyncResponse {
            stdout: output.into_bytes(),
            exit_code,
            ..Default::default()
        }))
    }

    async fn list_container_stats(
        &self,
        _: Request<ListContainerStatsRequest>,
    ) -> Answer<ListContainerStatsResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<ListPodSandboxStatsRequest>,
    ) -> Answer<ListPodSandboxStatsResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn get_container_events(
        &self,
        _: Request<GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.events.subscribe())
            .map(|event| event.map_err(|e| Status::data_loss(e.to_string())));
        Ok(Response::new(Box::pin(events)))
    }

    async fn exec(&self, _: Request<ExecRequest>) -> Answer<ExecResponse> {
        let url = self
            .state
            .lock()
            .commands
            .get("stream")
            .cloned()
            .unwrap_or_default()
            .1;
        Ok(Response::new(ExecResponse { url }))
    }

    refused! {
        stream_pod_sandboxes(StreamPodSandboxesRequest) -> Self::StreamPodSandboxesStream;
        stream_containers(StreamContainersRequest) -> Self::StreamContainersStream;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        attach(AttachRequest) -> AttachResponse;
        port_forward(PortForwardRequest) -> PortForwardResponse;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
        stream_container_stats(StreamContainerStatsRequest) -> Self::StreamContainerStatsStream;
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> Self::StreamPodSandboxStatsStream;
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> Self::StreamPodSandboxMetricsStream;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse;
    }
}

#[async_trait::async_trait]
impl ImageService for Runtime {
    type StreamImagesStream = Events<StreamImagesResponse>;

    async fn list_images(&self, _: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        let images = self.state.lock().images.clone();
        Ok(Response::new(ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Answer<ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        // Scripts need no image.
        let script = name.starts_with("exit-") || name == "run";
        let image = self
            .state
            .lock()
            .images
            .iter()
            .find(|i| i.repo_tags.contains(&name))
            .cloned();
        let image = image.or_else(|| {
            script.then(|| Image {
                id: format!("sha256:{name}"),
                ..Default::default()
            })
        });
        Ok(Response::new(ImageStatusResponse {
            image,
            ..Default::default()
        }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        let request = request.into_inner();
        let name = request.image.clone().unwrap_or_default().image;
        self.state.lock().pulls.push(request);
        if name.starts_with("absent") {
            return Err(Status::not_found(format!(
                "{name}: no such image in the registry"
            )));
        }
        self.add_image(&name);
        Ok(Response::new(PullImageResponse {
            image_ref: format!("sha256:{name}"),
        }))
    }

    refused! {
        stream_images(StreamImagesRequest) -> Self::StreamImagesStream;
        remove_image(RemoveImageRequest) -> RemoveImageResponse;
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
}
